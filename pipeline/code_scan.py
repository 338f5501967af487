"""What one source file says, as plain JSON: its top-level units, their normal forms, and what each of them mentions."""

from __future__ import annotations

import ast
import re
from typing import TypedDict

from pipeline.code_imports import IMPORTS, Imports, bindings, is_standard
from pipeline.code_syntax import DYNAMIC, MAIN, MODULE, Normal, sha12

FORM = 2
"""Number of the normal form and of this record; a change of either makes cached scans worthless."""

_READS = re.compile(rb"__file__|importlib[._]resources|importlib import .*resources|get_data")
_ABOVE = re.compile(rb"[._ ]resources|get_data|parents\b|parent\s*\.\s*parent|[\"']\.\.|dirname\(.*dirname\(")

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Unit(TypedDict):
    """One top-level definition, or the statements of a module that run on import."""

    form: str
    names: list[str]
    strings: list[str]
    imports: Imports
    dynamic: bool


class Scan(TypedDict):
    """A file: its units, which of them bind each name, its imports, and the units that run whoever imports it.

    `effects` are imported for nothing but what they do; `bases` are those of each class, `hooks` the classes that learn of
    their subclasses, `asks` the units that ask for them; `reads` says that it reads files, `above` also of packages above.
    """

    units: dict[str, Unit]
    binds: dict[str, list[str]]
    imports: Imports
    stars: list[str]
    roots: list[str]
    effects: list[str]
    tables: dict[str, list[str]]
    bases: dict[str, list[str]]
    hooks: list[str]
    asks: list[str]
    reads: bool
    above: bool


def scan(source: bytes) -> Scan:
    """Read a file. Raises SyntaxError, also where it nests too deeply or holds a null byte."""
    try:
        tree = ast.parse(source)
        return _Reader(tree, bool(_READS.search(source)), bool(_ABOVE.search(source))).result()
    except (RecursionError, MemoryError):
        raise SyntaxError("nested too deeply to be read") from None
    except ValueError as fault:
        raise SyntaxError(str(fault)) from None


