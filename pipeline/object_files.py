"""The files of a store in an object store, through fsspec: S3, a Modal Volume, and fsspec's memory for tests.

A record is a put-if-absent, so that of two writers one wins. Listings are never cached. What is read as a directory
comes into a verified copy on this machine, laid out as the store is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipeline import digest, verified
from pipeline.digest import FileRecord
from pipeline.errors import StoreError, UsageError, no_space
from pipeline.store_faults import Unsound, explained

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8
"""Files that are on their way at the same time."""
PART_BYTES = 2**24
MOST_PARTS = 10_000  # S3's own limit
PARTS_AT_ONCE = 4
"""A large file travels in parts. What is on its way is in memory: half a GiB at most, with those above."""
DOWN_SECONDS = 10.0
SCHEMES = ("s3", "memory", "modal")
_S3_WORDS = "make its bucket", "see what AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of this machine may do there"
_WORDS = {
    "modal": ("make it: modal volume create NAME --version=2", "see modal token info; modal setup makes a token"),
}
"""What mends a store that is not there, and one that refuses access, where it is not S3's."""
_AGAIN = "run the same command again once it is there; what was committed is kept"


class ObjectFiles:
    """Files below `url` (``s3://bucket/prefix``), with a copy of what was read in a folder of this machine.

    Where and who (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, a profile, a role) comes from the usual AWS environment.
    """

    remote = True

    def __init__(self, url: str, copies: Path) -> None:
        if not url.partition("://")[2].strip("/"):
            raise UsageError(f"{url} names no bucket", mend="give --store s3://bucket/prefix")
        if re.search("[@?#]", url):
            raise UsageError(
                "the address of a store holds no user or password, nor a query",
                mend="set AWS_ACCESS_KEY_ID and its like",
            )
        self.url = url.rstrip("/")
        self._patient, self._base, self._faults = _opened(self.url, patient=True)
        self._down = float("-inf")
        self.local = copies / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def _fs(self) -> Any:
        """The file system. Where the server was not there a moment ago, one try must do: who ends has much to tell it."""
        if time.monotonic() - self._down > DOWN_SECONDS:
            return self._patient
        return _opened(self.url, patient=False)[0]

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}".rstrip("/")

    @contextmanager
    def _asking(self, *, reading: bool = False) -> Iterator[None]:
        """What the block meets becomes a StoreError; what is not there to be read, a FileNotFoundError."""
        try:
            yield
        except self._faults as fault:
            if isinstance(fault, FileNotFoundError) and reading:
                raise
            raise self._explained(fault) from fault

    def _explained(self, fault: Exception) -> StoreError:
        if isinstance(fault, OSError) and (no_space(fault) or isinstance(fault.filename, str)):
            return explained(fault, str(self.local))  # of the copies, not of the store
        absent, refused = _WORDS.get(self.url.partition("://")[0], _S3_WORDS)
        said = re.sub(r"//[^/@\s]*@", "//", (str(fault) or type(fault).__name__).splitlines()[0])
        if isinstance(fault, FileNotFoundError):
            return StoreError(
                f"the store {self.url} is not there ({said})", mend=f"{absent}, or name another with --store"
            )
        if isinstance(fault, PermissionError) or "credentials" in said.lower():
            return StoreError(f"the store {self.url} refuses access ({said})", mend=refused)
        self._down = time.monotonic()
        return StoreError(
            f"the store {self.url} cannot be reached ({said})", mend=f"see AWS_ENDPOINT_URL and the network; {_AGAIN}"
        )

    def read(self, name: str) -> bytes:
        with self._asking(reading=True):
            data: bytes = self._fs.cat_file(self._at(name), max_concurrency=1)
            return data

    def exists(self, name: str) -> bool:
        with self._asking():
            return bool(self._fs.exists(self._at(name)))

    def children(self, name: str) -> list[str]:
        try:
            with self._asking(reading=True):
                found = self._fs.ls(self._at(name), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = {path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.strip("/") != self._at(name).strip("/")}
        return sorted(names)

    def below(self, name: str) -> list[str]:
        try:
            with self._asking(reading=True):
                found = self._fs.find(self._at(name))
        except FileNotFoundError:
            return []
        start = len(self._at(name).strip("/")) + 1
        return sorted(path.strip("/")[start:] for path in found)

    def digest(self, name: str) -> FileRecord:
        with self._asking(reading=True), self._fs.open(self._at(name), "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return FileRecord(size=file.tell(), sha256=sha256)

    def create(self, name: str, data: bytes) -> bool:
        with self._asking():
            try:
                self._fs.pipe_file(self._at(name), data, mode="create")
                return True
            except FileExistsError:
                return self._is_ours(name, data)

    def _is_ours(self, name: str, data: bytes) -> bool:
        """Whether what stands there is our own: an answer that was lost makes the retry find it."""
        try:
            return bool(self._fs.cat_file(self._at(name), max_concurrency=1) == data)
        except FileNotFoundError:
            return False

    def replace(self, name: str, data: bytes) -> None:
        with self._asking():
            self._fs.pipe_file(self._at(name), data)

    def lay(self, name: str, file: str, data: bytes) -> None:
        self.replace(f"{name}/{file}", data)

    def remove(self, name: str) -> None:
        with self._asking():
            try:
                self._fs.rm(self._at(name), recursive=True)
            except FileNotFoundError:
                return

    def put(self, path: Path, name: str) -> None:
        """Upload the file at `path`."""
        with self._asking():
            self._fs.put_file(str(path), self._at(name), **_parts(path.stat().st_size))

    def get(self, name: str, record: FileRecord, path: Path) -> None:
        """Download a file to `path`, where it appears whole. Raises FileNotFoundError, or Unsound for other bytes."""
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with self._asking(reading=True):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(self._at(name), str(partial), **_parts(record.size))
                if digest.of_file(partial) != record:
                    raise Unsound(f"{self.url}/{name}")
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)

    def open(self, name: str, files: Mapping[str, FileRecord], rendered: Collection[str] = ()) -> Path:
        place = self.local / name
        with self._asking():
            place.mkdir(parents=True, exist_ok=True)
            wrong = verified.faulty(place, files, rendered)
        for stray in set(wrong) - set(files):
            (place / stray).unlink(missing_ok=True)
        missing = [one for one in wrong if one in files]
        if missing:
            self._fetch(name, {one: files[one] for one in missing}, rendered, place)
        return place

    def some(self, name: str, files: Mapping[str, FileRecord]) -> Path:
        """The copy of the directory `name`, in which these files of it are there and sound, and others may be."""
        place = self.local / name
        with self._asking():
            place.mkdir(parents=True, exist_ok=True)
            missing = verified.lacking(place, files)
        if missing:
            self._fetch(name, {one: files[one] for one in missing}, (), place)
        return place

    def _fetch(self, name: str, files: Mapping[str, FileRecord], rendered: Collection[str], place: Path) -> None:
        there = set(self.below(name))
        if not there:
            raise FileNotFoundError(f"{self.url}/{name}")
        if gone := sorted(set(files) - there):
            raise Unsound(f"{self.url}/{name}/{gone[0]}")
        arriving = place.with_name(f".arriving-{uuid.uuid4().hex}")  # nobody takes half a file for a stray
        try:
            together(lambda one: self.get(f"{name}/{one}", files[one], arriving / one), files)
            for one in there & set(rendered):
                with contextlib.suppress(FileNotFoundError, StoreError):  # it is no content: nothing fails without it
                    (arriving / one).write_bytes(self.read(f"{name}/{one}"))
            with self._asking():
                for one in (*files, *(one for one in rendered if (arriving / one).exists())):
                    (place / one).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(arriving / one, place / one)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        verified.add(place, files)

    def check(self) -> None:
        """Raise StoreError where nothing can be written, or a record could be overwritten."""
        self.replace(".writable", b"")
        if self.create(".writable", uuid.uuid4().bytes):
            raise StoreError(
                f"the server of {self.url} overwrites what is to be put only if absent",
                mend="use one that knows conditional writes (If-None-Match), as AWS does",
            )


def _parts(size: int) -> dict[str, int]:
    return {"chunksize": max(PART_BYTES, -(-size // MOST_PARTS)), "max_concurrency": PARTS_AT_ONCE}


def together(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What `work` makes of every item, in order, several at once; the first fault is raised once those begun have ended."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects") as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _opened(url: str, *, patient: bool) -> tuple[Any, str, tuple[type[Exception], ...]]:
    """The file system, the path in it, and what it raises. An unreachable server is told after seconds, not minutes."""
    from fsspec.core import url_to_fs

    if not url.startswith("s3://"):
        try:
            return *url_to_fs(url), (OSError,)
        except (ImportError, ValueError) as fault:
            scheme = url.partition("://")[0]
            raise UsageError(
                f"a store at {scheme}:// cannot be opened: {fault}", mend=f"pip install 'corpusmill[{scheme}]'"
            ) from None
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from s3fs.core import S3_RETRYABLE_ERRORS

        tries = {"mode": "standard", "max_attempts": 3 if patient else 1}
        waits = {"connect_timeout": 3 if patient else 1, "read_timeout": 15 if patient else 3}
        # Named, for fsspec shares what it opened by what was named: with another address comes another connection.
        server = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]} if os.environ.get("AWS_ENDPOINT_URL") else {}
        fs, base = url_to_fs(url, use_listings_cache=False, config_kwargs={**waits, "retries": tries}, **server)
    except ImportError as fault:
        raise UsageError(
            f"a store at s3:// needs the package {fault.name!r}", mend="pip install 'corpusmill[s3]'"
        ) from None
    fs.retries = 2 if patient else 1  # on top of those, for what breaks in the middle of a body
    return fs, base, (OSError, BotoCoreError, ClientError, *S3_RETRYABLE_ERRORS)
