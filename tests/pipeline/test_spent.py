"""What an attempt cost: over all its sessions, with what a kill or a failure made it do again."""

from __future__ import annotations

import json
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

from pipeline import Stage, StageFailed
from pipeline.context import Context
from pipeline.job import Job
from pipeline.machine import Beyond, Meter
from pipeline.manifest import Cost, Manifest
from pipeline.resources import Resources
from pipeline.spent import BEAT_SECONDS, Session, Spent, kept, sessions, total
from pipeline.store import Store
from pipeline.stream import Follower
from pipeline.tables import brief
from pipeline.workspace import Workspace
from tests.pipeline.clocks import stopped
from tests.pipeline.objects import files
from tests.pipeline.toys import Fails, Held, Say

PRICED = Resources(dollars_per_hour=36, gpus=2)  # a cent a second


def execute(stage: Stage[Any], root: Path | str, *inputs: Manifest, parents: Sequence[Stage[Any]] = ()) -> Manifest:
    return Job.of(stage, parents, run="r", store=str(root)).execute(inputs, executor="inline")


def told(root: Path, label: str) -> list[Session]:
    events = Follower(Store(str(root)), "r", [label]).new()
    return [Session.model_validate(event.data) for event in events if event.kind == "cost"]


def killed_once(stage: Stage[Any], store: Path | str, passed: Callable[[], object]) -> None:
    """Run `stage` in a process of its own, and kill that once it has `passed`; what it waits for must not come before."""
    text = Job.of(stage, (), run="r", store=str(store)).model_dump_json()
    script = (
        "import sys; from pipeline.job import Job; Job.model_validate_json(sys.argv[1]).execute([], executor='inline')"
    )
    with subprocess.Popen([sys.executable, "-c", script, text]) as process:
        deadline = time.monotonic() + 240
        while not passed() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_and_resumed_stage_costs_all_its_sessions_and_lost_what_lay_after_the_last_commit(
    tmp_path: Path,
) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    stage = Held(words=("a", "b"), gate=str(gate), trace=str(trace), resources=PRICED)
    killed_once(
        stage,
        tmp_path,
        lambda: any(one.committed.wall_seconds and one.lost.wall_seconds for one in told(tmp_path, "held")),
    )
    (scratch,) = (tmp_path / ".partial").glob("held/*/*/spent")
    (first,) = sessions(scratch)
    assert 0 < first.committed.wall_seconds < first.cost.wall_seconds, (
        "the account is behind, but not at its last commit"
    )
    gate.touch()
    manifest = execute(stage, tmp_path)
    assert trace.read_text() == "ab", "the first word was not said again"
    assert manifest.lost == first.lost
    last = told(tmp_path, "held")
    assert len({session.session for session in last}) == 2 and last[-1].lost.wall_seconds == 0
    assert 0 < manifest.cost.wall_seconds - first.cost.wall_seconds < last[-1].cost.wall_seconds + 0.01
    assert manifest.machine["dollars_per_hour"] == 36
    assert manifest.cost.dollars == pytest.approx(manifest.cost.wall_seconds / 100, rel=0.01)
    assert manifest.cost.gpu_seconds == pytest.approx(2 * manifest.cost.wall_seconds, rel=0.01)
    assert not list((tmp_path / ".partial").rglob("spent")), "the account went into the manifest"


def test_on_another_machine_the_account_comes_from_the_store(s3_url: str, tmp_path: Path) -> None:
    trace, cache, gate = tmp_path / "trace", tmp_path / "cache", tmp_path / "gate"
    stage = Held(words=("a", "b"), gate=str(gate), trace=str(trace))

    def account() -> list[Session]:
        names = [name for name in files(s3_url).below(".partial") if "/spent/" in name]
        return [Session.model_validate_json(files(s3_url).read(f".partial/{name}")) for name in names]

    killed_once(stage, s3_url, lambda: any(one.committed.wall_seconds and one.lost.wall_seconds for one in account()))
    (first,) = account()
    _, key, attempt, *_ = next(name for name in files(s3_url).below(".partial") if "/spent/" in name).split("/")
    assert kept(files(s3_url), f"held/{key}", attempt.rpartition("-")[2]) == first.committed
    shutil.rmtree(cache)
    gate.touch()
    manifest = execute(stage, s3_url)
    assert trace.read_text() == "ab" and manifest.cost.wall_seconds > first.cost.wall_seconds
    assert manifest.lost == first.lost and first.lost.wall_seconds > 0
    assert files(s3_url).below(".partial") == []


def test_a_stage_that_fails_has_told_what_it_cost_and_lost(tmp_path: Path) -> None:
    said = execute(Say(), tmp_path)
    fails = Fails(words=Say().out, resources=PRICED)
    with pytest.raises(StageFailed):
        execute(fails, tmp_path, said, parents=[Say()])
    *_, session = told(tmp_path, "fails")  # a heartbeat may have come before
    assert session.lost == session.cost.model_copy(update={"peak_bytes": 0}) and session.cost.dollars is not None
    (kept,) = (tmp_path / ".partial").glob("fails/*/*/spent")
    assert sessions(kept) == [session]


def test_a_stage_without_a_price_has_unknown_dollars_and_nothing_lost(tmp_path: Path) -> None:
    manifest = execute(Say(), tmp_path)
    assert manifest.cost.dollars is None and manifest.cost.wall_seconds > 0 and manifest.lost == Cost()
    assert manifest.cost.peak_bytes > 10 * 2**20, "a Python interpreter at least"


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
    unknown = any(cost.dollars is None for cost in costs if cost)
    assert (summed.dollars is None) == (unknown or not any(costs))


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
    clock = stopped(monkeypatch, "pipeline.machine", "pipeline.spent")
    elsewhere, told = Kept(), list[dict[str, Any]]()
    account = Spent(tmp_path, elsewhere=elsewhere, emit=lambda kind, **data: told.append({"kind": kind, **data}))
    clock.sleep(BEAT_SECONDS - 0.1)
    account.commit()
    assert not elsewhere.kept, "next to nothing is told with the next heartbeat"
    clock.sleep(0.1)
    account.commit()
    (text,) = elsewhere.kept.values()
    assert Session.model_validate_json(text).committed.wall_seconds == BEAT_SECONDS
    assert [one["kind"] for one in told] == ["cost"], "whoever follows takes none of it for lost"


def test_what_is_lost_with_its_machine_soon_after_the_start_has_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, elsewhere = stopped(monkeypatch, "pipeline.machine", "pipeline.spent"), Kept()
    far, near = Spent(tmp_path / "far", elsewhere=elsewhere), Spent(tmp_path / "near")
    clock.sleep(0.1)
    far.beat()
    near.beat()
    (text,) = elsewhere.kept.values()
    assert Session.model_validate_json(text).lost.wall_seconds == 0.1
    assert not list((tmp_path / "near").iterdir()), "a folder of this machine is written at its own pace"
    clock.sleep(BEAT_SECONDS)
    near.beat()
    assert sessions(tmp_path / "near")
