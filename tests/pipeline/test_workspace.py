"""The workspace: whatever is killed or spoilt, what was committed stays and nothing else does."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline import StageFailed
from pipeline.depot import Depot
from pipeline.object_files import ObjectFiles
from pipeline.workspace import Workspace

NAMES = st.sampled_from(["data/a", "data/b", "data/deep/c", "scratch/a", "scratch/deep/d"])
BYTES = st.binary(max_size=3)


class Killed(RuleBasedStateMachine):
    """Writes, commits, shards and kills in any order, beside a dict of what must survive."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.space = Workspace(self.root)
        self.committed: dict[str, bytes] = {}
        self.spoilt: set[str] = set()
        self.values: dict[str, int] = {}
        self.shards = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(name=NAMES, content=BYTES)
    def write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.spoilt.add(name)

    @rule(name=NAMES)
    def commit(self, name: str) -> None:
        if (self.root / name).is_file():
            self.space.commit(self.root / name)
            self.committed[name] = (self.root / name).read_bytes()
            self.spoilt.discard(name)

    @rule(content=BYTES, value=st.integers())
    def shard(self, content: bytes, value: int) -> None:
        self.shards += 1
        part = self.space.part("p")
        (part / f"shard-{self.shards}").write_bytes(content)
        self.space.adopt(part, self.space.data, f"shard:{self.shards}", value)
        self.committed[f"data/shard-{self.shards}"] = content
        self.values[f"shard:{self.shards}"] = value

    @rule(
        garbage=st.sampled_from([b"", b"{", b"[]", b"null", b'{"tag": "x"}', b"\xff"]),
        suffix=st.sampled_from([".json", ".tmp"]),
    )
    def spoil(self, garbage: bytes, suffix: str) -> None:
        last = max((int(path.stem) for path in (self.root / "commits").glob("*.json")), default=0)
        (self.root / "commits" / f"{last + 1:06d}{suffix}").write_bytes(garbage)

    @rule()
    def kill(self) -> None:
        (self.root / "part" / "half").mkdir(parents=True, exist_ok=True)
        (self.root / "part" / "half" / "written").write_bytes(b"x")
        self.space = Workspace(self.root)
        for name in self.spoilt:
            self.committed.pop(name, None)
        self.spoilt = set()
        files = [path for folder in ("data", "scratch") for path in (self.root / folder).rglob("*") if path.is_file()]
        found = {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}
        assert found == self.committed
        assert not [path for path in (self.root / "part").rglob("*") if path.is_file()]

    @invariant()
    def values_stand(self) -> None:
        assert {tag: value for tag, value in self.space.values().items() if tag.startswith("shard:")} == self.values

    @invariant()
    def seals_tell_the_truth(self) -> None:
        for name, record in self.space.seal().items():
            content = (self.root / "data" / name).read_bytes()
            assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())


