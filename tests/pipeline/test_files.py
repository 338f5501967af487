"""One contract for every file system that a store may stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import StoreError, digest
from pipeline.executor import Inline
from pipeline.files import Files, open_root
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import line


@pytest.fixture(params=["plain", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield {"plain": str(tmp_path / "root"), "file": f"file://{tmp_path}/root", "memory": f"memory://{tmp_path.name}"}[
        request.param
    ]


@pytest.fixture
def files(url: str) -> Files:
    return open_root(url)


def test_a_record_is_created_once_and_never_overwritten(files: Files) -> None:
    assert files.create("a/b/record.json", b"first")
    assert not files.create("a/b/record.json", b"second")
    assert files.read("a/b/record.json") == b"first" and files.children("a/b") == ["record.json"]


def test_what_is_not_there_is_told_as_such(files: Files) -> None:
    assert files.children("nothing") == [] and not files.exists("nothing")
    with pytest.raises(FileNotFoundError):
        files.read("nothing")
    with pytest.raises(FileNotFoundError):
        files.open("nothing", {})


def test_a_published_directory_opens_with_the_same_bytes(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_bytes(b"1")
    (folder / "below" / "two").write_bytes(b"22")
    records = {path.relative_to(folder).as_posix(): digest.of_file(path) for path in digest.files_below(folder)}
    files.publish(folder, "x/data", {})
    opened = files.open("x/data", records)
    assert {path.relative_to(opened).as_posix(): digest.of_file(path) for path in digest.files_below(opened)} == records


def test_a_publish_cut_short_can_be_undone(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "one").write_bytes(b"1")
    files.publish(folder, "x/data", {})
    files.withdraw("x/data", folder)
    assert (folder / "one").read_bytes() == b"1"


def test_a_dag_runs_and_is_cached_on_every_file_system(url: str) -> None:
    first = run(line(), Store(url), name="toys", dials={}, executor=Inline)
    assert first.ok and (first.data("upper") / "upper.txt").read_text() == "ONE TWO"
    again = run(line(limit=2), Store(url), name="toys", dials={}, executor=Inline)
    assert again.states == {"say": "cached", "upper": "finished"}


def test_bytes_that_changed_in_a_remote_store_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/root"
    made = run(line(), Store(url), name="toys", dials={}, executor=Inline).manifests["upper"]
    (tmp_path / "root" / "upper" / made.key / made.attempt / "data" / "upper.txt").write_text("other")
    with pytest.raises(StoreError, match="upper.txt is not what its manifest says"):
        Store(url).data(made)
