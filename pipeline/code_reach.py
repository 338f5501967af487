"""Follows names from unit to unit: which definitions, data files and packages a stage's code reaches in its project."""

from __future__ import annotations

import os

from pipeline.code_data import named_files, neighbours
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
        self._entered: list[Module] = []
        self._hooked: set[tuple[str, str]] = set()
        self._asked = False

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
        self._entered.append(module)
        self._hooked |= {(module.path, unit) for unit in module.scan["hooks"]}
        for length in range(1, len(module.parts)):
            if above := self._find(module.parts[:length]):
                self.enter(above)
        for unit in module.scan["roots"]:
            self.add(module, unit)
        for written in module.scan["effects"]:
            self._import(module, written)

    def whole(self, module: Module) -> list[Node]:
        """Every unit of a module."""
        return [(module, unit) for unit in module.scan["units"]]

    def walk(self) -> None:
        """Follow everything until nothing new is found."""
        while self._pending or self._children():
            module, name = self._pending.pop()
            unit = module.scan["units"][name]
            origins = self._unit(module, unit)
            form = unit["form"] if not origins else sha12("\n".join([unit["form"], *sorted(set(origins))]))
            self.definitions[f"{module.shown}:{name}"] = form
            self._read(module, unit)
            self._asked |= name in module.scan["asks"]
            if unit["dynamic"]:
                self._reach(self.whole(module))

    def _children(self) -> bool:
        """Reach the classes of what was imported whose bases learn of them, or may be asked for them."""
        for module in self._entered:
            for name, bases in module.scan["bases"].items():
                if (module.path, name) not in self._seen and any(self._knows(module, base) for base in bases):
                    self._hooked.add((module.path, name))
                    self.add(module, name)
        return bool(self._pending)

    def _knows(self, module: Module, base: str) -> bool:
        nodes = self.resolve(module, tuple(base.split(".")), set()) or []
        places = {(found.path, unit) for found, unit in nodes if unit}
        return not places.isdisjoint(self._seen if self._asked else self._hooked)

    def _unit(self, module: Module, unit: Unit) -> list[str]:
        """Reach what the unit mentions; return what each imported name stood for, which its text does not tell."""
        told = []
        for name in unit["names"]:
            parts = tuple(name.split("."))
            local = unit["imports"].get(parts[0])
            if local:
                self._origins(module, local, parts[1:])
            nodes = self.resolve(module, parts, set())  # beside a function's import: another may mean the module's own
            if nodes is not None:
                self._reach(nodes)
            if parts[0] in module.scan["imports"] and not local:
                told += self._tell(module, name, nodes)
        used = {mention.split(".")[0] for mention in unit["names"]}
        for name, origins in unit["imports"].items():
            for written, taken in origins:
                if (
                    not name and written.split(".")[0] in used
                ):  # import a.b: what is used of it is a name that begins with a
                    self._import(module, written)
                elif name not in used:
                    self._origins(module, [(written, taken)], ())
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
        return self._resolved(target, names, seen)

    def _resolved(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node]:
        """The units that a dotted name means within a module, or all of them where it cannot be told."""
        nodes = self.resolve(module, names, seen)
        return self.whole(module) if nodes is None else nodes

    def resolve(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node] | None:
        """The units that a dotted name means within a module: its own, those it imports, or those of a submodule.

        None where it has no such name; no further units where the question is asked again on the way to its own answer.
        """
        if not names:
            return self.whole(module)
        first = names[0]
        if (module.path, first) in seen:
            return []
        seen.add((module.path, first))
        scan = module.scan
        nodes = [(module, unit) for unit in scan["binds"].get(first, [first] if first in scan["units"] else [])]
        for origin in scan["imports"].get(first, ()):  # beside a definition: one of them stands in for the other
            nodes += [(module, ""), *(self._origin(module, *origin, names[1:], seen) or ())]
        if nodes:
            return nodes
        if module.is_package and (below := self._find((*module.parts, first))):
            return self._resolved(below, names[1:], seen)
        return self._hidden(module, names, seen)

    def _hidden(self, module: Module, names: tuple[str, ...], seen: set[tuple[str, str]]) -> list[Node] | None:
        """A name that comes by a star, or by the table behind a package's ``__getattr__``."""
        for star in reversed(module.scan["stars"]):  # the last one stands
            target = self._find(module.absolute(star))
            if target is None:
                self._package(module.absolute(star))
            elif nodes := self.resolve(target, names, seen):
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
        """Reach the files, and the modules, that the texts of a unit name."""
        for text in unit["strings"]:
            paths = list(named_files(module, text, self._modules, self._files))
            for path in paths:
                self._file(module, path)
            if "." in text and "/" not in text and not paths:
                self._dotted(module, text)

    def _dotted(self, module: Module, text: str) -> None:
        dotted, _, taken = text.partition(":")
        if dotted.endswith(".*"):
            if package := self._find(module.absolute(dotted[:-1] if dotted == ".*" else dotted[:-2])):
                for path in neighbours(package, self._files):
                    self._file(package, path)
        elif target := self._find(tuple(dotted.split("."))):
            self._reach((self.resolve(target, (taken,), set()) if taken else None) or self.whole(target))

    def _file(self, module: Module, path: str) -> None:
        shown = os.path.relpath(path, module.base.folder).replace(os.sep, "/")
        if not path.endswith(".py"):
            self.definitions[shown] = self._files.digest(path)
            return
        below = os.path.relpath(path[:-3], os.path.dirname(module.path)).split(os.sep)
        parts = (*module.parts[: len(module.parts) - (not module.is_package)], *below)
        self._reach(self.whole(self.open(module.base, parts, path)))
