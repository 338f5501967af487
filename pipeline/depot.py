"""What one attempt has committed, in an object store: a retry on any machine finds the last commit, and fetches what it names.

::

    <stage>/<key>/<attempt>/data/…                        the artifact's files, where they stay; they count once a manifest is there
    .partial/<stage>/<key>/<attempt>/begun                says that there may be something of it
    .partial/<stage>/<key>/<attempt>/commits/<number>     a list of commits; `at` says where each of their files lies
    .partial/<stage>/<key>/<attempt>/spent/<session>      what it has cost so far
    .partial/<stage>/<key>/<attempt>/<number>/…           files in scratch, and such of the artifact as were committed again

Every holder of a key writes below a name of its own, and no committed object is overwritten: neither a kill in the middle
nor a holder that was taken for dead and was not can spoil what another has.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.digest import FileRecord
from pipeline.errors import StoreError
from pipeline.object_files import ObjectFiles, together
from pipeline.store_faults import Unsound

VOID = b'{"void": "taken over before it was complete"}'
"""In place of a manifest: this attempt will never be complete, and its data has gone."""

_NAME = "%Y%m%dT%H%M%S"


class Depot:
    """The commits of a new attempt at `key` (``stage/key``), which goes on from the newest earlier one of the same code.

    `still_held` raises where another run has taken the key over.
    """

    def __init__(self, files: ObjectFiles, key: str, code: str, still_held: Callable[[], None] = lambda: None) -> None:
        self._files, self._key, self._still_held = files, key, still_held
        self._last: dict[str, dict[str, Any]] = {}
        left = [one for one in files.children(f".partial/{key}") if one.endswith(f"-{code}")]
        complete = [one for one, known in zip(left, together(self._is_complete, left), strict=True) if known]
        for one in complete:
            files.remove(f".partial/{key}/{one}")
        self._earlier = [one for one in left if one not in complete]
        self.name = f"{_later(self._earlier)}-{uuid.uuid4().hex[:6]}-{code}"
        self._from, self.records = "", list[dict[str, Any]]()
        for one in reversed(self._earlier):
            self.records = self._read(f".partial/{key}/{one}/commits")
            if self.records:
                self._from = one
                break
        files.replace(
            f".partial/{key}/{self.name}/begun", b""
        )  # so that what is put before a commit is found and removed

    @property
    def resumed(self) -> bool:
        """Whether there is something to go on from."""
        return bool(self._from)

    def _is_complete(self, one: str) -> bool:
        try:
            self._files.read(f"{self._key}/{one}/manifest.json")
        except FileNotFoundError:
            return False
        return True

    def _read(self, folder: str) -> list[dict[str, Any]]:
        found: dict[str, list[dict[str, Any]]] = {}

        def read(one: str) -> None:
            found[one] = json.loads(self._files.read(f"{folder}/{one}"))

        names = self._files.children(folder)
        together(read, names)
        return [record for one in names for record in found[one]]

    def take_scratch(self, folder: Path) -> None:
        """Begin in `folder` with what this machine still has of the attempt that this one goes on from."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        if self._from and (folder.parent / self._from).is_dir():
            os.rename(folder.parent / self._from, folder)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def fetch(self, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Bring the files of these names and stamps into `folder`; one that is not as it was committed stays away."""

        def fetch(name: str) -> None:
            stamp, path = files[name], folder / name
            try:
                self._files.get(stamp["at"], _record(stamp), path)
                os.utime(path, ns=(stamp["mtime_ns"], stamp["mtime_ns"]))
            except (FileNotFoundError, Unsound):
                path.unlink(missing_ok=True)

        together(fetch, files)

    def commit(self, number: int, records: list[dict[str, Any]], folder: Path) -> None:
        """Make `records` durable: first the files of them that are not, then the records themselves."""
        self._still_held()
        replaced = []
        new = {}
        for name, stamp in ((name, stamp) for record in records for name, stamp in record["files"].items()):
            last = self._last.get(name)
            if "at" not in stamp and last and _record(last) == _record(stamp):
                stamp["at"] = last["at"]
            elif "at" not in stamp:
                new[name] = self._place(name, number)
                replaced += [last["at"]] if last else []
        together(lambda name: self._files.put(folder / name, new[name]), new)
        for record in records:
            for name, stamp in record["files"].items():
                self._last[name] = stamp
                stamp.setdefault("at", new.get(name))
            replaced += [self._last.pop(name)["at"] for name in record["gone"] if name in self._last]
        self._still_held()
        text = json.dumps(records).encode()
        self._files.replace(f".partial/{self._key}/{self.name}/commits/{number:06d}.json", text)
        own = f".partial/{self._key}/{self.name}/"
        together(self._files.remove, [at for at in replaced if at.startswith(own)])

    def _place(self, name: str, number: int) -> str:
        """Where a file that is committed now is put: nowhere that an earlier commit names."""
        if name.startswith(("data/", "resume/")) and name not in self._last:
            return f"{self._key}/{self.name}/{name}"
        return f".partial/{self._key}/{self.name}/{number:06d}/{name}"

    def publish(self, folder: Path, trees: Mapping[str, Mapping[str, FileRecord]]) -> None:
        """Upload what of `trees` (data, resume) is not there yet, and remove what is not of them."""
        self._still_held()
        place = f"{self._key}/{self.name}"
        wanted = {f"{tree}/{name}": record for tree, files in trees.items() for name, record in files.items()}
        there = {f"{tree}/{name}" for tree in trees for name in self._files.below(f"{place}/{tree}")}
        sound = {
            name
            for name in there & set(wanted)
            if (last := self._last.get(name)) and last["at"] == f"{place}/{name}" and _record(last) == wanted[name]
        }
        together(lambda name: self._files.put(folder / name, f"{place}/{name}"), set(wanted) - sound)
        together(lambda name: self._files.remove(f"{place}/{name}"), there - set(wanted))
        self._still_held()

    def keep_account(self, name: str, text: bytes) -> None:
        """Put what a session has spent (`spent`) where the next one finds it, in place of what it said before."""
        self._files.replace(f".partial/{self._key}/{self.name}/spent/{name}", text)

    def accounts(self) -> list[bytes]:
        """What the sessions before this one have spent."""
        folders = [f".partial/{self._key}/{one}/spent" for one in self._earlier]
        return [self._files.read(f"{folder}/{name}") for folder in folders for name in self._files.children(folder)]

    def clear(self) -> None:
        """Once this attempt is complete: remove what earlier ones left, and see to it that none of them ever is."""
        with contextlib.suppress(StoreError):  # what is complete is complete; the rest is left to another day
            for one in self._earlier:
                if self._files.create(f"{self._key}/{one}/manifest.json", VOID):
                    together(self._files.remove, [f"{self._key}/{one}/{tree}" for tree in ("data", "resume")])
            together(lambda one: self._files.remove(f".partial/{self._key}/{one}"), [*self._earlier, self.name])


def taken_over(key: str) -> StoreError:
    """The fault of a holder that has lost its key to another run."""
    return StoreError(
        f"another run has taken {key} over, because this one gave no sign of life",
        mend="run the same command again: it waits for the other, and uses what that makes",
    )


def _record(stamp: Mapping[str, Any]) -> FileRecord:
    return FileRecord(size=stamp["size"], sha256=stamp["sha256"])


def began(name: str) -> float:
    """When the attempt of this name began, in seconds since 1970."""
    return calendar.timegm(time.strptime(name[:15], _NAME))


def _later(names: list[str]) -> str:
    """The time now, or a second after the newest of `names`, whatever clock that was made by: names sort as they were made."""
    newest = began(max(names)) if names else 0
    return time.strftime(_NAME, time.gmtime(max(time.time(), newest + 1)))
