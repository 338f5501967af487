"""A replay tells what the live run told, whatever became of the run, and its events alone make no difference to how it ended."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import Dag, StoreError, UsageError
from pipeline.executor import Inline
from pipeline.lease import held
from pipeline.outcome import Outcome
from pipeline.replay import recorded, tell, whole
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store, place_of
from pipeline.tracker import RunRecord
from tests.pipeline.toys import Fails, Join, Say, Upper, line


class Diary:
    """A tracker that keeps all it is told."""

    name = "diary"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start(self, record: Any) -> None:
        self.calls.append(("start", record))

    def event(self, event: Any) -> None:
        self.calls.append(("event", event))

    def stage(self, label: str, state: str, manifest: Any, fault: str = "") -> None:
        self.calls.append(("stage", label, state, manifest, fault))

    def finish(self, state: str) -> None:
        self.calls.append(("finish", state))

    def ends(self) -> list[tuple[str, str]]:
        """Label and state of every stage, in the order in which they were told."""
        return [(call[1], call[2]) for call in self.calls if call[0] == "stage"]

    def of(self, label: str) -> list[Any]:
        """The events of a stage."""
        return [call[1] for call in self.calls if call[0] == "event" and call[1].label == label]


def live(dag: Dag, root: Path, **options: Any) -> tuple[Outcome, Diary]:
    diary = Diary()
    known = Store(str(root))
    return run(dag, known, name="toys", dials={}, executor=Inline, trackers=lambda: [diary], **options), diary


def replayed(root: Path, run: str) -> Diary:
    diary = Diary()
    tell(Store(str(root)), recorded(Store(str(root)), run), diary)  # type: ignore[arg-type]
    return diary


def same(live: Diary, told: Diary) -> None:
    assert told.calls[0] == live.calls[0] and told.calls[-1] == live.calls[-1]
    assert sorted(call[1:] for call in told.calls if call[0] == "stage") == sorted(
        call[1:] for call in live.calls if call[0] == "stage"
    )
    for label in live.calls[0][1].stages:
        assert told.of(label) == live.of(label)
    times = [call[1].time for call in told.calls if call[0] == "event"]
    assert times == sorted(times)


def fan() -> Dag:
    say = Say()
    fails = Fails(words=say.out)
    return Dag(Join(parts=(fails.out, say.out)), Upper(words=say.out))


def test_a_replay_tells_what_the_live_run_told_and_each_stage_after_those_above_it(tmp_path: Path) -> None:
    outcome, diary = live(line(), tmp_path)
    told = replayed(tmp_path, outcome.run)
    same(diary, told)
    assert told.ends() == [("say", "finished"), ("upper", "finished")]


def test_what_failed_and_what_was_cached_is_told_as_it_was(tmp_path: Path) -> None:
    live(line(words="a b c"), tmp_path)
    outcome, diary = live(fan(), tmp_path)
    told = replayed(tmp_path, outcome.run)
    same(diary, told)
    assert dict(told.ends()) == {"say": "cached", "fails": "failed", "join": "skipped", "upper": "cached"}
    assert told.calls[-1] == ("finish", "failed")
    (fault,) = [call[4] for call in told.calls if call[0] == "stage" and call[2] == "failed"]
    assert "ValueError: a bug" in fault


def test_a_part_of_a_dag_is_told_as_a_part(tmp_path: Path) -> None:
    outcome, diary = live(line(), tmp_path, request=Request(until="say"))
    told = replayed(tmp_path, outcome.run)
    same(diary, told)
    assert told.calls[0][1].only == "--until say"


def test_manifests_are_told_where_the_events_were_removed(tmp_path: Path) -> None:
    outcome, diary = live(fan(), tmp_path)
    shutil.rmtree(tmp_path / ".runs" / outcome.run / "events")
    told = replayed(tmp_path, outcome.run)
    assert told.calls[0] == diary.calls[0] and told.calls[-1] == diary.calls[-1]
    assert sorted(told.ends()) == sorted(diary.ends()) and not told.of("say")


def killed(dag: Dag, root: Path) -> str:
    """The id of a run whose driver was killed."""
    child = os.fork()
    if child == 0:
        try:
            live(dag, root)
        finally:
            os._exit(0)  # what it raises is told by its parent, and no test goes on in it
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    return max(path.name for path in (root / ".runs").iterdir() if path.is_dir())


def test_a_killed_run_ends_as_killed_with_what_it_had_finished(tmp_path: Path) -> None:
    dag = Dag(Upper(words=Say(words=("a", "b"), trace=str(tmp_path / "trace"), die_at="b", label="dies").out), Say())
    name = killed(dag, tmp_path)
    told = replayed(tmp_path, name)
    assert set(told.ends()) <= {("say", "finished")} and told.calls[-1] == ("finish", "killed")
    assert [event.data["state"] for event in told.of("dies") if event.kind == "state"] == ["started"]


def test_a_stage_that_published_before_the_kill_has_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.spent.Spent.published", lambda self: os.kill(os.getpid(), signal.SIGKILL))
    name = killed(line(), tmp_path)
    told = replayed(tmp_path, name)
    assert told.ends() == [("say", "finished")] and told.calls[-1] == ("finish", "killed")


def test_a_run_that_is_on_is_refused_and_left_out_of_all(tmp_path: Path) -> None:
    outcome, _ = live(line(), tmp_path)
    with (
        held(tmp_path / ".runs" / outcome.run / "lease"),
        pytest.raises(UsageError, match=f"{outcome.run} is still on"),
    ):
        recorded(Store(str(tmp_path)), outcome.run)


def test_a_run_without_a_record_and_one_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    outcome, _ = live(line(), tmp_path)
    record = tmp_path / ".runs" / outcome.run / "run.json"
    record.write_text(record.read_text()[:50])
    with pytest.raises(StoreError, match="run.json"):
        recorded(Store(str(tmp_path)), outcome.run)


def test_a_damaged_chunk_and_a_lost_manifest_are_complaints_and_the_rest_is_told(tmp_path: Path) -> None:
    outcome, diary = live(line(), tmp_path)
    (chunk, *_) = sorted((tmp_path / ".runs" / outcome.run / "events" / "say").glob("*.jsonl"))
    chunk.write_text("{\n" + chunk.read_text())
    shutil.rmtree(tmp_path / place_of(outcome.manifests["upper"]))
    tale, told = recorded(Store(str(tmp_path)), outcome.run), Diary()
    tell(Store(str(tmp_path)), tale, told)  # type: ignore[arg-type]
    assert told.of("say") == diary.of("say") and told.ends() == diary.ends()
    assert [line.rpartition(" ")[2] for line in tale.complaints] == ["manifest", "event"]


def test_a_store_that_was_moved_is_told_from_where_it_is(tmp_path: Path) -> None:
    outcome, _ = live(line(), tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert replayed(tmp_path / "new", outcome.run).calls[0][1].store == str(tmp_path / "new")


def test_all_is_told_in_order_and_what_no_run_names_from_manifests_alone(tmp_path: Path) -> None:
    first, _ = live(line(), tmp_path)
    time.sleep(0.01)
    second, _ = live(line(limit=2), tmp_path)
    store = Store(str(tmp_path))
    assert [name for name, _ in whole(store)] == [first.run, second.run]
    shutil.rmtree(tmp_path / ".runs" / first.run)
    tales = [call() for _, call in whole(store)]
    assert [tale.record.run for tale in tales] == [first.run, second.run]
    record: RunRecord = tales[0].record
    assert (record.dag, list(record.stages), bool(record.only)) == ("unrecorded", ["say", "upper"], True)
    told = Diary()
    tell(store, tales[0], told)  # type: ignore[arg-type]
    assert told.ends() == [("say", "finished"), ("upper", "finished")]
    assert {call[3].attempt for call in told.calls if call[0] == "stage"} == {
        made.attempt for made in first.manifests.values()
    }
