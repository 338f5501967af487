"""A person picks a part of a dag, and just that part is built, from inputs that must be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Dag, DagError, Resources, UsageError
from pipeline.errors import DecisionNeeded
from pipeline.executor import Inline
from pipeline.manifest import Dropped
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.selection import select
from pipeline.store import Store, place_of
from tests.pipeline.clocks import stopped
from tests.pipeline.toys import Join, Say, Slow, Upper


def tree(words: str = "one two", limit: int = 4) -> Dag:
    """say → left, right → join; and aside, beside them."""
    say = Say(words=tuple(words.split()))
    left, right = Upper(words=say.out, label="left"), Upper(words=say.out, limit=limit, label="right")
    return Dag(Join(parts=(left.out, right.out)), Say(words=("x",), label="aside"))


def execute(dag: Dag, root: Path, **asked: object) -> Outcome:
    return run(dag, Store(str(root)), name="toys", dials={}, executor=Inline, request=Request.model_validate(asked))


def finished(outcome: Outcome) -> set[str]:
    return {label for label, state in outcome.states.items() if state == "finished"}


def test_until_builds_a_stage_and_what_it_needs(tmp_path: Path) -> None:
    assert execute(tree(), tmp_path, until="left").states == {"say": "finished", "left": "finished"}


def test_from_builds_a_stage_again_and_below_it_what_its_bytes_change(tmp_path: Path) -> None:
    execute(tree(), tmp_path)
    assert finished(execute(tree(), tmp_path, start="right")) == {"right"}, "the same bytes: join is cached"
    assert finished(execute(tree(limit=2), tmp_path, start="right")) == {"right", "join"}


def test_from_takes_what_is_above_as_it_is_or_refuses(tmp_path: Path) -> None:
    with pytest.raises(DagError, match=r"--from: (say|left), which is an input, is not up to date \(never built\)"):
        execute(tree(), tmp_path, start="right")
    execute(tree(), tmp_path, until="left")
    assert set(execute(tree(), tmp_path, start="right").states) == {"say", "left", "right", "join"}, (
        "aside was not asked for"
    )


def test_the_time_of_a_part_is_that_of_its_stages_alone(tmp_path: Path) -> None:
    lone = Slow(words=("x", "y"), label="slow")
    execute(Dag(lone, Say(label="fast")), tmp_path)
    _, planned = select(Dag(lone, Say(words=("z",), label="fast")), Store(str(tmp_path)), Request(only="fast"))
    again = Dag(Slow(words=("z",), label="slow"), Say(label="fast"))
    _, beside = select(again, Store(str(tmp_path)), Request(only="fast"))
    assert planned.wall_seconds == planned.seconds and beside.wall_seconds == beside.seconds


@pytest.mark.parametrize("asked", [{"start": "right", "rebuild": ("aside",)}, {"start": "aside", "rebuild": ("say",)}])
def test_what_is_asked_of_a_stage_outside_the_part_is_refused_and_not_passed_over(
    tmp_path: Path, asked: dict[str, object]
) -> None:
    execute(tree(), tmp_path)
    with pytest.raises(DagError, match="--from (right|aside) leaves (aside|say) alone"):
        execute(tree(), tmp_path, **asked)


@pytest.mark.parametrize("asked", [{"rebuild": ("join",)}, {"accept": ("join",)}, {"start": "join"}])
def test_what_is_asked_of_a_stage_below_the_last_one_is_told_apart_from_a_misspelt_label(
    tmp_path: Path, asked: dict[str, object]
) -> None:
    with pytest.raises(DagError, match="--until left leaves join out, of which something else is asked"):
        execute(tree(), tmp_path, until="left", **asked)
    with pytest.raises(DagError, match="no stage is labelled 'jion'; did you mean 'join'?"):
        execute(tree(), tmp_path, until="left", rebuild=("jion",))


def test_a_reason_without_an_acceptance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--why says why something is accepted"):
        execute(tree(), tmp_path, why="it is the same")


@pytest.mark.parametrize("asked", [{"start": "say"}, {"rebuild": ("Say",)}])
def test_what_is_built_again_cannot_be_accepted(tmp_path: Path, asked: dict[str, object]) -> None:
    execute(tree(), tmp_path)
    with pytest.raises(UsageError, match="say is both to be rebuilt and accepted"):
        execute(tree(), tmp_path, accept=("say",), **asked)


def test_from_and_until_enclose_a_stretch(tmp_path: Path) -> None:
    execute(tree(), tmp_path)
    outcome = execute(tree(limit=2), tmp_path, start="right", until="right")
    assert outcome.states == {"say": "cached", "right": "finished"}


def test_only_goes_with_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only goes with no other choice"):
        execute(tree(), tmp_path, only="join", until="join")


def test_a_part_of_a_dag_is_recorded_as_one(tmp_path: Path) -> None:
    part = execute(tree(), tmp_path, until="join")
    whole = execute(tree(limit=1), tmp_path)
    records = {run: (tmp_path / ".runs" / run / "run.json").read_text() for run in (part.run, whole.run)}
    assert '"only": "--until join"' in records[part.run] and '"only": ""' in records[whole.run]


def test_dropped_data_is_rebuilt_only_where_something_reads_it(tmp_path: Path) -> None:
    store, made = Store(str(tmp_path)), execute(tree(), tmp_path).manifests
    drop(store, made["say"])
    assert plan(tree(), store).complete, "nothing that runs reads it"
    planned = plan(tree(limit=2), store)
    assert planned.entries["say"].reason == "its data was dropped, and right reads it"
    outcome = execute(tree(limit=2), tmp_path)
    assert outcome.ok and finished(outcome) == {"say", "right", "join"}


def test_what_a_dag_is_for_is_there_again_after_it_was_dropped(tmp_path: Path) -> None:
    store, made = Store(str(tmp_path)), execute(tree(), tmp_path).manifests
    drop(store, made["join"])
    drop(store, made["left"])
    entries = plan(tree(), store).entries
    assert entries["join"].reason == "its data was dropped, and the dag is for it"
    assert entries["left"].reason == "its data was dropped, and join reads it"
    outcome = execute(tree(), tmp_path)
    assert (
        finished(outcome) == {"left", "join"} and (outcome.data("join") / "joined.txt").read_text() == "ONE TWO ONE TWO"
    )


def drop(store: Store, manifest: object) -> None:
    import shutil

    from pipeline.manifest import Manifest

    assert isinstance(manifest, Manifest)
    place = store.local / place_of(manifest)
    (place / "dropped.json").write_text(Dropped(who="ann", when=0, size=manifest.size).model_dump_json())
    shutil.rmtree(place / "data")


def test_a_run_that_is_expected_to_cost_too_much_does_not_begin(tmp_path: Path) -> None:
    dear = Resources(dollars_per_hour=3_600_000.0)
    dag = Dag(Say(resources=dear))
    begun = execute(dag, tmp_path, max_cost=0.0)
    assert begun.stopped, "never built: nobody knew what it would cost, and it stopped at its first commit"
    assert execute(dag, tmp_path).ok
    with pytest.raises(DecisionNeeded, match=r"is expected to cost \$[\d.,]+, more than --max-cost \$0.00"):
        execute(dag, tmp_path, rebuild=("say",), max_cost=0.0)


@pytest.mark.parametrize(("limit", "said"), [(1.0, 4), (1.2, 5), (1.3, 5)])
def test_a_run_stops_at_the_first_commit_after_its_limit_is_spent_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, said: int
) -> None:
    stopped(monkeypatch, "pipeline.machine", "tests.pipeline.toys")  # a word takes 0.3 s, a second costs a dollar
    trace = tmp_path / "trace"
    words = tuple(f"w{number:02d}" for number in range(40))
    dag = Dag(Upper(words=Slow(words=words, trace=str(trace), resources=Resources(dollars_per_hour=3600)).out))
    outcome = execute(dag, tmp_path / "store", max_cost=limit)
    assert outcome.states == {"slow": "stopped", "upper": "skipped"} and outcome.stopped
    assert len(trace.read_text()) == said * 3, "neither before nor after"
    again = execute(dag, tmp_path / "store")
    assert again.ok and len(trace.read_text()) == 40 * 3, "no word was said twice"
    cost = again.manifests["slow"].cost
    assert cost.dollars == cost.wall_seconds == 12
