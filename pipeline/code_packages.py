"""Which installed distributions provide a module, in which version; found by names of folders, importing nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable


def site() -> list[list[str]]:
    """What changes when a distribution comes, goes or moves: the folders of installed packages, with their times."""
    folders = [folder for folder in sys.path if os.path.basename(folder) in ("site-packages", "dist-packages")]
    return [[folder, str(os.stat(folder).st_mtime_ns)] for folder in folders if os.path.isdir(folder)]


def installed(modules: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each top-level module, the distributions that provide it with their versions; none for an unknown module."""
    known: dict[str, tuple[str, str, str]] = {}
    for folder, _ in reversed(site()):
        for entry in sorted(os.listdir(folder)):
            if found := re.fullmatch(r"(.+?)-(.+)\.dist-info", entry):
                name, version = found[1].replace("_", "-"), found[2]
                known[_plain(name)] = (name, version, os.path.join(folder, entry))
    answer: dict[str, dict[str, str]] = {}
    unknown = []
    for module in modules:
        if _plain(module) in known:
            name, version, _ = known[_plain(module)]
            answer[module] = {name: version}
        else:
            answer[module] = {}
            unknown.append(module)
    for name, version, folder in known.values() if unknown else ():
        record = _record(folder)
        for module in unknown:
            if f"\n{module}/" in record or f"\n{module}.py," in record:
                answer[module][name] = version
    return answer


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _record(folder: str) -> str:
    """The list of a distribution's files, one a line."""
    try:
        with open(os.path.join(folder, "RECORD"), encoding="utf-8", errors="replace") as file:
            return "\n" + file.read()
    except OSError:
        return ""
