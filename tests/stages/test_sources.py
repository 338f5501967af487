"""Where text comes from: content is identity, spelling is not, and a pin that does not hold is one clear error."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from pathlib import Path

import pytest

from pipeline import DagError
from pipeline.errors import SourceError
from stages.collect import Collect
from stages.sources import Source
from stages.text import digests, packages


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that pip finds in a local folder and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "tiny_tales-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_tales/a.txt", "Once upon a time.")
        archive.writestr("tiny_tales/deep/b.txt", "They lived happily.")
        archive.writestr("tiny_tales/c.csv", "x\n1\n")
        archive.writestr("tiny_tales-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-tales\nVersion: 1.0\n")
        archive.writestr(
            "tiny_tales-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_tales-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def test_the_same_content_has_one_identity_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.txt").write_text("tale")
        (tmp_path / place / "b.txt").write_text("fable")
    monkeypatch.chdir(tmp_path)
    spelt = ["one", "one/", "./one", str(tmp_path / "two"), "two/../one", "one/*.txt"]
    assert len({str(Source(at=at).identity()) for at in spelt}) == 1


def test_a_changed_renamed_or_added_file_changes_the_identity(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.txt").write_text("tale")
    seen = [Source(at=str(folder)).identity()]
    (folder / "a.txt").write_text("tile")
    seen.append(Source(at=str(folder)).identity())
    (folder / "b.txt").write_text("more")
    seen.append(Source(at=str(folder)).identity())
    (folder / "b.txt").rename(folder / "c.txt")
    seen.append(Source(at=str(folder)).identity())
    assert len({str(identity) for identity in seen}) == 4


def test_a_file_of_another_name_is_another_source_but_its_folder_does_not_count(tmp_path: Path) -> None:
    for place, name in (("one", "t.txt"), ("two", "t.jsonl"), ("three", "t.txt")):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_text('{"text": "tale"}')
    text, lines, same = (
        Source(at=str(tmp_path / place)).identity() for place in ("one/t.txt", "two/t.jsonl", "three/t.txt")
    )
    assert text != lines and text == same


def test_a_pin_of_one_local_file_is_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("tale")
    pin = hashlib.sha256(b"tale").hexdigest()
    assert list(Source(at=str(tmp_path / "a.txt"), sha256=pin).files()) == ["a.txt"]


def test_a_source_that_changes_while_it_is_read_is_one_clear_error(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("tale")
    with pytest.raises(SourceError, match="changed while it was read"), Source(at=str(raw)).reading():
        (raw / "a.txt").write_text("tile")
    with Source(at=str(raw)).reading() as files:
        assert list(files) == ["a.txt"]


def test_a_file_changed_twice_within_one_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("aaaa")
    ahead = time.time_ns() + 3600 * 10**9  # of just now, however long the machine takes over this test
    os.utime(file, ns=(ahead, ahead))
    stamp = file.stat()
    first = digests.of({"a.txt": file})
    with file.open("r+") as handle:
        handle.write("bbbb")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert digests.of({"a.txt": file}) != first


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "big.txt"
    file.write_text("aaaa")
    os.utime(file, (1, 1))  # a file of just now is not trusted
    first = Source(at=str(file)).identity()
    stamp = file.stat()
    with file.open(
        "r+"
    ) as handle:  # other bytes under the same inode, size and time: only a second reading would show them
        handle.write("bbbb")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert Source(at=str(file)).identity() == first
    os.utime(file)
    assert Source(at=str(file)).identity() != first


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    for read in (Source.identity, Source.files):
        with pytest.raises(SourceError, match="does not exist"):
            read(Source(at=str(tmp_path / "nowhere.txt")))


def test_an_empty_folder_says_that_it_holds_no_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no files"):
        Source(at=str(tmp_path)).identity()


def test_a_local_pin_that_does_not_hold_names_both_digests(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("tale")
    found = hashlib.sha256(b"tale").hexdigest()
    with pytest.raises(SourceError) as caught:
        Source(at=str(tmp_path / "a.txt"), sha256="0" * 64).identity()
    assert found in str(caught.value) and "0" * 64 in str(caught.value)


def test_a_package_without_a_pin_is_refused_before_it_is_fetched(wheel: Path, own_cache: Path) -> None:
    for read in (Source.identity, Source.files):
        with pytest.raises(SourceError, match="is not pinned\n.*corpusmill sources update DAG"):
            read(Source(at="pypi:tiny-tales==1.0/tiny_tales/a.txt"))
    assert not own_cache.exists()


def test_a_pinned_file_of_a_package_is_fetched_once_and_read_offline(wheel: Path) -> None:
    source = Source(at="pypi:tiny-tales==1.0/tiny_tales/a.txt", sha256="0" * 64)
    with pytest.raises(SourceError) as caught:
        source.files()
    found = digests.of({"a.txt": next(iter(packages.fetch(source.at).values()))})
    assert found in str(caught.value) and source.sha256 in str(caught.value)
    wheel.unlink()
    files = Source(at=source.at, sha256=found).files()
    assert {name: path.read_text() for name, path in files.items()} == {"tiny_tales/a.txt": "Once upon a time."}


def test_a_pattern_takes_only_what_it_matches_and_pins_names_and_contents(wheel: Path) -> None:
    files = packages.fetch("pypi:tiny-tales==1.0/tiny_tales/**/*.txt")
    assert list(files) == ["tiny_tales/a.txt", "tiny_tales/deep/b.txt"]
    assert list(packages.fetch("pypi:tiny-tales==1.0/tiny_tales/{a,c}.*")) == ["tiny_tales/a.txt", "tiny_tales/c.csv"]
    pin = digests.of(files)
    assert list(Source(at="pypi:tiny-tales==1.0/tiny_tales/**/*.txt", sha256=pin).files()) == list(files)


def test_a_damaged_cache_is_fetched_again(wheel: Path) -> None:
    address = "pypi:tiny-tales==1.0/tiny_tales/a.txt"
    next(iter(packages.fetch(address).values())).write_text("Twice upon a time.")
    assert next(iter(packages.fetch(address).values())).read_text() == "Once upon a time."


def test_a_path_that_a_package_lacks_is_one_clear_error(wheel: Path, own_cache: Path) -> None:
    with pytest.raises(SourceError, match="no file that matches 'tiny_tales/nothing'"):
        packages.fetch("pypi:tiny-tales==1.0/tiny_tales/nothing")
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_a_package_that_pip_cannot_find_is_one_clear_error(wheel: Path) -> None:
    with pytest.raises(SourceError, match="pip could not fetch a wheel of absent-tales==9"):
        packages.fetch("pypi:absent-tales==9/x.txt")


@pytest.mark.parametrize("name", ["tiny_tales/../../evil.txt", "/evil.txt"])
def test_an_archive_with_a_path_that_leads_out_is_refused(tmp_path: Path, wheel: Path, name: str) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(name, "gotcha")
    with pytest.raises(SourceError, match="unsafe name"):
        packages.fetch("pypi:tiny-tales==1.0/**")
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_that_unpacks_to_too_much_is_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LARGEST", 10)
    with pytest.raises(SourceError, match="unpacks to more than"):
        packages.fetch("pypi:tiny-tales==1.0/tiny_tales/a.txt")


@pytest.mark.parametrize(
    "at", ["pypi:nothing", "pypi:a==1", "pypi:a>=1/b.txt", "pypi:a==1//etc/passwd", "pypi:a==1/../b", ""]
)
def test_a_malformed_address_is_refused_when_the_dag_is_drawn(at: str) -> None:
    with pytest.raises(DagError):
        Collect(source=at)
