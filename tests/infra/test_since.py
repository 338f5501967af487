"""What a machine that was started for a run waits is told once, by the stage that works on it next."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra import since as started
from infra.since import held, working
from tests.house import ROOT


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(started, "time", clock)
    return clock


def work(
    mark: Path, clock: Clock, after: float, run: str = "r", start: float | None = None, keeps: bool = False
) -> float:
    """What a stage is told that begins so many seconds later, and takes ten."""
    clock.now += after
    with working(mark, run, start) as idle:
        clock.now += 10
        if keeps:
            idle.keep()
    assert idle.since == (clock.now - 10 - idle.seconds if idle.seconds else None)
    return idle.seconds


@pytest.mark.parametrize(
    ("asked", "boot", "since"), [(0.0, 50.0, None), (100.0, 50.0, 120.0), (100.0, 110.0, 110.0), (100.0, None, 120.0)]
)
def test_a_machine_is_held_from_its_boot_or_from_when_it_was_ready_and_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: float, boot: float | None, since: float | None
) -> None:
    def booted() -> float:
        if boot is None:
            raise OSError("no /proc")
        return boot

    monkeypatch.setattr(started, "booted", booted)
    assert held(asked, 120.0) == since


def test_what_lies_before_and_between_the_stages_of_its_run_is_idle(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    assert [work(mark, clock, after, start=start) for after, start in ((5, 1000.0), (7, None), (0, None))] == [5, 7, 0]


def test_a_machine_that_was_there_waits_for_nobody(tmp_path: Path, clock: Clock) -> None:
    assert [work(tmp_path / "mark", clock, 7, start=start) for start in (None, None, 1000.0)] == [0, 0, 0]


def test_what_a_stage_did_not_count_that_gave_way_is_told_by_the_next(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    assert work(mark, clock, 5, start=1000.0, keeps=True) == 5
    assert [work(mark, clock, 7), work(mark, clock, 3)] == [12, 3]


def test_while_another_run_or_a_shard_works_on_it_it_is_not_idle(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    work(mark, clock, 5, start=1000.0)
    assert work(mark, clock, 2, run="other") == 0 and work(mark, clock, 3, run="") == 0
    assert work(mark, clock, 4) == 2 + 3 + 4


def test_of_stages_that_work_at_once_the_last_one_to_end_leaves_it_idle(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    with ExitStack() as first:
        assert first.enter_context(working(mark, "r", 990.0)).seconds == 10
        assert work(mark, clock, 5) == 0
        clock.now += 5
    assert work(mark, clock, 4) == 4


def test_what_a_killed_stage_had_begun_is_not_idle(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    work(mark, clock, 5, start=1000.0)
    script = f"import os; from infra.since import *\nwith working(Path({str(mark)!r}), 'r'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode == -9
    clock.now += 30
    assert work(mark, clock, 4) == 0
    assert work(mark, clock, 4) == 4


def test_shards_that_worked_on_it_before_its_first_stage_are_not_idle_time(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    assert work(mark, clock, 20, run="") == 0
    assert work(mark, clock, 7, start=1000.0) == 7


def test_a_process_that_a_stage_forked_and_left_behind_keeps_no_other_from_working(
    tmp_path: Path, clock: Clock
) -> None:
    mark = tmp_path / "mark"
    with working(mark, "r", 990.0), mark.with_suffix(".busy").open() as busy:
        held = next(
            fd for fd in map(int, os.listdir("/proc/self/fd")) if fd != busy.fileno() and same(fd, busy.fileno())
        )
        left = subprocess.Popen(["sleep", "60"], pass_fds=[held])
    try:
        assert work(mark, clock, 4) == 4
    finally:
        left.kill()
        left.wait()


def same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # the folder that was listed
        return False


def test_where_nothing_can_be_written_work_goes_on_and_its_own_faults_are_told(tmp_path: Path, clock: Clock) -> None:
    assert work(tmp_path / "missing" / "mark", clock, 4, start=1000.0) == 0
    with pytest.raises(OSError, match="of the stage"), working(tmp_path / "missing" / "mark"):
        raise OSError("of the stage")
    with working(tmp_path / "mark", "r", 1000.0) as idle:
        (tmp_path / "mark.json").unlink()
        (tmp_path / "mark.json").mkdir()
    assert idle.seconds == 14


def test_a_record_that_a_kill_spoilt_is_begun_anew(tmp_path: Path, clock: Clock) -> None:
    mark = tmp_path / "mark"
    work(mark, clock, 5, start=1000.0)
    mark.with_suffix(".json").write_text('{"owner": "r", "id')
    assert [work(mark, clock, 7), work(mark, clock, 3)] == [0, 0]
