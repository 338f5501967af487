"""The code digest: what a stage's code is, apart from how it is written, so that a plan can name what has drifted.

Counted is every top-level definition and data file of the project that the stage's class reaches: in `stages/`, and for
a user's class in the user's own package or folder. The orchestrator, the executors and installed packages never count.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline import digest
from pipeline.code_cache import Cache
from pipeline.code_files import Files, stamp_of, trusted
from pipeline.code_modules import Base
from pipeline.code_packages import installed, site
from pipeline.code_reach import Reach
from pipeline.code_scan import FORM
from pipeline.errors import DagError
from pipeline.manifest import CodeRecord

OURS = Base(str(Path(__file__).resolve().parents[1]), frozenset({"stages"}))

_RECORDS = Cache(f"code-{FORM}.json", "records", "packages")
_FILES = Files()


def code_record(stage_class: type) -> CodeRecord:
    """What the code of a stage is today, and which versions of installed packages it imports.

    Reads source files and runs none. Raises DagError where the class lies in no file, or a file it reaches has a
    syntax error.
    """
    bases, parts, path = _place(stage_class)
    records = _RECORDS.section("records")
    name = f"{path}:{stage_class.__module__}:{stage_class.__qualname__}"
    kept = records.get(name)
    if kept is None or not _stands(kept):
        made = _read(bases, parts, path, stage_class.__qualname__.split(".")[0])
        changed = kept is None or any(kept[part] != made[part] for part in ("seen", "definitions", "imports"))
        _RECORDS.dirty |= changed
        records[name] = kept = made
    packages = _versions(kept["imports"])
    if _RECORDS.dirty:
        for gone in [known for known in records if not os.path.exists(known.split(".py:")[0] + ".py")]:
            del records[gone]
        _RECORDS.save()
    return CodeRecord(digest=kept["digest"], definitions=kept["definitions"], packages=packages)


def _stands(kept: dict[str, Any]) -> bool:
    read = kept["read"]
    return all(stamp_of(path) == stamp and trusted(stamp, read) for path, stamp in kept["seen"].items())


def _read(bases: list[Base], parts: tuple[str, ...], path: str, name: str) -> dict[str, Any]:
    _FILES.seen, read = {}, time.time_ns()
    reach = Reach(bases, _FILES)
    module = reach.open(bases[0], parts, path)
    for found, unit in reach.resolve(module, (name,), set()) or reach.whole(module):
        reach.add(found, unit)
    reach.walk()
    _FILES.save()
    definitions = dict(sorted(reach.definitions.items()))
    return {
        "read": read,
        "seen": {**_FILES.seen, path: _FILES.stamp(path)},
        "digest": digest.of_json(definitions),
        "definitions": definitions,
        "imports": sorted(reach.packages),
    }


def _versions(modules: list[str]) -> dict[str, str]:
    """The version of each installed distribution that provides one of the top-level `modules`."""
    packages, state = _RECORDS.section("packages"), site()
    if packages.get("site") != state:
        packages.update(site=state, found={})
    found: dict[str, dict[str, str]] = packages["found"]
    if missing := [module for module in modules if module not in found]:
        found.update(installed(missing))
        _RECORDS.dirty = True
    return {name: version for module in modules for name, version in sorted(found[module].items())}


def _place(stage_class: type) -> tuple[list[Base], tuple[str, ...], str]:
    """Where absolute imports of the class's project are looked up, the dotted name of its module, and its file."""
    name = stage_class.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not os.path.isfile(file):
        raise DagError(
            f"stage {stage_class.__qualname__} is defined in no file ({name}), so that its code cannot be recorded",
            mend="put the class into a module of its own",
        )
    path = os.path.abspath(file)
    parts = tuple(name.split("."))
    depth = len(parts) if os.path.basename(path) == "__init__.py" else len(parts) - 1
    above = Path(path).parents[depth]
    if len(parts) > 1 and _fits(path, above, parts):
        own = Base(str(above), frozenset({parts[0]}))
        return ([own] if own == OURS else [own, OURS]), parts, path
    folder = Path(path).parent
    bases = [Base(str(folder)), OURS]
    top = folder
    while (top / "__init__.py").is_file() and top != top.parent:
        top = top.parent
    if top != folder:
        package = folder.relative_to(top).parts[0]
        bases.insert(1, Base(str(top), frozenset({package})))
    return bases, (Path(path).stem,), path


def _fits(path: str, above: Path, parts: tuple[str, ...]) -> bool:
    stem = str(above.joinpath(*parts))
    return path in (stem + ".py", os.path.join(stem, "__init__.py"))


def explain_drift(old: CodeRecord, new: CodeRecord) -> str:
    """The first thing that differs, and how many more do; an empty string where the code is the same."""
    before, after = old.definitions, new.definitions
    changed = [f"{name} changed" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    added = [f"{name} added" for name in sorted(after.keys() - before.keys())]
    removed = [f"{name} removed" for name in sorted(before.keys() - after.keys())]
    differences = changed + added + removed
    if not differences:
        return "" if old.digest == new.digest else "the code digest was made in another form"
    return differences[0] + (f" and {len(differences) - 1} more" if len(differences) > 1 else "")


def changed_packages(old: CodeRecord, new: CodeRecord) -> list[str]:
    """The installed packages whose version differs, as ``datatrove 0.10 → 0.11``."""
    names = sorted(old.packages.keys() | new.packages.keys())
    pairs = [(name, old.packages.get(name, "absent"), new.packages.get(name, "absent")) for name in names]
    return [f"{name} {before} → {after}" for name, before, after in pairs if before != after]
