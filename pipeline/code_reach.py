"""Follows names from unit to unit: which definitions, data files and packages a stage's code reaches within its own project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from pipeline.code_files import Files
from pipeline.code_scan import Scan, Unit
from pipeline.code_syntax import is_standard, sha12

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

    @cached_property
    def names_beside(self) -> set[str]:
        return set(os.listdir(os.path.dirname(self.path)))


Node = tuple[Module, str]


class Reach:
    """Collects from the units given to `add`; `walk` then follows everything they mention."""

    def __init__(self, bases: list[Base], files: Files) -> None:
        self.bases, self.files = bases, files
        self.definitions: dict[str, str] = {}
        self.packages: set[str] = set()
        self._modules: dict[tuple[str, ...], Module | None] = {}
        self._paths: dict[str, Module] = {}
        self._seen: set[tuple[str, str]] = set()
        self._pending: list[Node] = []

    def open(self, base: Base, parts: tuple[str, ...], path: str) -> Module:
        """The module at `path`, the same object for the same file."""
        return self._paths.setdefault(path, Module(base, parts, path, self.files))

    def find(self, parts: tuple[str, ...]) -> Module | None:
        """The project's module of that absolute name, or None."""
        if parts not in self._modules:
            self._modules[parts] = self._search(parts)
        return self._modules[parts]

    def _search(self, parts: tuple[str, ...]) -> Module | None:
        if not parts or not all(parts) or parts[0] in FOREIGN:
            return None
        for base in self.bases:
            if base.only is None or parts[0] in base.only:
                stem = os.path.join(base.folder, *parts)
                for path in (os.path.join(stem, "__init__.py"), stem + ".py"):
                    if os.path.isfile(path):
                        return self.open(base, parts, path)
        return None

    def add(self, module: Module, unit: str) -> None:
        """Reach one unit, and with it what its module and the packages above run on import."""
        if (module.path, unit) in self._seen:
            return
        self._seen.add((module.path, unit))
        self._pending.append((module, unit))
        self.enter(module)

    def enter(self, module: Module) -> None:
        """Reach what runs when the module is imported."""
        if (module.path, "") in self._seen:
            return
        self._seen.add((module.path, ""))
        for length in range(1, len(module.parts)):
            if above := self.find(module.parts[:length]):
                self.enter(above)
        for unit in module.scan["roots"]:
            self.add(module, unit)
        if not module.is_package:  # the unused imports of a package are re-exports; of a module, they are made for effect
            for written in module.scan["effects"]:
                self._import(module, written)

    def whole(self, module: Module) -> list[Node]:
        """Every unit of a module."""
        return [(module, unit) for unit in module.scan["units"]]

    def walk(self) -> None:
        """Follow everything until nothing new is found."""
        while self._pending:
            module, name = self._pending.pop()
            unit = module.scan["units"][name]
            origins = self._unit(module, unit)
            form = unit["form"] if not origins else sha12("\n".join([unit["form"], *sorted(set(origins))]))
            self.definitions[f"{module.shown}:{name}"] = form
            self._read(module, unit)
            if unit["dynamic"]:
                self._reach(self.whole(module))

    def _unit(self, module: Module, unit: Unit) -> list[str]:
        """Reach what the unit mentions; return what each imported name stood for, which the unit's text does not tell."""
        told = []
        for name in unit["names"]:
            parts = tuple(name.split("."))
            if parts[0] in unit["imports"]:
                self._origins(module, unit["imports"][parts[0]], parts[1:])
                continue
            nodes = self.resolve(module, parts, set())
            if nodes is not None:
                self._reach(nodes)
            if parts[0] in module.scan["imports"]:
                told += self._tell(module, name, nodes)
        for name, origins in unit["imports"].items():
            used = any(mention.split(".")[0] == name for mention in unit["names"])
            if not used:
                self._origins(module, origins, ())
        return told

    def _tell(self, module: Module, name: str, nodes: list[Node] | None) -> list[str]:
        if nodes:
            return [f"{name}={found.shown}:{unit}" for found, unit in nodes]
        root = name.split(".")[0]
        return [f"{root}={written}:{taken}" for written, taken in module.scan["imports"][root]]

    def _origins(self, module: Module, origins: list[tuple[str, str]], rest: tuple[str, ...]) -> None:
        for written, taken in origins:
            self._reach(self._origin(module, written, taken, rest, set()) or [])

    def _reach(self, nodes: list[Node]) -> None:
        for found, unit in nodes:
            self.add(found, unit) if unit else self.enter(found)

    def _import(self, module: Module, written: str) -> None:
        parts = module.absolute(written)
        for length in range(len(parts), 0, -1):
            if found := self.find(parts[:length]):
                return self.enter(found)
        self._package(parts)

    def _package(self, parts: tuple[str, ...]) -> None:
        if parts and parts[0] and parts[0] not in FOREIGN and not is_standard(parts[0]):
            self.packages.add(parts[0])

    def _origin(
        self, module: Module, written: str, taken: str, rest: tuple[str, ...], seen: set[tuple[str, str]]
    ) -> list[Node] | None:
        """What an import brings: `taken` from the module `written`, then the attributes `rest` of that."""
        parts = module.absolute(written)
        target = self.find(parts)
        names = ((taken,) if taken and taken != "*" else ()) + rest
        for length in range(1, len(names) + 1) if target is None else ():  # a folder without __init__.py
            if (target := self.find(parts + names[:length])) is not None:
                names = names[length:]
                break
        if target is None:
            self._package(parts)
            return None
        return self.resolve(target, names, seen) or self.whole(target)

    def resolve(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node] | None:
        """The units that a dotted name means within a module: its own, those it imports, or those of a submodule."""
        if not names:
            return self.whole(module)
        first = names[0]
        if (module.path, first) in seen:
            return None
        seen.add((module.path, first))
        scan = module.scan
        if first in scan["units"]:
            return [(module, first)]
        if first in scan["binds"]:
            return [(module, unit) for unit in scan["binds"][first]]
        if first in scan["imports"]:
            found = [self._origin(module, *origin, names[1:], seen) for origin in scan["imports"][first]]
            return [(module, ""), *(node for nodes in found for node in nodes or ())]
        if module.is_package and (below := self.find((*module.parts, first))):
            return self.resolve(below, names[1:], seen) or self.whole(below)
        return self._hidden(module, names, seen)

    def _hidden(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node] | None:
        """A name that comes by a star, or by the table behind a package's ``__getattr__``."""
        for star in module.scan["stars"]:
            target = self.find(module.absolute(star))
            if target is not None and (nodes := self.resolve(target, names, seen)):
                return [(module, ""), *nodes]
        return [
            node
            for text in module.scan["tables"].get(names[0], ())
            for node in self._named(module, text, names[0]) or self._named(module, "." + text, names[0])
        ] or None

    def _named(self, module: Module, text: str, name: str) -> list[Node]:
        written, _, taken = text.partition(":")
        target = self.find(module.absolute(written))
        return (self.resolve(target, (taken or name,), set()) or self.whole(target)) if target is not None else []

    def _read(self, module: Module, unit: Unit) -> None:
        """Reach the files beside the module, and the modules, that its texts name."""
        for text in unit["strings"]:
            if text.split("/")[0] in module.names_beside:
                self._file(module, text)
            elif "." in text:
                dotted, _, taken = text.partition(":")
                if target := self.find(tuple(dotted.split("."))):
                    self._reach((self.resolve(target, (taken,), set()) if taken else None) or self.whole(target))

    def _file(self, module: Module, text: str) -> None:
        path = os.path.join(os.path.dirname(module.path), *text.split("/"))
        if os.path.isdir(path) and module.scan["reads"]:
            for folder, below, names in os.walk(path):
                below[:] = sorted(name for name in below if not name.startswith((".", "__")))
                self._data(module, [os.path.join(folder, name) for name in names if not name.endswith((".py", ".pyc"))])
        elif path.endswith(".py") and os.path.isfile(path):
            parts = (*module.parts[: len(module.parts) - (not module.is_package)], *text[:-3].split("/"))
            self._reach(self.whole(self.open(module.base, parts, path)))
        elif os.path.isfile(path):
            self._data(module, [path])

    def _data(self, module: Module, paths: list[str]) -> None:
        for path in paths:
            shown = os.path.relpath(path, module.base.folder).replace(os.sep, "/")
            self.definitions[shown] = self.files.digest(path)
