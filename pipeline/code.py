"""The code digest: what a stage's code is, apart from how it is written, so that a plan can name what has drifted.

Counted is every top-level definition and data file of the project that the stage's class reaches, or a class or function
that its settings name: in `stages/`, and for a user's in the user's own package, and what lies beside it. The orchestrator,
the executors and installed packages never count.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import digest
from pipeline.code_cache import Cache
from pipeline.code_files import Files, stamp_of, trusted
from pipeline.code_imports import is_standard
from pipeline.code_modules import FOREIGN, Base
from pipeline.code_packages import installed, site
from pipeline.code_reach import Reach
from pipeline.code_scan import FORM
from pipeline.errors import DagError
from pipeline.manifest import CodeRecord
from pipeline.named import Named, brought_by, file_of, is_installed, name_of

if TYPE_CHECKING:
    from pipeline.stage import Stage

OURS = Base(str(Path(__file__).resolve().parents[1]), frozenset({"stages"}))

Place = tuple[list[Base], tuple[str, ...], str]
"""Where a module's imports are looked up, its dotted name in parts, and its file."""

_RECORDS = Cache(f"code-{FORM}.json", "records", "packages")
_FILES = Files()
_ONE_AT_A_TIME = threading.Lock()
"""Both learn as they are asked, and a worker that links many stages asks in many threads."""


def code_of(stage: Stage[Any]) -> CodeRecord:
    """The code record of a stage as it is drawn: of its class, and of the classes and functions that its settings bring."""
    return code_record(type(stage), *brought_by(stage))


def code_record(stage_class: type, *beside: Named) -> CodeRecord:
    """What the code of a stage and of what stands beside it is today, and which versions of installed packages it imports.

    Reads source files and runs none. Raises DagError where a class lies in no file, or a file it reaches has a syntax error.
    """
    own, packages = _sorted(beside)
    with _ONE_AT_A_TIME:
        return _record(stage_class, own, packages)


def _record(stage_class: type, own: list[Named], packages: set[str]) -> CodeRecord:
    places = [_place(thing) for thing in (stage_class, *own)]
    records = _RECORDS.section("records")
    name = "+".join(
        dict.fromkeys(
            f"{path}:{name_of(thing)}" for (_, _, path), thing in zip(places, (stage_class, *own), strict=True)
        )
    )
    kept = records.get(name)
    if kept is None or not _stands(kept):
        made = _read(places, [thing.__qualname__.split(".")[0] for thing in (stage_class, *own)])
        changed = kept is None or any(kept[part] != made[part] for part in ("seen", "definitions", "imports"))
        _RECORDS.dirty |= changed or _stands(made)
        records[name] = kept = made
    versions = _versions(sorted({*kept["imports"], *packages}))
    if _RECORDS.dirty:
        for gone in [known for known in records if not os.path.exists(known.split(".py:")[0] + ".py")]:
            del records[gone]
        _RECORDS.save()
    return CodeRecord(digest=kept["digest"], definitions=kept["definitions"], packages=versions)


def _sorted(beside: tuple[Named, ...]) -> tuple[list[Named], set[str]]:
    """Of what settings bring, the project's own by name, and the top-level modules of what is installed."""
    own, packages = {}, set()
    for thing in beside:
        top, file = thing.__module__.split(".")[0], file_of(thing)
        if top in FOREIGN or is_standard(top):
            continue
        if file is None or is_installed(file) or not file.endswith(".py"):
            packages.add(top)
        else:
            own[name_of(thing)] = thing
    return [own[name] for name in sorted(own)], packages


def _stands(kept: dict[str, Any]) -> bool:
    read = kept["read"]
    return all(stamp_of(path) == stamp and trusted(stamp, read) for path, stamp in kept["seen"].items())


def _read(places: list[Place], names: list[str]) -> dict[str, Any]:
    _FILES.seen, read = {}, time.time_ns()
    reach = Reach(list(dict.fromkeys(base for bases, _, _ in places for base in bases)), _FILES)
    for (bases, parts, path), name in zip(places, names, strict=True):
        module = reach.open(bases[0], parts, path)
        for found, unit in reach.resolve(module, (name,), set()) or reach.whole(module):
            reach.add(found, unit)
    reach.walk()
    _FILES.save()
    definitions = dict(sorted(reach.definitions.items()))
    return {
        "read": read,
        "seen": {**_FILES.seen, **{path: _FILES.stamp(path) for _, _, path in places}},
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


def _place(thing: Named) -> Place:
    """Where absolute imports of the thing's project are looked up, the dotted name of its module, and its file."""
    name, file = thing.__module__, file_of(thing)
    if file is None or not os.path.isfile(file):
        raise DagError(
            f"{thing.__qualname__} is defined in no file ({name}), so that its code cannot be recorded",
            mend="put it into a module of its own",
        )
    path = os.path.abspath(file)
    parts = tuple(name.split("."))
    depth = len(parts) if os.path.basename(path) == "__init__.py" else len(parts) - 1
    above = Path(path).parents[depth]
    if len(parts) > 1 and _fits(path, above, parts):
        if str(above) == OURS.folder and parts[0] in (OURS.only or ()):
            return [OURS], parts, path
        own = Base(str(above), frozenset({parts[0]}) if is_installed(path) else None)
        return [own, OURS], parts, path
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
