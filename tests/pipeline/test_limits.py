"""A stage ends at its limit of time, and at its next commit where its run is asked to stop; the next run goes on from there."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline import Context, Resources, Stage, StageFailed, limits
from pipeline.errors import Stopped
from pipeline.job import Job
from pipeline.limits import Limits
from pipeline.manifest import Manifest
from pipeline.store import Store
from pipeline.workspace import Workspace
from tests.executors.stages_for_tests import Stubborn
from tests.pipeline import clocks
from tests.pipeline.test_ledger import until
from tests.pipeline.toys import Held, Say, Slow, Words


def execute(stage: Stage[Words], root: Path, run: str) -> Manifest:
    return Job.of(stage, [], run=run, store=str(root)).execute([], executor="inline")


def test_a_stage_that_is_asked_to_stop_does_so_at_its_next_commit_and_another_run_goes_on(tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    stage = Held(words=("a", "b", "c", "d"), trace=str(trace), gate=str(gate))
    store = Store(str(tmp_path / "store"))

    def ask() -> None:
        until(trace.exists)
        store.ask_stop("first", "the spend has reached $2.00", "somebody")
        gate.touch()

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Stopped, match=r"stage 'held' was stopped: the spend has reached \$2.00\n.*go on") as raised:
        execute(stage, tmp_path / "store", "first")
    asking.join()
    said = trace.read_text()
    assert raised.value.exit_code == 3 and said in ("a", "ab") and not store.of_stage("held")
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
    trace, store, gate = tmp_path / "trace", tmp_path / "store", tmp_path / "gate"
    stage = Held(words=("a", "b"), trace=str(trace), gate=str(gate))
    first = threading.Thread(target=execute, args=(stage, store, "first"))
    first.start()
    until(trace.exists)
    Store(str(store)).ask_stop("second", "enough", "somebody")
    with pytest.raises(Stopped):
        execute(stage, store, "second")
    gate.touch()
    first.join()
    assert trace.read_text() == "ab", "the other run was not done before"


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


@pytest.mark.parametrize(("root", "looks"), [("memory://", 1), ("", 50)])
def test_a_remote_store_is_asked_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, looks: int
) -> None:
    clock = clocks.stopped(monkeypatch, "pipeline.limits")

    class Counts(Store):
        asked = 0

        def stop_asked(self, run: str) -> str:
            self.asked += 1
            return super().stop_asked(run)

    store = Counts(f"{root}{tmp_path}")
    watch = Limits(store, "run", "say")
    for _ in range(50):
        watch.look()
    assert store.asked == looks
    if looks == 1:
        store.ask_stop("run", "enough", "somebody")
        clock.passed += limits.LOOK_SECONDS - 0.1
        watch.look()
        clock.passed += 0.1
        with pytest.raises(Stopped):
            watch.look()


def test_a_stage_that_takes_too_long_is_ended_whatever_it_catches_and_keeps_its_commits(tmp_path: Path) -> None:
    trace, before = tmp_path / "trace", signal.getsignal(signal.SIGALRM)
    for minutes in (0.005, 0.05, 0.5):  # until its first shard is committed within the limit
        stage = Stubborn(trace=str(trace), resources=Resources(minutes=minutes))
        with pytest.raises(StageFailed, match=f"'stubborn' ran longer than its limit of {minutes} minutes") as raised:
            execute(stage, tmp_path / "store", f"{minutes}")
        assert "raise resources.minutes" in raised.value.mend
        assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        if list((tmp_path / "store" / ".partial").glob("stubborn/*/*/commits/*.json")):
            break
    said = trace.read_text()
    with pytest.raises(StageFailed, match="ran longer"):
        execute(stage, tmp_path / "store", "again")
    assert trace.read_text() == said, "its first shard had been committed"


def test_a_limit_that_passes_as_the_stage_ends_is_no_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, set_timer = signal.getsignal(signal.SIGALRM), signal.setitimer

    def late(which: int, seconds: float) -> None:
        if not seconds:
            time.sleep(0.1)  # the alarm goes off before it is put off
        set_timer(which, seconds)

    monkeypatch.setattr(signal, "setitimer", late)
    watch = Limits(Store(str(tmp_path)), "run", "say", 0.001)
    with pytest.raises(StageFailed, match="ran longer"), watch.timed():
        pass
    assert signal.getsignal(signal.SIGALRM) == before


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
    watch = Limits(Store(str(tmp_path)), "run", "say", 1)
    with pytest.raises(KeyboardInterrupt), watch.timed():
        raise KeyboardInterrupt
