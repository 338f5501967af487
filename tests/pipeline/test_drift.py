"""Drift is never silent, either way: a small one is rebuilt, a dear one waits for a word, and what is accepted stays on record."""

from __future__ import annotations

import importlib
import io
import re
import time
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import Dag, DagError, Resources, UsageError
from pipeline.accounts import plan_lines
from pipeline.code import code_record
from pipeline.display import Display
from pipeline.errors import DecisionNeeded, StoreError
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Upper

STAGES = """
from NAME_words import shout
from pipeline import Stage
from tests.pipeline.toys import Words

class Shout(Stage[Words]):
    text: str = "hey"
    def run(self, out, ctx):
        (out.path / "words.txt").write_text(shout(self.text))

class Echo(Stage[Words]):
    words: Words
    def run(self, out, ctx):
        (out.path / "words.txt").write_text(shout(" ".join(self.words.read())))
"""
FIRST = "def shout(text):\n    return text.upper()\n"
SAME = "def shout(text):\n    return str(text).upper()\n"
OTHER = "def shout(text):\n    return text.upper() + '!'\n"


class Project:
    """A person's two modules and store: Shout, Echo after it, and Upper, whose code never changes, at the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.words, self.root = name, folder / f"{name}_words.py", str(folder / "store")
        (folder / f"{name}_stages.py").write_text(STAGES.replace("NAME", name))
        self.edit(FIRST)
        self.stages: ModuleType = importlib.import_module(f"{name}_stages")

    def edit(self, code: str) -> None:
        """The code of `shout`, which Shout and Echo reach."""
        self.words.write_text(code)
        namespace = importlib.import_module(f"{self.name}_words")
        importlib.reload(namespace)
        if hasattr(self, "stages"):
            importlib.reload(self.stages)

    def dag(self) -> Dag:
        return Dag(Upper(words=self.stages.Echo(words=self.stages.Shout().out).out))

    def run(self, **asked: object) -> Outcome:
        request = Request.model_validate(asked)
        return run(self.dag(), Store(self.root), name="toys", dials={}, executor=Inline, request=request)

    def states(self) -> dict[str, str]:
        return {label: entry.state for label, entry in plan(self.dag(), Store(self.root)).entries.items()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Project(tmp_path, f"drift{abs(hash(str(tmp_path)))}")
    assert made.run().ok
    return made


def test_a_small_drift_is_rebuilt_and_told(project: Project) -> None:
    project.edit(SAME)
    planned = plan(project.dag(), Store(project.root))
    assert planned.drifted == ["shout", "echo"] and planned.drift == ("shout", "echo", "upper")
    assert plan_lines(planned, colour=False)[-1].startswith(
        f"drift: 2 stages drifted (first shout: {project.name}_words.py:shout changed)"
    )
    assert project.run().states == {"shout": "finished", "echo": "finished", "upper": "cached"}


def test_a_dear_drift_stops_before_anything_starts_and_names_both_ways_on(project: Project) -> None:
    project.edit(OTHER)
    before = sorted(Path(project.root).rglob("*"))
    with pytest.raises(DecisionNeeded) as raised:
        project.run(confirm_above=0)
    assert (
        f"2 stages drifted (first shout: {project.name}_words.py:shout changed): rebuilding them, and 1 below"
        in raised.value.message
    )
    assert "--rebuild shout --rebuild echo builds again, --accept shout --accept echo keeps" in raised.value.mend
    assert raised.value.exit_code == 3
    assert sorted(Path(project.root).rglob("*")) == before


def test_dear_drift_is_told_with_its_dollars_as_far_as_they_are_known(project: Project) -> None:
    project.edit(OTHER)
    dear = Resources(dollars_per_hour=36e6)
    shout = project.stages.Shout(resources=dear)
    for dag, cost in (
        (Dag(shout), r"costs about \$[\d.,]+$"),
        (Dag(project.stages.Echo(words=shout.out)), "costs nobody knows how much$"),
    ):
        assert re.search(f"takes about .* and {cost}", plan_lines(plan(dag, Store(project.root)), colour=False)[-1])


def test_what_a_person_asked_for_needs_no_second_word(project: Project) -> None:
    project.edit(OTHER)
    done = project.run(confirm_above=0, rebuild=("shout", "echo"))
    assert done.states == {"shout": "finished", "echo": "finished", "upper": "finished"}
    changed = Dag(Upper(words=project.stages.Echo(words=project.stages.Shout(text="ho").out).out))
    request = Request(confirm_above=0)
    assert run(changed, Store(project.root), name="toys", dials={}, executor=Inline, request=request).ok


def test_what_is_accepted_is_cached_from_then_on_with_who_when_and_why(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_USER", "ann")
    project.edit(SAME)
    began = time.time()
    outcome = project.run(confirm_above=0, accept=("shout", "echo"), why="the same words")
    assert set(outcome.states.values()) == {"cached"} and not outcome.run
    assert set(project.states().values()) == {"cached"}
    store, shout = Store(project.root), outcome.manifests["shout"]
    word = store.acceptance(shout, code_record(project.stages.Shout).digest)
    assert word and (word.who, word.why) == ("ann", "the same words") and began <= word.when <= time.time()
    reason = plan(project.dag(), store).entries["shout"].reason
    day = time.strftime("%Y-%m-%d", time.localtime(word.when))
    assert reason == f"accepted by ann on {day} (the same words), though {project.name}_words.py:shout changed"


def test_what_is_accepted_is_told_though_nothing_runs(project: Project) -> None:
    project.edit(SAME)
    stream, request = io.StringIO(), Request(accept=("drifted",))
    show = Display("toys", stream)
    run(project.dag(), Store(project.root), name="toys", dials={}, executor=Inline, request=request, observer=show)
    edited = f"{project.name}_words.py:shout changed"
    assert stream.getvalue().splitlines() == [f"{label}: accepted now, though {edited}" for label in ("shout", "echo")]


def test_all_that_drifted_is_accepted_or_rebuilt_by_one_word(project: Project) -> None:
    project.edit(SAME)
    outcome = project.run(accept=("drifted",))
    assert set(outcome.states.values()) == {"cached"} and set(project.states().values()) == {"cached"}
    project.edit(OTHER)
    assert project.run(rebuild=("drifted",), confirm_above=0).states["echo"] == "finished"
    assert project.run(rebuild=("drifted",), confirm_above=0).states["echo"] == "cached", "nothing is left to rebuild"


def test_many_drifted_stages_are_named_by_one_word(project: Project) -> None:
    shouts = [project.stages.Shout(text=f"hey {number}", label=f"shout-{number}") for number in range(4)]
    dag, store = Dag(*shouts), Store(project.root)
    run(dag, store, name="toys", dials={}, executor=Inline)
    project.edit(OTHER)
    with pytest.raises(DecisionNeeded) as raised:
        run(dag, store, name="toys", dials={}, executor=Inline, request=Request(confirm_above=0))
    assert raised.value.mend.startswith("--rebuild drifted builds again, --accept drifted keeps what is there")


def test_an_acceptance_that_cannot_be_read_is_one_error_with_its_place(project: Project) -> None:
    project.edit(SAME)
    project.run(accept=("drifted",))
    [record] = Path(project.root).glob("shout/*/*/accepted/*.json")
    record.write_bytes(record.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"/accepted/\w+\.json cannot be read: truncated, or written by a newer"):
        project.run()


def test_an_acceptance_is_for_one_code_alone(project: Project) -> None:
    project.edit(SAME)
    project.run(accept=("shout", "echo"))
    project.edit(OTHER)
    assert project.states()["shout"] == "drift"


def test_going_back_to_older_code_is_a_hit(project: Project) -> None:
    project.edit(OTHER)
    project.run()
    project.edit(FIRST)
    assert set(project.states().values()) == {"cached"}


def test_what_is_rebuilt_later_comes_before_what_was_accepted(project: Project) -> None:
    project.edit(SAME)
    accepted = project.run(accept=("shout", "echo")).manifests["shout"]
    rebuilt = project.run(rebuild=("shout",)).manifests["shout"]
    assert rebuilt.attempt != accepted.attempt
    assert plan(project.dag(), Store(project.root)).entries["shout"].manifest == rebuilt


@pytest.mark.parametrize(("label", "message"), [("upper", "its inputs are not up to date"), ("echo", "its inputs")])
def test_only_what_drifted_can_be_accepted(project: Project, label: str, message: str) -> None:
    project.edit(SAME)
    with pytest.raises(DagError, match=message):
        project.run(accept=(label,))
    project.edit(FIRST)
    with pytest.raises(DagError, match="is up to date: there is nothing to accept"):
        project.run(accept=(label,))


def test_to_rebuild_and_accept_the_same_stage_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="both to be rebuilt and accepted"):
        project.run(rebuild=("shout",), accept=("shout",))


def test_a_drift_of_unknown_price_waits_for_a_word(project: Project) -> None:
    project.edit(OTHER)
    planned = plan(project.dag(), Store(project.root))
    unknown = planned.entries["echo"].forecast.model_copy(update={"seconds": None})
    entry = planned.entries["echo"].model_copy(update={"forecast": unknown})
    from pipeline.selection import agree

    with pytest.raises(DecisionNeeded, match="nobody knows how long"):
        agree(planned.model_copy(update={"entries": {**planned.entries, "echo": entry}}), Request())
