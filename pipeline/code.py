"""The code digest: what a stage's code is, apart from how it is written, so that a plan can say what has drifted and name it.

Counted is every top-level definition and data file of the project that the stage's class reaches: in `stages/`, and for a
user's class in the user's own package or folder. The orchestrator, the executors and installed packages never count.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline import digest
from pipeline.code_files import Files
from pipeline.code_reach import Base, Module, Reach
from pipeline.errors import DagError
from pipeline.manifest import CodeRecord

_FILES = Files()

OURS = Base(str(Path(__file__).resolve().parents[1]), frozenset({"stages"}))


def code_record(stage_class: type) -> CodeRecord:
    """What the code of a stage is today, and which versions of installed packages it imports.

    Reads source files and runs none. Raises DagError where the class lies in no file, or a file it reaches has a syntax error.
    """
    _FILES.load()
    bases, parts, path = _place(stage_class)
    reach = Reach(bases, _FILES)
    module = reach.open(bases[0], parts, path)
    for found, unit in _start(reach, module, stage_class):
        reach.add(found, unit)
    reach.walk()
    packages = _FILES.versions(reach.packages)
    _FILES.save()
    definitions = dict(sorted(reach.definitions.items()))
    return CodeRecord(digest=digest.of_json(definitions), definitions=definitions, packages=packages)


def _start(reach: Reach, module: Module, stage_class: type) -> list[tuple[Module, str]]:
    name = stage_class.__qualname__.split(".")[0]
    return reach.resolve(module, (name,), set()) or reach.whole(module)


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
