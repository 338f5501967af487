"""A run builds what has to be built, in order, and says how each stage ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Dag, DagError, Resources, StageFailed, UsageError
from pipeline.executor import Inline
from pipeline.job import Job
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Fails, Join, Say, Upper, Words, line


def execute(dag: Dag, root: Path, **options: object) -> Outcome:
    return run(dag, Store(str(root)), name="toys", dials={}, executor=Inline, **options)  # type: ignore[arg-type]


def test_a_dag_runs_from_its_sources_to_its_target(tmp_path: Path) -> None:
    outcome = execute(line(words="alpha beta"), tmp_path)
    assert outcome.ok and outcome.states == {"say": "finished", "upper": "finished"}
    assert (outcome.data("upper") / "upper.txt").read_text() == "ALP BET"
    assert outcome.manifests["upper"].metrics == {"letters": 7}
    assert outcome.manifests["upper"].inputs["words"].digest == outcome.manifests["say"].digest


def test_a_second_run_finds_everything_and_starts_no_executor(tmp_path: Path) -> None:
    execute(line(), tmp_path)

    def never() -> Inline:
        raise AssertionError("an executor was started for a cached run")

    outcome = run(line(), Store(str(tmp_path)), name="toys", dials={}, executor=never)
    assert set(outcome.states.values()) == {"cached"} and not outcome.run


def test_a_changed_setting_reruns_its_stage_and_nothing_above(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    outcome = execute(line(limit=2), tmp_path)
    assert outcome.states == {"say": "cached", "upper": "finished"}
    assert execute(line(limit=3), tmp_path).states == {"say": "cached", "upper": "cached"}


def test_a_rebuilt_stage_that_yields_the_same_bytes_leaves_those_below_cached(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    outcome = execute(line(), tmp_path, request=Request(rebuild=("say",)))
    assert outcome.states == {"say": "finished", "upper": "cached"}


def test_the_same_words_from_elsewhere_do_not_rerun_what_is_below(tmp_path: Path) -> None:
    execute(Dag(Upper(words=Say(words=("a", "b")).out)), tmp_path)
    other = Dag(Upper(words=Say(words=("a", "b"), trace=str(tmp_path / "trace")).out))
    assert execute(other, tmp_path / ".").states == {"say": "finished", "upper": "cached"}


def test_a_failed_stage_skips_what_is_below_and_not_its_neighbours(tmp_path: Path) -> None:
    say = Say()
    fails = Fails(words=say.out)
    dag = Dag(Join(parts=(fails.out, say.out)), Upper(words=say.out))
    outcome = execute(dag, tmp_path)
    assert outcome.states == {"say": "finished", "fails": "failed", "join": "skipped", "upper": "finished"}
    assert not outcome.ok
    text = str(outcome.faults["fails"])
    assert "'fails': ValueError: a bug (at toys.py:" in text and "logs/fails.txt" in text
    assert "Traceback" in (tmp_path / ".runs" / outcome.run / "logs" / "fails.txt").read_text()


def test_a_stage_that_knows_what_is_wrong_is_told_in_its_own_words(tmp_path: Path) -> None:
    outcome = execute(Dag(Fails(words=Say().out, known=True)), tmp_path)
    assert str(outcome.faults["fails"]) == "nothing is left\n  → give it more"


def test_only_builds_one_stage_from_existing_inputs_even_when_it_is_cached(tmp_path: Path) -> None:
    first = execute(line(), tmp_path)
    outcome = execute(line(), tmp_path, request=Request(only="upper"))
    assert outcome.states == {"say": "cached", "upper": "finished"}
    assert outcome.manifests["upper"].attempt != first.manifests["upper"].attempt


def test_only_refuses_where_an_input_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DagError, match="--only: say, which is an input, is not up to date \\(never built\\)"):
        execute(line(), tmp_path, request=Request(only="upper"))


def test_a_label_that_does_not_exist_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DagError, match="no stage is labelled 'uper'; did you mean 'upper'"):
        execute(line(), tmp_path, request=Request(only="uper"))


def test_a_tracker_that_breaks_is_a_warning_and_nothing_more(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        def start(self, record: object) -> None:
            raise RuntimeError("no server")

    outcome = execute(line(), tmp_path, trackers=lambda: [Broken()])
    again = f"corpusmill track {outcome.run} --store {tmp_path} --tracker broken"
    assert outcome.ok and outcome.warnings == [
        f"broken stopped recording this run: no server; to record it later: {again}"
    ]


def test_trackers_are_told_of_every_stage_in_order(tmp_path: Path) -> None:
    told: list[str] = []

    class Told:
        name = "told"

        def start(self, record: object) -> None:
            told.append("start")

        def event(self, event: object) -> None:
            pass

        def stage(self, label: str, state: str, manifest: object, fault: str = "") -> None:
            told.append(f"{label} {state}")

        def finish(self, state: str) -> None:
            told.append(f"finish {state}")

    execute(line(), tmp_path, trackers=lambda: [Told()])
    assert told == ["start", "say finished", "upper finished", "finish finished"]


def test_a_thousand_stages_in_a_line_meet_no_recursion_limit(tmp_path: Path) -> None:
    stage: Say | Upper = Say(words=("a",))
    for number in range(1000):
        stage = Upper(words=stage.out, label=f"u{number}")
    dag = Dag(stage)
    assert len(dag.stages) == 1001
    copied = stage.with_inputs(lambda place, artifact: artifact.at(place))
    assert isinstance(copied, Upper) and copied.words == Words("words")


def test_code_edited_while_a_run_is_on_is_never_passed_off_as_what_was_planned(tmp_path: Path) -> None:
    say = Say()
    job = Job.of(say, [], run="r", store=str(tmp_path))
    with pytest.raises(StageFailed, match="the code of stage 'say' changed while the run was on"):
        job.model_copy(update={"code": "0" * 64}).execute([], executor="inline")
    assert job.execute([], executor="inline").label == "say"


def test_a_run_that_is_stopped_is_told_to_the_trackers_as_stopped(tmp_path: Path) -> None:
    told: list[str] = []

    class Told:
        name = "told"

        def __getattr__(self, verb: str) -> object:
            return lambda *arguments: told.append(
                f"{verb} {arguments[0] if verb in ('finish', 'stage') else ''}".strip()
            )

    class Stops(Inline):
        def submit(self, job: Job, after: object) -> object:  # type: ignore[override]
            if job.label == "upper":
                raise KeyboardInterrupt
            return super().submit(job, after)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run(line(), Store(str(tmp_path)), name="toys", dials={}, executor=Stops, trackers=lambda: [Told()])  # type: ignore[list-item]
    assert told[0] == "start" and "stage say" in told and told[-1] == "finish stopped"


def test_what_no_machine_can_be_given_is_refused_before_anything_starts(tmp_path: Path) -> None:
    class Small(Inline):
        def __init__(self) -> None:
            super().__init__()
            self.room = {"gpus": 0}

    dag = Dag(Upper(words=Say().out, resources=Resources(gpus=1)))
    with pytest.raises(UsageError, match="stage 'upper' asks for 1 GPU, but this machine has 0\n.*--on modal"):
        run(dag, Store(str(tmp_path / "store")), name="toys", dials={}, executor=Small)
    assert not (tmp_path / "store").exists(), "nothing was built, and no run is on record"