class KilledElsewhere(RuleBasedStateMachine):
    """The same with commits in an object store: a machine that is lost takes with it only what was not committed."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.files = ObjectFiles(f"memory://{self.home.name}", self.home / "copies")
        self.committed: dict[str, bytes] = {}
        self.values: dict[str, int] = {}
        self.count = 0
        self.open()

    def open(self) -> None:
        self.depot = Depot(self.files, "stage/key", "code")
        folder = self.home / "scratch" / self.depot.name
        self.depot.take_scratch(folder)
        self.space = Workspace(folder, self.depot)

    def teardown(self) -> None:
        self.files.remove("")
        shutil.rmtree(self.home)

    @rule(name=NAMES, content=BYTES)
    def write(self, name: str, content: bytes) -> None:
        path = self.space.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    @rule(name=NAMES)
    def commit(self, name: str) -> None:
        if (self.space.folder / name).is_file():
            self.space.commit(self.space.folder / name)
            self.committed = {one: kept for one, kept in self.committed.items() if (self.space.folder / one).exists()}
            self.committed[name] = (self.space.folder / name).read_bytes()

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.space.folder / name).unlink(missing_ok=True)

    @rule(content=BYTES, value=st.integers())
    def shard(self, content: bytes, value: int) -> None:
        self.count += 1
        part = self.space.part("p")
        (part / f"shard-{self.count}").write_bytes(content)
        self.space.adopt(part, self.space.data, f"shard:{self.count}", value)
        self.committed[f"data/shard-{self.count}"] = content
        self.values[f"shard:{self.count}"] = value

    @rule(lost=st.booleans())
    def kill(self, lost: bool) -> None:
        if lost:
            shutil.rmtree(self.home / "scratch")
        self.open()
        folders = (self.space.data, self.space.scratch)
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        found = {path.relative_to(self.space.folder).as_posix(): path.read_bytes() for path in files}
        assert found == self.committed
        values = self.space.values()
        assert {tag: value for tag, value in values.items() if tag.startswith("shard:")} == self.values

    @rule()
    def publish(self) -> None:
        sealed = self.space.seal()
        self.depot.publish(self.space.folder, {"data": sealed})
        place = f"stage/key/{self.depot.name}/data"
        assert {name: self.files.read(f"{place}/{name}") for name in self.files.below(place)} == {
            name: (self.space.data / name).read_bytes() for name in sealed
        }


TestKilled = Killed.TestCase
TestKilledElsewhere = KilledElsewhere.TestCase
TestKilledElsewhere.settings = settings(max_examples=30, stateful_step_count=20)
TestKilled.settings = settings(max_examples=20, stateful_step_count=20)


def test_a_rewrite_right_after_a_commit_is_not_taken_for_the_committed_file(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    path = space.data / "a"
    path.write_bytes(b"one")
    space.commit(path)
    path.write_bytes(b"two")
    assert space.seal()["a"].sha256 == hashlib.sha256(b"two").hexdigest()
    assert not (Workspace(tmp_path).data / "a").exists()


def test_a_folder_is_committed_as_a_whole_and_lost_as_a_whole(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    folder = space.scratch / "checkpoint"
    folder.mkdir()
    for name in ("model", "state"):
        (folder / name).write_text(name)
    space.commit(folder, tag="checkpoint", value=1)
    again = Workspace(tmp_path)
    assert again.values() == {"checkpoint": 1}
    (folder / "model").write_text("half")
    assert Workspace(tmp_path).values() == {}
    assert not folder.exists()


def test_an_older_commit_never_speaks_for_newer_files(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    folder = space.scratch / "checkpoint"
    folder.mkdir()
    (folder / "model").write_text("first")
    space.commit(folder, tag="checkpoint", value=1)
    (folder / "model").write_text("second")
    (folder / "more").write_text("second")
    space.commit(folder, tag="checkpoint", value=2)
    (folder / "more").write_text("half")
    assert Workspace(tmp_path).values() == {}


def test_a_file_committed_again_alone_leaves_the_rest_of_its_folder_committed(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    folder = space.scratch / "checkpoint"
    folder.mkdir()
    for name in ("model", "log"):
        (folder / name).write_text(name)
    space.commit(folder)
    (folder / "log").write_text("more lines")
    space.commit(folder / "log")
    Workspace(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["log", "model"]


def test_numbers_go_on_after_a_kill(tmp_path: Path) -> None:
    for content in ("one", "two", "three"):
        space = Workspace(tmp_path)
        (space.scratch / "a").write_text(content)
        space.commit(space.scratch / "a", value=content)
    records = sorted((tmp_path / "commits").glob("*.json"))
    assert [json.loads(path.read_text())["value"] for path in records] == ["one", "two", "three"]
    assert list(Workspace(tmp_path).values().values()) == ["three"]


def test_a_part_starts_empty(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    (space.part("a") / "left").write_text("x")
    assert list(space.part("a").iterdir()) == []


def test_a_path_outside_the_workspace_cannot_be_committed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    with pytest.raises(ValueError, match="other"):
        Workspace(tmp_path / "space").commit(tmp_path / "other")


def test_two_shards_with_one_file_name_are_refused(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    for number in range(2):
        part = work.part(f"shard-{number}")
        (part / "same.txt").write_text(str(number))
        if number == 0:
            work.adopt(part, work.data, "first", 0)
        else:
            with pytest.raises(StageFailed, match="two shards wrote a file named same.txt"):
                work.adopt(part, work.data, "second", 0)
    assert (tmp_path / "data" / "same.txt").read_text() == "0"


def test_a_shard_that_outlives_its_process_writes_where_nobody_looks(tmp_path: Path) -> None:
    orphan = Workspace(tmp_path).part("shard-0")
    again = Workspace(tmp_path)
    part = again.part("shard-0")
    orphan.mkdir(parents=True)
    (orphan / "late.txt").write_text("late")
    again.adopt(part, again.data, "shard", 1)
    assert list(again.data.iterdir()) == [] and again.seal() == {}
