"""Follows names from unit to unit: which definitions, data files and packages a stage's code reaches in its project."""

from __future__ import annotations

import os

from pipeline.code_files import Files
from pipeline.code_imports import is_standard
from pipeline.code_modules import FOREIGN, Base, Module, Modules
from pipeline.code_scan import Unit
from pipeline.code_syntax import sha12

Node = tuple[Module, str]


class Reach:
    """Collects from the units given to `add`; `walk` then follows everything they mention."""

    def __init__(self, bases: list[Base], files: Files) -> None:
        self._modules, self._files = Modules(bases, files), files
        self.open, self._find = self._modules.open, self._modules.find
        self.definitions: dict[str, str] = {}
        self.packages: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._pending: list[Node] = []

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
            if above := self._find(module.parts[:length]):
                self.enter(above)
        for unit in module.scan["roots"]:
            self.add(module, unit)
        if not module.is_package:  # unused imports are re-exports in a package, and made for their effect elsewhere
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
        """Reach what the unit mentions; return what each imported name stood for, which its text does not tell."""
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
        root = name.split(".")[0]
        inside = [f"{name}={found.shown}:{unit}" for found, unit in nodes or () if unit]
        origins = module.scan["imports"][root]
        outside = [origin for origin in origins if self._find(module.absolute(origin[0])) is None]
        return inside + [f"{root}={there}:{taken}" for there, taken in outside]

    def _origins(self, module: Module, origins: list[tuple[str, str]], rest: tuple[str, ...]) -> None:
        for written, taken in origins:
            self._reach(self._origin(module, written, taken, rest, set()) or [])

    def _reach(self, nodes: list[Node]) -> None:
        for found, unit in nodes:
            self.add(found, unit) if unit else self.enter(found)

    def _import(self, module: Module, written: str) -> None:
        parts = module.absolute(written)
        for length in range(len(parts), 0, -1):
            if found := self._find(parts[:length]):
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
        target = self._find(parts)
        names = ((taken,) if taken and taken != "*" else ()) + rest
        for length in range(1, len(names) + 1) if target is None else ():  # a folder without __init__.py
            if (target := self._find(parts + names[:length])) is not None:
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
        nodes = [(module, unit) for unit in scan["binds"].get(first, [first] if first in scan["units"] else [])]
        for origin in scan["imports"].get(first, ()):  # beside a definition: one of them stands in for the other
            nodes += [(module, ""), *(self._origin(module, *origin, names[1:], seen) or ())]
        if nodes:
            return nodes
        if module.is_package and (below := self._find((*module.parts, first))):
            return self.resolve(below, names[1:], seen) or self.whole(below)
        return self._hidden(module, names, seen)

    def _hidden(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node] | None:
        """A name that comes by a star, or by the table behind a package's ``__getattr__``."""
        for star in module.scan["stars"]:
            target = self._find(module.absolute(star))
            if target is not None and (nodes := self.resolve(target, names, seen)):
                return [(module, ""), *nodes]
        return [
            node
            for text in module.scan["tables"].get(names[0], ())
            for node in self._named(module, text, names[0]) or self._named(module, "." + text, names[0])
        ] or None

    def _named(self, module: Module, text: str, name: str) -> list[Node]:
        written, _, taken = text.partition(":")
        target = self._find(module.absolute(written))
        return (self.resolve(target, (taken or name,), set()) or self.whole(target)) if target is not None else []

    def _read(self, module: Module, unit: Unit) -> None:
        """Reach the files beside the module, and the modules, that its texts name."""
        for text in unit["strings"]:
            path = os.path.join(os.path.dirname(module.path), *text.split("/"))
            if self._files.is_file(path):
                self._file(module, path)
            elif module.scan["reads"] and self._files.is_folder(path):
                self._folder(module, path)
            elif "." in text and "/" not in text:
                dotted, _, taken = text.partition(":")
                if target := self._find(tuple(dotted.split("."))):
                    self._reach((self.resolve(target, (taken,), set()) if taken else None) or self.whole(target))

    def _file(self, module: Module, path: str) -> None:
        if not path.endswith(".py"):
            return self._data(module, path)
        below = os.path.relpath(path[:-3], os.path.dirname(module.path)).split(os.sep)
        parts = (*module.parts[: len(module.parts) - (not module.is_package)], *below)
        self._reach(self.whole(self.open(module.base, parts, path)))

    def _folder(self, module: Module, path: str) -> None:
        self._files.stamp(path + "/")
        for name in sorted(os.listdir(path)):
            inner = os.path.join(path, name)
            if name.startswith((".", "__")):
                continue
            if self._files.is_folder(inner):
                self._folder(module, inner)
            elif not name.endswith((".py", ".pyc")) and self._files.is_file(inner):
                self._data(module, inner)

    def _data(self, module: Module, path: str) -> None:
        shown = os.path.relpath(path, module.base.folder).replace(os.sep, "/")
        self.definitions[shown] = self._files.digest(path)
