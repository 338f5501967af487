"""A stage ends at its limit of time, and at its next commit where its run is asked to stop; the next run goes on from there."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline import Context, Resources, Stage, StageFailed
from pipeline.errors import Stopped
from pipeline.job import Job
from pipeline.limits import Limits
from pipeline.manifest import Manifest
from pipeline.store import Store
from pipeline.workspace import Workspace
from tests.executors.stages_for_tests import Stubborn
from tests.pipeline.toys import Say, Slow, Words


def execute(stage: Stage[Words], root: Path, run: str) -> Manifest:
    return Job.of(stage, [], run=run, store=str(root)).execute([], executor="inline")


def test_a_stage_that_is_asked_to_stop_does_so_at_its_next_commit_and_another_run_goes_on(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stage, store = Slow(words=("a", "b", "c", "d"), trace=str(trace)), Store(str(tmp_path / "store"))

    def ask() -> None:
        while not trace.exists():
            time.sleep(0.01)
        store.ask_stop("first", "the spend has reached $2.00", "somebody")

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Stopped, match=r"stage 'slow' was stopped: the spend has reached \$2.00\n.*go on") as raised:
        execute(stage, tmp_path / "store", "first")
    asking.join()
    said = trace.read_text()
    assert raised.value.exit_code == 3 and said in ("a", "ab") and not store.of_stage("slow")
    execute(stage, tmp_path / "store", "second")
    assert trace.read_text() == "abcd", "what was committed was not made again"


def test_no_stage_begins_once_its_run_was_asked_to_stop(tmp_path: Path) -> None:
    store, trace = Store(str(tmp_path / "store")), tmp_path / "trace"
    store.ask_stop("run", "enough", "somebody")
    with pytest.raises(Stopped):
        execute(Say(trace=str(trace)), tmp_path / "store", "run")
    assert not trace.exists()
    events = [path.read_text() for path in (tmp_path / "store/.runs/run/events/say").iterdir()]
    assert '"stopped"' in "".join(events) and '"started"' not in "".join(events)


def test_who_was_asked_to_stop_does_not_wait_for_another_run_either(tmp_path: Path) -> None:
    trace, store = tmp_path / "trace", tmp_path / "store"
    stage = Slow(words=tuple("abcdefgh"), trace=str(trace))
    first = threading.Thread(target=execute, args=(stage, store, "first"))
    first.start()
    while not trace.exists():
        time.sleep(0.01)
    Store(str(store)).ask_stop("second", "enough", "somebody")
    with pytest.raises(Stopped):
        execute(stage, store, "second")
    assert first.is_alive()
    first.join()


def test_what_is_there_already_is_given_even_by_a_run_that_was_asked_to_stop(tmp_path: Path) -> None:
    made = execute(Say(), tmp_path, "first")
    Store(str(tmp_path)).ask_stop("second", "enough", "somebody")
    assert execute(Say(), tmp_path, "second") == made


def test_the_first_who_asks_is_the_one_on_record(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert store.stop_asked("run") == ""
    store.ask_stop("run", "first", "a")
    store.ask_stop("run", "second", "b")
    assert store.stop_asked("run") == "first" and store.stop_asked("other") == ""


def test_a_commit_of_a_file_is_a_place_to_stop_as_well(tmp_path: Path) -> None:
    looks: list[int] = []
    ctx = Context(Workspace(tmp_path), look=lambda: looks.append(1))
    (ctx.scratch / "checkpoint").write_text("x")
    ctx.commit(ctx.scratch / "checkpoint")
    assert looks == [1]


@pytest.mark.parametrize(("root", "looks"), [("memory://stops", 1), ("local", 50)])
def test_a_remote_store_is_asked_at_most_once_a_second(tmp_path: Path, root: str, looks: int) -> None:
    class Counts(Store):
        asked = 0

        def stop_asked(self, run: str) -> str:
            self.asked += 1
            return super().stop_asked(run)

    store = Counts(root if "://" in root else str(tmp_path))
    watch = Limits(store, "run", "say")
    for _ in range(50):
        watch.look()
    assert store.asked == looks
    if looks == 1:
        store.ask_stop("run", "enough", "somebody")
        time.sleep(1)
        with pytest.raises(Stopped):
            watch.look()


def test_a_stage_that_takes_too_long_is_ended_whatever_it_catches_and_keeps_its_commits(tmp_path: Path) -> None:
    trace, before = tmp_path / "trace", signal.getsignal(signal.SIGALRM)
    stage = Stubborn(trace=str(trace), resources=Resources(minutes=0.005))
    began = time.monotonic()
    with pytest.raises(StageFailed, match="'stubborn' ran longer than its limit of 0.005 minutes") as raised:
        execute(stage, tmp_path / "store", "first")
    assert "raise resources.minutes" in raised.value.mend and time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(StageFailed, match="ran longer"):
        execute(stage, tmp_path / "store", "second")
    assert trace.read_text() == "first", "its first shard had been committed"


def test_outside_the_main_thread_a_limit_holds_at_the_next_commit(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def work() -> None:
        try:
            execute(Slow(trace=str(tmp_path / "trace"), resources=Resources(minutes=0.001)), tmp_path / "store", "run")
        except StageFailed as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "limit of 0.001 minutes" in str(faults[0]) and (tmp_path / "trace").read_text() == "a"


def test_a_ctrl_c_within_the_limit_is_not_taken_for_its_end(tmp_path: Path) -> None:
    limits = Limits(Store(str(tmp_path)), "run", "say", 1)
    with pytest.raises(KeyboardInterrupt), limits.timed():
        raise KeyboardInterrupt
