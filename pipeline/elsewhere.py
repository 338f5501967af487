"""Reads files made elsewhere: a folder of this machine, a folder at any fsspec URL, or one https address. Nothing is run.

What comes in is bounded: no file of a folder leads out of it, no redirect out of https, no copy past the room it was given.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.errors import CorpusmillError, SourceError, UsageError

BLOCK = 1 << 20
REDIRECTS = 5
"""Redirects that one https address may answer with."""

PATIENCE = 60.0
"""Seconds without a byte after which a server counts as gone."""


@dataclass(frozen=True)
class Foreign:
    """One file that lies elsewhere: its name, its size where that is known before it is read, and how to open it."""

    name: str
    size: int | None
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Elsewhere:
    """What an address holds: files, and the names of folders in it, which are not looked into.

    `address` is fit to go on record: without user, password and query.
    """

    address: str
    files: tuple[Foreign, ...]
    folders: tuple[str, ...] = ()


def look(address: str) -> Elsewhere:
    """What is at `address`. Raises UsageError for an address that cannot be used, SourceError where nothing is there."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme == "file":
        return _local(Path(rest if separator else address).expanduser())
    if scheme.rpartition("::")[2] == "http":
        raise UsageError(
            f"{kept(address)} cannot be trusted: anybody on the way can change what comes over http",
            mend="give its https:// address",
        )
    return _https(address) if scheme == "https" else _fsspec(address)


def kept(address: str) -> str:
    """The address without what may be secret: user and password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def pour(file: Foreign, target: Path, room: int) -> int:
    """Copy `file` to the new file `target`; its size. Raises SourceError where it is larger than `room` or cannot be read."""
    size = 0
    with target.open("xb") as out:
        for block in _blocks(file):
            size += len(block)
            if size > room:
                raise SourceError(f"{file.name} is larger than there is room for", mend="raise --max-gb if it is meant")
            out.write(block)
    if file.size is not None and size != file.size:
        raise SourceError(f"{file.name} changed while it was read", mend="run the same command again")
    return size


def _blocks(file: Foreign) -> Iterator[bytes]:
    try:
        with file.open() as source:
            while block := source.read(BLOCK):
                yield block
            if getattr(source, "length", 0):  # http.client's, of the bytes that were promised and did not come
                raise SourceError(f"{file.name} ended too early", mend="run the same command again")
    except CorpusmillError:
        raise
    except Exception as fault:  # each library behind fsspec has exceptions of its own
        raise _unreadable(file.name, fault) from None


def _unreadable(what: str, fault: BaseException) -> SourceError:
    first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
    lacks = isinstance(fault, ImportError)
    mend = "install the package that opens such an address" if lacks else "see that it is there and may be read"
    return SourceError(f"{what} cannot be read: {first}", mend=mend)


def _local(path: Path) -> Elsewhere:
    try:
        place = path.resolve(strict=True)
        if not place.is_dir():
            return Elsewhere(str(path.absolute()), (_below(place.parent, place, path.name),))
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except (OSError, RuntimeError) as fault:  # RuntimeError: links in a circle
        raise _unreadable(str(path), fault) from None
    files = tuple(_below(place, Path(entry.path), entry.name) for entry in entries if not entry.is_dir())
    return Elsewhere(str(path.absolute()), files, tuple(entry.name for entry in entries if entry.is_dir()))


def _below(folder: Path, path: Path, name: str) -> Foreign:
    def opened() -> IO[bytes]:
        place = path.resolve(strict=True)
        if not place.is_relative_to(folder):
            raise SourceError(
                f"{name} is a link that leads out of its folder",
                mend=f"copy the folder with its links followed (cp -rL {folder} COPY), then adopt the copy",
            )
        if not stat.S_ISREG(place.stat().st_mode):
            raise SourceError(f"{name} is no regular file", mend="take it out of the folder")
        return place.open("rb")

    return Foreign(name, path.stat().st_size if path.exists() else None, opened)


def _fsspec(address: str) -> Elsewhere:
    from fsspec.core import url_to_fs

    try:
        fs, base = url_to_fs(address)
        entries: list[dict[str, Any]] = sorted(fs.ls(base, detail=True), key=lambda entry: str(entry["name"]))
    except Exception as fault:  # each library behind fsspec has exceptions of its own
        raise _unreadable(kept(address), fault) from None

    def name(entry: dict[str, Any]) -> str:
        return str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]

    def foreign(entry: dict[str, Any]) -> Foreign:
        return Foreign(name(entry), entry.get("size"), lambda: fs.open(entry["name"], "rb"))

    found = [entry for entry in entries if name(entry)]
    files = tuple(foreign(entry) for entry in found if entry["type"] == "file")
    return Elsewhere(kept(address), files, tuple(name(entry) for entry in found if entry["type"] == "directory"))


def _https(address: str, scheme: str = "https") -> Elsewhere:
    name = unquote(urlsplit(address).path.rstrip("/").rsplit("/", 1)[-1])
    if not name or "/" in name or "\0" in name:
        raise UsageError(f"{kept(address)} names no file", mend="give the address of one file")
    return Elsewhere(kept(address), (Foreign(name, None, lambda: _answer(address, scheme)),))


def _answer(address: str, scheme: str) -> IO[bytes]:
    """The body at `address`. Every redirect must stay in `scheme`; what HTTP calls an error is an OSError."""
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Within(HTTPRedirectHandler):
        max_redirections = REDIRECTS

        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
            if urlsplit(newurl).scheme != scheme:
                raise SourceError(
                    f"{kept(address)} leads to {kept(newurl)}, out of {scheme}", mend="give another address"
                )
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    body: IO[bytes] = build_opener(Within()).open(
        Request(address, headers={"User-Agent": "corpusmill"}), timeout=PATIENCE
    )
    return body
