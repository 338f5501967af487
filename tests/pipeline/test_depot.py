"""Leases and commits in an object store: what a machine that dies, or only seemed to, leaves to the next one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import StoreError
from pipeline.depot import Depot
from pipeline.digest import of_file
from pipeline.lease import Busy
from pipeline.object_lease import Lease, kept
from pipeline.workspace import Workspace
from tests.pipeline.objects import files, renewed
from tests.pipeline.test_ledger import until


def test_the_lease_of_a_process_that_is_gone_is_taken_at_once(s3_url: str) -> None:
    script = "import os, sys; from pipeline.files import open_root; from pipeline.object_lease import Lease\n"
    script += "Lease(open_root(sys.argv[1]), 'lease').acquire(print); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script, s3_url]).returncode == -signal.SIGKILL
    waited: list[str] = []
    with kept(files(s3_url), "lease", lambda: waited.append("waited")):
        assert waited == []
    assert not files(s3_url).exists("lease"), "it was released"


def test_the_lease_of_a_silent_machine_is_taken_after_three_periods_by_the_watchers_own_clock(s3_url: str) -> None:
    store, waited = files(s3_url), list[str]()
    silent = {"holder": "x", "count": 1, "process": ["another boot", "pid:[1]", 1, "1"], "time": "3000-01-01"}
    store.create("lease", json.dumps(silent).encode())
    began = time.monotonic()
    with kept(store, "lease", lambda: waited.append("waited")):
        assert waited == [] and time.monotonic() - began > 3 * 0.2


def test_who_is_not_to_wait_is_told_as_soon_as_the_holder_is_known_to_live(s3_url: str) -> None:
    store = files(s3_url)

    def refuse() -> None:
        raise Busy

    with kept(store, "lease"), pytest.raises(Busy), kept(store, "lease", refuse):
        pass  # a process of this machine is seen to live at once
    with renewed(store, "lease"), pytest.raises(Busy), kept(store, "lease", refuse):
        pass


def test_a_lease_that_is_renewed_is_never_taken(s3_url: str) -> None:
    store = files(s3_url)
    with kept(store, "lease"):
        other = Lease(store, "lease")
        seen = store.read("lease")
        until(lambda: store.read("lease") != seen)
        assert not other._is_ours()


def test_a_holder_that_was_taken_for_dead_stops_at_its_next_commit_and_spoils_nothing(
    s3_url: str, tmp_path: Path
) -> None:
    store = files(s3_url)
    with kept(store, ".partial/say/k/lease") as first:
        late = Depot(store, "say/k", "code", first.check)
        space = Workspace(tmp_path / "late", late)
        (space.data / "one").write_text("late")
        space.commit(space.data / "one", value=1)

        def taken() -> bool:  # once more, where a renewal was on its way
            store.replace(".partial/say/k/lease", b'{"holder": "another"}')
            return first._lost

        until(taken)
        (space.data / "two").write_text("too late")
        with pytest.raises(StoreError, match="another run has taken say/k over"):
            space.commit(space.data / "two")
    after = Depot(store, "say/k", "code")
    again = Workspace(tmp_path / "after", after)
    assert (again.data / "one").read_text() == "late" and not (again.data / "two").exists()
    after.publish(again.folder, {"data": again.seal()})
    assert store.create(f"say/k/{after.name}/manifest.json", b"{}")
    after.clear()
    assert not store.create(f"say/k/{late.name}/manifest.json", b"{}"), "it can never be complete"
    assert store.below(f"say/k/{late.name}/data") == [] and store.below(f"say/k/{after.name}/data") == ["one"]


def test_what_was_put_before_the_first_commit_is_removed_as_well(s3_url: str, tmp_path: Path) -> None:
    store = files(s3_url)
    first = Depot(store, "say/k", "code")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "half").write_text("half")
    first.publish(tmp_path, {"data": {"half": of_file(tmp_path / "data" / "half")}})
    last = Depot(store, "say/k", "code")
    assert not last.resumed
    last.clear()
    assert store.below(f"say/k/{first.name}") == ["manifest.json"] and store.below(".partial") == []


def test_of_two_writers_of_one_record_one_wins(s3_url: str) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if files(s3_url).create("a/manifest.json", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and files(s3_url).read("a/manifest.json") == str(won[0]).encode()


@pytest.mark.parametrize("name", ["scratch/model", "data/model"])
def test_a_file_that_is_committed_again_keeps_the_one_before_until_it_is_whole(
    s3_url: str, tmp_path: Path, name: str
) -> None:
    store = files(s3_url)
    space = Workspace(tmp_path / "one", Depot(store, "t/k", "code"))
    (space.folder / name).write_text("step 1")
    space.commit(space.folder / name, value=1)
    record = store.replace

    def die(name: str, data: bytes) -> None:
        if "/commits/" in name:
            raise KeyboardInterrupt
        record(name, data)

    store.replace = die  # type: ignore[method-assign]
    (space.folder / name).write_text("step 2")
    with pytest.raises(KeyboardInterrupt):
        space.commit(space.folder / name, value=2)
    store.replace = record  # type: ignore[method-assign]
    again = Workspace(tmp_path / "two", Depot(store, "t/k", "code"))
    assert (again.folder / name).read_text() == "step 1" and list(again.values().values()) == [1]
    (again.folder / name).write_text("step 3")
    again.commit(again.folder / name, value=3)
    last = Workspace(tmp_path / "three", Depot(store, "t/k", "code"))
    assert (last.folder / name).read_text() == "step 3"


def test_a_checkpoint_that_was_deleted_does_not_come_back(s3_url: str, tmp_path: Path) -> None:
    store = files(s3_url)
    space = Workspace(tmp_path / "one", Depot(store, "t/k", "code"))
    for name in ("step-1", "step-2", "step-3"):
        (space.scratch / name).write_text(name)
        space.commit(space.scratch / name)
        if name == "step-2":
            (space.scratch / "step-1").unlink()
    kept = [name for name in store.below(".partial/t/k") if "/scratch/" in name]
    assert [name.rpartition("/")[2] for name in kept] == ["step-2", "step-3"], "nor is it paid for any longer"
    again = Workspace(tmp_path / "two", Depot(store, "t/k", "code"))
    assert sorted(path.name for path in again.scratch.iterdir()) == ["step-2", "step-3"]
