"""Where a project's modules lie, and which file an import means, without importing anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from pipeline.code_files import Files
from pipeline.code_scan import Scan

FOREIGN = {"pipeline", "infra"}
"""Top-level packages that never count, wherever they are found."""


@dataclass(frozen=True)
class Base:
    """A folder in which absolute imports are looked up; `only` names the packages in it that belong to the project."""

    folder: str
    only: frozenset[str] | None = None


class Module:
    """One file of the project under its dotted name."""

    def __init__(self, base: Base, parts: tuple[str, ...], path: str, files: Files) -> None:
        self.base, self.parts, self.path, self._files = base, parts, path, files
        self.is_package = os.path.basename(path) == "__init__.py"
        self.shown = os.path.relpath(path, base.folder).replace(os.sep, "/")

    @cached_property
    def scan(self) -> Scan:
        return self._files.scan(self.path, self.shown)

    def absolute(self, written: str) -> tuple[str, ...]:
        """The parts of a module name as an import in this file means it; empty where it points outside."""
        name = written.lstrip(".")
        dots = len(written) - len(name)
        if not dots:
            return tuple(name.split("."))
        package = self.parts if self.is_package else self.parts[:-1]
        kept = package[: len(package) - (dots - 1)]
        return (*kept, *name.split(".")) if name else kept


class Modules:
    """The modules of a project, found in its bases in order."""

    def __init__(self, bases: list[Base], files: Files) -> None:
        self._bases, self._files = bases, files
        self._named: dict[tuple[str, ...], Module | None] = {}
        self._paths: dict[str, Module] = {}

    def open(self, base: Base, parts: tuple[str, ...], path: str) -> Module:
        """The module at `path`, the same object for the same file."""
        if path not in self._paths:
            self._paths[path] = Module(base, parts, path, self._files)
        return self._paths[path]

    def find(self, parts: tuple[str, ...]) -> Module | None:
        """The project's module of that absolute name, or None."""
        if parts not in self._named:
            self._named[parts] = self._search(parts)
        return self._named[parts]

    def folders(self, parts: tuple[str, ...]) -> list[str]:
        """The folders of the project that bear a package's dotted name."""
        known = [base.folder for base in self._bases if base.only is None or parts[0] in base.only]
        return [path for folder in known if self._files.is_folder(path := os.path.join(folder, *parts))]

    def _search(self, parts: tuple[str, ...]) -> Module | None:
        if not parts or not all(parts) or parts[0] in FOREIGN:
            return None
        for base in self._bases:
            if base.only is None or parts[0] in base.only:
                stem = os.path.join(base.folder, *parts)
                for path in (os.path.join(stem, "__init__.py"), stem + ".py"):
                    if self._files.is_file(path):
                        return self.open(base, parts, path)
        return None
