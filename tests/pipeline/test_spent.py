"""What an attempt cost: over all its sessions, with what a kill or a failure made it do again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Stage, StageFailed, spent
from pipeline.context import Context
from pipeline.job import Job
from pipeline.machine import Beyond, Meter, Metered, Share, usage
from pipeline.manifest import Cost, Manifest
from pipeline.resources import Resources
from pipeline.spent import Session, Spent, kept, sessions, total
from pipeline.store import Store
from pipeline.stream import Follower
from pipeline.tables import brief
from pipeline.workspace import Workspace
from tests.pipeline.objects import files
from tests.pipeline.toys import Breathes, Fails, Say

PRICED = Resources(dollars_per_hour=36, gpus=2)  # a cent a second


def execute(stage: Stage[Any], root: Path | str, *inputs: Manifest, parents: Sequence[Stage[Any]] = ()) -> Manifest:
    return Job.of(stage, parents, run="r", store=str(root)).execute(inputs, executor="inline")


def told(root: Path, label: str) -> list[Session]:
    events = Follower(Store(str(root)), "r", [label]).new()
    return [Session.model_validate(event.data) for event in events if event.kind == "cost"]


def killed_after(stage: Stage[Any], store: Path | str, passed: Callable[[], object]) -> None:
    """Run `stage` in a process of its own, and kill that once it has `passed`, some time after a commit."""
    text = Job.of(stage, (), run="r", store=str(store)).model_dump_json()
    script = (
        "import sys; from pipeline.job import Job; Job.model_validate_json(sys.argv[1]).execute([], executor='inline')"
    )
    with subprocess.Popen([sys.executable, "-c", script, text]) as process:
        deadline = time.monotonic() + 60
        while not passed() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_and_resumed_stage_costs_all_its_sessions_and_lost_what_lay_after_the_last_commit(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    stage = Breathes(words=("a", "b"), seconds=(0.5, 3.5), trace=str(trace), resources=PRICED)
    killed_after(stage, tmp_path, lambda: list(tmp_path.rglob("breathed-3.0")))
    (scratch,) = (tmp_path / ".partial").glob("breathes/*/*/spent")
    (first,) = sessions(scratch)
    assert 0.5 <= first.committed.wall_seconds < first.cost.wall_seconds, (
        "the account is behind, but not at its last commit"
    )
    manifest = execute(stage, tmp_path)
    assert trace.read_text() == "abb", "the first word was not said again"
    assert manifest.lost == first.lost
    assert manifest.cost.wall_seconds > first.cost.wall_seconds + 3.5
    assert manifest.machine["dollars_per_hour"] == 36
    assert manifest.cost.dollars == pytest.approx(manifest.cost.wall_seconds / 100, rel=0.01)
    assert manifest.cost.gpu_seconds == pytest.approx(2 * manifest.cost.wall_seconds, rel=0.01)
    assert not list((tmp_path / ".partial").rglob("spent")), "the account went into the manifest"
    last = told(tmp_path, "breathes")
    assert len({session.session for session in last}) == 2 and last[-1].lost.wall_seconds == 0


def test_on_another_machine_the_account_comes_from_the_store(s3_url: str, tmp_path: Path) -> None:
    trace, cache = tmp_path / "trace", tmp_path / "cache"
    stage = Breathes(words=("a", "b"), seconds=(0.2, 5.0), trace=str(trace))

    def account() -> list[Session]:
        names = [name for name in files(s3_url).below(".partial") if "/spent/" in name]
        return [Session.model_validate_json(files(s3_url).read(f".partial/{name}")) for name in names]

    killed_after(stage, s3_url, lambda: any(one.lost.wall_seconds > 0.5 for one in account()))
    (first,) = account()
    _, key, attempt, *_ = next(name for name in files(s3_url).below(".partial") if "/spent/" in name).split("/")
    assert kept(files(s3_url), f"breathes/{key}", attempt.rpartition("-")[2]) == first.committed
    shutil.rmtree(cache)
    manifest = execute(stage, s3_url)
    assert trace.read_text() == "abb" and manifest.cost.wall_seconds > first.cost.wall_seconds + 5.0
    assert manifest.lost == first.lost and first.lost.wall_seconds > 0.5
    assert files(s3_url).below(".partial") == []


def test_a_stage_that_fails_has_told_what_it_cost_and_lost(tmp_path: Path) -> None:
    said = execute(Say(), tmp_path)
    fails = Fails(words=Say().out, resources=PRICED)
    with pytest.raises(StageFailed):
        execute(fails, tmp_path, said, parents=[Say()])
    (session,) = told(tmp_path, "fails")
    assert session.lost == session.cost.model_copy(update={"peak_bytes": 0}) and session.cost.dollars is not None
    (kept,) = (tmp_path / ".partial").glob("fails/*/*/spent")
    assert sessions(kept) == [session]


def test_a_stage_without_a_price_has_unknown_dollars_and_nothing_lost(tmp_path: Path) -> None:
    manifest = execute(Say(), tmp_path)
    assert manifest.cost.dollars is None and manifest.cost.wall_seconds > 0 and manifest.lost == Cost()
    assert manifest.cost.peak_bytes > 10 * 2**20, "a Python interpreter at least"


def test_memory_and_cpu_of_a_living_child_count() -> None:
    meter = Meter()
    before = meter.cost()
    script = "import time; data = bytearray(200 * 2**20)\nwhile time.process_time() < 0.3: pass\nprint(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.read(1)
        during = meter.cost()
        child.kill()
    after = meter.cost()
    assert during.cpu_seconds - before.cpu_seconds >= 0.25 and after.cpu_seconds >= during.cpu_seconds - 0.05
    assert during.peak_bytes - before.peak_bytes > 190 * 2**20 and after.peak_bytes >= during.peak_bytes - 2**20


def test_a_peak_is_of_this_session_alone() -> None:
    meter, low = Meter(), Meter().cost().peak_bytes
    bytearray(300 * 2**20).clear()
    assert meter.cost().peak_bytes > low + 250 * 2**20 > Meter().cost().peak_bytes


def share(process: str, began: float, ended: float, peak: int, cpu: float = 1.0) -> Share:
    return Share(process, began, ended, cpu, peak)


def test_calls_elsewhere_count_their_cpu_and_the_memory_of_those_that_ran_at_once() -> None:
    meter = Meter()
    before = meter.cost()
    for one in (share("a", 0, 2, 100), share("b", 1, 3, 50), share("a", 2, 4, 30), share("c", 9, 10, 120)):
        meter.add(one)
    after = meter.cost()
    assert after.cpu_seconds - before.cpu_seconds == pytest.approx(4, abs=0.5)
    assert meter._elsewhere == 150


def test_each_cpu_that_shards_held_beyond_the_stages_own_costs_what_one_of_its_own_does() -> None:
    beyond = Beyond(held=1000, lost=100)
    four = Resources(cpus=4, dollars_per_hour=36)
    meter, own = Meter(four, beyond=lambda: beyond), Meter(four)
    cost, lost = meter.cost(), meter.lost()
    assert cost.dollars == pytest.approx(2.5, abs=0.1) and own.cost().dollars == pytest.approx(0, abs=0.1)
    assert (
        lost == Cost(cpu_seconds=100, beyond_cpu_seconds=100, dollars=0.25)
        and cost.cpu_seconds >= 100
        and own.lost() == Cost(dollars=0)
    )
    beside = Meter(Resources(gpu="H100", dollars_per_hour=36), beyond=lambda: beyond).cost().dollars
    assert beside == pytest.approx(0, abs=0.1), "a machine with GPUs is paid for whole"


def test_what_was_lost_with_another_machine_is_told_though_the_session_went_on(tmp_path: Path) -> None:
    heard, beyond = list[Session](), Beyond(held=50, lost=20)
    spent = Spent(
        tmp_path / "spent", Meter(PRICED.model_copy(update={"gpus": 0}), beyond=lambda: beyond), heard=heard.append
    )
    spent.commit()
    cost, lost, _ = spent.costs()
    spent.published()
    assert cost.dollars == pytest.approx(0.5, abs=0.1) and lost == Cost(
        cpu_seconds=20, beyond_cpu_seconds=20, dollars=0.2
    )
    assert [session.lost for session in heard] == [lost, lost] and total(session.lost for session in heard[1:]) == lost
    assert brief(lost, "nothing") == "20 s of CPU" and brief(Cost(), "nothing") == "nothing"


class Elsewhere:
    """A backend whose calls come back as from other processes."""

    def map(self, function: Any, calls: Sequence[tuple[int, Any, Path]]) -> Iterator[tuple[int, Any]]:
        for index, item, folder in calls:
            value, took = function(item, folder)
            yield index, (value, took._replace(process="elsewhere", cpu=10.0))

    def gang(self, function: Any, workers: int) -> list[Any]:
        return [
            (value, took._replace(process=f"rank {rank}", cpu=10.0))
            for rank in range(workers)
            for value, took in [function()]
        ]


def test_shards_and_gangs_in_other_processes_enter_the_account(tmp_path: Path) -> None:
    spent = Spent(tmp_path / "spent")
    ctx = Context(Workspace(tmp_path), backend=Elsewhere(), spent=spent)
    assert ctx.map(lambda item, folder: item, [1, 2]) == [1, 2]
    assert ctx.gang(lambda: 7, workers=3) == [7, 7, 7]
    assert 50 <= spent.costs()[0].cpu_seconds < 60


def test_a_spoilt_account_is_passed_over(tmp_path: Path) -> None:
    Spent(tmp_path).tell()
    (tmp_path / "0.json").write_text('{"session": ')
    (tmp_path / "1.tmp").write_text("")
    assert len(sessions(tmp_path)) == 1


def test_a_heartbeat_brings_nothing_back_after_publishing(tmp_path: Path) -> None:
    spent = Spent(tmp_path / "attempt" / "spent")
    spent.tell()
    spent.published()
    spent.tell()
    assert list(tmp_path.iterdir()) == []


def test_a_function_here_is_not_counted_twice() -> None:
    meter = Meter()
    value, took = Metered(lambda: usage())()
    meter.add(took)
    assert value and took.process.endswith(f":{os.getpid()}") and meter._elsewhere == 0


figures = st.integers(0, 10**6).map(lambda number: number / 1000)


@given(
    st.lists(
        st.builds(
            Cost,
            wall_seconds=figures,
            cpu_seconds=figures,
            gpu_seconds=figures,
            peak_bytes=st.integers(0, 2**40),
            dollars=st.none() | figures,
        )
    )
)
def test_a_sum_of_costs_is_of_any_order_and_never_takes_unknown_for_zero(costs: list[Cost]) -> None:
    summed = total(costs)
    assert summed == total(reversed(costs)) == Cost.model_validate(json.loads(summed.model_dump_json()))
    unknown = any(cost.dollars is None for cost in costs if cost.wall_seconds)
    assert (summed.dollars is None) == (unknown or not any(cost.wall_seconds for cost in costs))


class Kept:
    """Accounts in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def keep_account(self, name: str, text: bytes) -> None:
        self.kept[name] = text

    def accounts(self) -> list[bytes]:
        return list(self.kept.values())


def test_a_commit_of_long_work_is_known_beyond_the_machine_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spent, "BEAT_SECONDS", 0.05)
    elsewhere, told = Kept(), list[dict[str, Any]]()
    account = Spent(tmp_path, elsewhere=elsewhere, emit=lambda kind, **data: told.append({"kind": kind, **data}))
    account.commit()
    assert not elsewhere.kept, "next to nothing is told with the next heartbeat"
    time.sleep(0.1)
    account.commit()
    (text,) = elsewhere.kept.values()
    assert Session.model_validate_json(text).committed.wall_seconds >= 0.1
    assert [one["kind"] for one in told] == ["cost"], "whoever follows takes none of it for lost"


def test_what_is_lost_with_its_machine_soon_after_the_start_has_an_account(tmp_path: Path) -> None:
    elsewhere = Kept()
    far, near = Spent(tmp_path / "far", elsewhere=elsewhere), Spent(tmp_path / "near")
    time.sleep(0.1)
    far.beat()
    near.beat()
    (text,) = elsewhere.kept.values()
    assert Session.model_validate_json(text).lost.wall_seconds >= 0.1
    assert not list((tmp_path / "near").iterdir()), "a folder of this machine is written at its own pace"