class _Reader:
    def __init__(self, tree: ast.Module, reads: bool, above: bool) -> None:
        self.reads, self.above = reads, reads and above
        self.normals: dict[str, Normal] = {}
        self.binds: dict[str, list[str]] = {}
        self.imports: Imports = {}
        self.roots = [MODULE]
        self.tables: dict[str, list[str]] = {}
        self.decorators: dict[str, list[ast.expr]] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        for node in tree.body:
            self._top(node)

    def _top(self, node: ast.stmt) -> None:
        if isinstance(node, IMPORTS):
            self._import(node)
        elif isinstance(node, DEFINITIONS):
            self.decorators.setdefault(node.name, []).extend(node.decorator_list)
            self._unit(node.name, node, [node.name])
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._assignment(node)
        elif type(node).__name__ == "TypeAlias":
            self._unit(node.name.id, node, [node.name.id])  # type: ignore[attr-defined]  # Python 3.12
        elif isinstance(node, ast.If) and _compares(node.test, "__name__"):
            self._unit(MAIN, node, [])
        elif isinstance(node, ast.If) and _named(node.test) == "TYPE_CHECKING" and not node.orelse:
            self._import_all(node)
        elif not (isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))):
            self._import_all(node)
            names = {*_stored(node), *(inner.name for inner in ast.walk(node) if isinstance(inner, DEFINITIONS))}
            self._unit(MODULE, node, sorted(names))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, origin in bindings(node):
            known = self.imports.setdefault(name, [])
            if origin not in known:
                known.append(origin)

    def _import_all(self, node: ast.AST) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, IMPORTS):
                self._import(inner)

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
        names = [name for target in (*targets, *named) for name in _stored(target)]
        if not names and (owner := _owner(targets[0])) in self.normals:
            names = [owner]
        unit = next((self.binds[name][0] for name in names if name in self.binds), names[0] if names else MODULE)
        self._unit(unit, node, names)
        if isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    constants = [inner.value for inner in ast.walk(value) if isinstance(inner, ast.Constant)]
                    self.tables.setdefault(key.value, []).extend(text for text in constants if isinstance(text, str))

    def _unit(self, unit: str, node: ast.stmt, names: list[str]) -> None:
        normal = self.normals.setdefault(unit, Normal())
        normal.put(node)
        normal.text.append("\n")
        for name in names:
            units = self.binds.setdefault(name, [])
            if unit not in units:
                units.append(unit)

    def result(self) -> Scan:
        if MODULE in self.normals:  # what its statements import is bound for the whole module
            self.normals[MODULE].imports = {"": self.normals[MODULE].imports.get("", [])}
        known = self.binds.keys() | self.imports.keys()
        units = {name: self._finish(normal, known) for name, normal in self.normals.items()}
        used = {mention.split(".")[0] for unit in units.values() for mention in unit["names"]}
        unused = self.imports.keys() - used - {"*"}
        effects = [_joined(*origin) for name in ("*", *unused) for origin in self.imports.get(name, ())]
        roots = [MODULE, *(name for name, given in self.decorators.items() if any(self._acts(item) for item in given))]
        return Scan(
            units=units,
            binds={name: found for name, found in self.binds.items() if found != [name]},
            imports={name: origins for name, origins in self.imports.items() if name not in ("", "*")},
            stars=[module for module, _ in self.imports.get("*", [])],
            roots=[name for name in roots if name in units],
            effects=sorted(set(effects)),
            tables=self.tables if "__getattr__" in units else {},
            bases={name: [b for base in node.bases if (b := _dotted(base))] for name, node in self.classes.items()},
            hooks=[name for name, node in self.classes.items() if self._hooks(node)],
            asks=[name for name, normal in self.normals.items() if "__subclasses__" in normal.names],
            reads=self.reads,
            above=self.above,
        )

    def _finish(self, normal: Normal, known: set[str]) -> Unit:
        known = known | normal.imports.keys()
        keep_all = "*" in self.imports
        return Unit(
            form=sha12("".join(normal.text)),
            names=sorted(name for name in normal.names if keep_all or name.split(".")[0] in known),
            strings=sorted(text for text in normal.strings if self.reads or "." in text),
            imports={name: sorted(set(origins)) for name, origins in sorted(normal.imports.items())},
            dynamic=not DYNAMIC.isdisjoint(normal.names),
        )

    def _hooks(self, node: ast.ClassDef) -> bool:
        """Whether a class learns of its subclasses: through a hook of its own or a metaclass, if not one of Python itself."""
        inside = any(getattr(inner, "name", "") == "__init_subclass__" for inner in node.body)
        return inside or any(given.arg == "metaclass" and self._acts(given.value) for given in node.keywords)

    def _acts(self, decorator: ast.expr) -> bool:
        """Whether a decorator may register what it decorates: any but those of Python itself."""
        inner: ast.AST = decorator
        while isinstance(inner, (ast.Call, ast.Attribute)):
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
        name = inner.id if isinstance(inner, ast.Name) else ""
        origins = self.imports.get(name, [])
        return name in self.binds or not all(is_standard(module) for module, _ in origins)


def _stored(node: ast.AST) -> list[str]:
    return [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)]


def _owner(target: ast.expr) -> str:
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _named(test: ast.expr) -> str:
    return test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""


def _compares(test: ast.expr, name: str) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == name


def _dotted(node: ast.expr) -> str:
    """A name with its attributes, without what stands in brackets behind; empty for any other expression."""
    parts: list[str] = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        parts += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _joined(module: str, taken: str) -> str:
    """What an import statement may run: the module, and what is taken from it where that is a module too."""
    if taken in ("", "*"):
        return module
    return module + taken if module.endswith(".") else f"{module}.{taken}"
