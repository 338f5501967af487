"""One contract for every file system that a store may stand on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import StoreError, digest
from pipeline.digest import FileRecord
from pipeline.executor import Inline
from pipeline.files import Files, LocalFiles, open_root
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import line


@pytest.fixture(params=["plain", "file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').bucket()}/a/store"
    roots = {"plain": f"{tmp_path}/root", "file": f"file://{tmp_path}/root", "memory": f"memory://{tmp_path.name}"}
    return roots[request.param]


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
    assert files.below("nothing") == []
    with pytest.raises(FileNotFoundError):
        files.open("nothing", {"one": FileRecord(size=1, sha256="0")})


def test_a_published_directory_opens_with_the_same_bytes(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_bytes(b"1")
    (folder / "below" / "two").write_bytes(b"22")
    records = {path.relative_to(folder).as_posix(): digest.of_file(path) for path in digest.files_below(folder)}
    publish(files, folder, "x/data")
    assert files.below("x/data") == ["below/two", "one"]
    opened = files.open("x/data", records)
    assert {path.relative_to(opened).as_posix(): digest.of_file(path) for path in digest.files_below(opened)} == records


def publish(files: Files, folder: Path, name: str) -> None:
    """As an attempt does it."""
    if isinstance(files, LocalFiles):
        files.publish(folder, name, {})
    else:
        for path in digest.files_below(folder):
            files.put(path, f"{name}/{path.relative_to(folder).as_posix()}")  # type: ignore[attr-defined]


def test_a_record_that_may_change_is_replaced_whole(files: Files) -> None:
    files.replace("a/beat", b"1")
    files.replace("a/beat", b"22")
    assert files.read("a/beat") == b"22" and files.children("a") == ["beat"]


def test_what_is_removed_is_gone_with_all_below_it(files: Files) -> None:
    for name in ("a/one", "a/b/two", "ab/three"):
        files.create(name, b"x")
    files.remove("a")
    files.remove("a")
    assert files.below("") == ["ab/three"] and not files.exists("a")
    files.remove("ab/three")
    assert not files.exists("ab/three")


def test_a_publish_cut_short_can_be_undone(tmp_path: Path) -> None:
    files, folder = LocalFiles(tmp_path / "root"), tmp_path / "made"
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


def test_bytes_that_changed_in_a_store_are_refused(url: str, tmp_path: Path) -> None:
    made = run(line(), Store(url), name="toys", dials={}, executor=Inline).manifests["upper"]
    Store(url).files.replace(f"upper/{made.key}/{made.attempt}/data/upper.txt", b"ONE twO")
    shutil.rmtree(tmp_path / "cache" / "corpusmill" / "stores", ignore_errors=True)
    with pytest.raises(StoreError, match=f"{url.split('://')[-1]}.*upper.txt is not what its manifest says"):
        Store(url).data(made)
