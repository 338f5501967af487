"""Fetches single files of a PyPI package by pip, without dependencies, into the user's cache; offline from there on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.cache import cache_folder
from pipeline.errors import SourceError
from stages.text import digests

ADDRESS = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]*)/(?P<path>.+)"
)
LARGEST = 4 << 30
"""Bytes that the wanted files of one package may unpack to: a bound against archive bombs."""


def parse(address: str) -> tuple[str, str, str]:
    """Name, version and path or pattern of ``pypi:NAME==VERSION/path/inside``. Raises ValueError for anything else."""
    match = ADDRESS.fullmatch(address)
    if match is None or match["path"].startswith("/") or ".." in PurePosixPath(match["path"]).parts:
        raise ValueError(f"{address!r} is not of the form pypi:NAME==VERSION/path/inside/the/package")
    digests.matcher(match["path"])
    return match["name"], match["version"], match["path"]


def fetch(address: str) -> dict[str, Path]:
    """The files that `address` names, by their path inside the package. Raises SourceError where pip or the path fails."""
    package, version, pattern = parse(address)
    place = cache_folder() / "pypi" / f"{package}-{version}" / hashlib.sha256(pattern.encode()).hexdigest()[:16]
    files = _cached(place)
    if files is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetch-") as scratch:
            archive = _download(f"{package}=={version}", Path(scratch) / "archive")
            fresh = Path(scratch) / "files"
            _extract(archive, pattern, fresh, address)
            _publish(fresh, place)
        files = _cached(place)
    if files is None:
        raise SourceError(
            f"the cached files of {address} changed while they were read", mend=f"delete {place} and try again"
        )
    return files


def _cached(place: Path) -> dict[str, Path] | None:
    try:
        listed: dict[str, str] = json.loads((place / "files.json").read_text(encoding="utf-8"))
        files = {name: place / "files" / name for name in sorted(listed)}
        return files if digests.by_name(files) == listed else None
    except (OSError, ValueError):
        return None


def _publish(fresh: Path, place: Path) -> None:
    listed = digests.by_name(digests.find(fresh))
    ready = fresh.parent / "ready"
    ready.mkdir()
    os.rename(fresh, ready / "files")
    (ready / "files.json").write_text(json.dumps(listed, sort_keys=True), encoding="utf-8")
    try:
        os.rename(ready, place)
    except OSError:  # another process was first, or what lay there was damaged
        if _cached(place) is None:
            shutil.rmtree(place, ignore_errors=True)
            os.rename(ready, place)


def _download(requirement: str, folder: Path) -> Path:
    """Fetch the wheel of one package. Never a source distribution: pip would run its build script."""
    import subprocess

    fetch = ["download", "--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *fetch, "--dest", str(folder), requirement],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    archives = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode == 0 and archives:
        return archives[0]
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    fault = (lines or done.stderr.splitlines() or [f"pip ended with {done.returncode}"])[-1]
    raise SourceError(
        f"pip could not fetch a wheel of {requirement}: {fault}",
        mend=f"see what `{Path(sys.executable).name} -m pip download --no-deps --only-binary :all: {requirement}` says",
    )


def _extract(archive: Path, pattern: str, folder: Path, address: str) -> None:
    wanted, room = digests.matcher(pattern), LARGEST
    for name, open_member in _members(archive):
        if not wanted.fullmatch(name):
            continue
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name:
            raise SourceError(f"{archive.name} holds the unsafe name {name!r}")
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, target.open("wb") as out:
            while block := source.read(1 << 20):
                room -= len(block)
                if room < 0:
                    raise SourceError(
                        f"{address} unpacks to more than {LARGEST >> 30} GiB", mend="name fewer of its files"
                    )
                out.write(block)
    if not folder.is_dir():
        raise SourceError(
            f"{archive.name} has no file that matches {pattern!r}",
            mend=f"list what is in it: python -m zipfile -l {archive.name}",
        )


def _members(wheel: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, partial(archive.open, member)
