"""Reads one module's source: the normal form of each top-level definition and the names, imports and files it uses.

The normal form is the same on every Python from 3.11 on, and knows no comment, docstring, formatting or order of imports.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from typing import Any

from pipeline.code_imports import ImportGroup, Imports, bindings, is_text, statements
from pipeline.code_scope import COMPREHENSIONS, local_names

MODULE, MAIN = "<module>", "<main>"
"""The units of the statements that run on import, and of the block behind ``if __name__ == "__main__"``."""

DYNAMIC = {"globals", "eval", "exec", "sys.modules", "__subclasses__", "__init_subclass__"}
"""Names through which code can reach anything in its own module."""

_FILE = re.compile(r"(?!.*\.\.)[\w][\w\-. ]*(/[\w\-. ]+)*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+(:\w+)?")
_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}

_FIELDS: dict[str, tuple[str, ...]] = {}


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    if kind.__name__ not in _FIELDS:
        _FIELDS[kind.__name__] = tuple(sorted(name for name in kind._fields if name not in _SKIPPED))
    return _FIELDS[kind.__name__]


class Normal:
    """Writes the normal form of syntax trees, gathering what they mention on the way."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.names: set[str] = set()
        self.strings: set[str] = set()
        self.imports: Imports = {}
        self._quoted = False
        self._local: list[frozenset[str]] = []

    def put(self, value: Any) -> None:
        """Append the normal form of a node, a list or a constant; None and empty fields are left out."""
        if isinstance(value, ast.AST):
            special = getattr(self, "_" + type(value).__name__, None)
            if special is not None:
                special(value)
            else:
                self._node(value)
        elif isinstance(value, list):
            self.text.append("[")
            for item in statements(value) if value and isinstance(value[0], ast.stmt) else value:
                self.put(item)
                self.text.append(",")
            self.text.append("]")
        elif type(value) is int:
            self.text.append(hex(value))  # repr refuses very long ones
        else:
            self.text.append(ascii(value))  # repr of text follows the Unicode tables of the Python at hand

    def _node(self, node: ast.AST) -> None:
        local = local_names(node)
        self.text.append(type(node).__name__ + "(")
        for field in _fields(type(node)):
            value = getattr(node, field, None)
            if value is None or value == []:
                continue
            self.text.append(field + "=")
            if field in ("annotation", "returns"):
                before, self._quoted = self._quoted, True
                self.put(value)
                self._quoted = before
            elif local and field in ("body", "elt", "key", "value", "generators"):
                self._local.append(local)
                self.put(value)
                self._local.pop()
            else:
                self.put(value)
        self.text.append(")")
        if isinstance(node, COMPREHENSIONS):  # what is gone through first is looked up outside of it
            outside = Normal()
            outside._local = self._local
            outside.put(node.generators[0].iter)
            self.names |= outside.names

    def _name(self, name: str, path: str = "") -> None:
        if not any(name in local for local in self._local):
            self.names.add(f"{name}.{path}" if path else name)

    def _Name(self, node: ast.Name) -> None:
        self.text.append(f"Name({node.id})")
        if isinstance(node.ctx, ast.Load):
            self._name(node.id)

    def _Global(self, node: ast.Global) -> None:
        self.names.update(node.names)
        self._node(node)

    def _FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name == "__init_subclass__":
            self.names.add(node.name)
        self._node(node)

    def _Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = [node.attr]
        inner = node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        path = ".".join(reversed(parts))
        self.text.append(f"Attribute({path},")
        if isinstance(inner, ast.Name):
            self._name(inner.id, path)
            self.text.append(inner.id)
        else:
            self.put(inner)
        self.text.append(")")
        self.names.update(DYNAMIC.intersection(parts) & {"__subclasses__"})

    def _Constant(self, node: ast.Constant) -> None:
        value = node.value
        self.text.append("Constant(")
        self.put(value)
        self.text.append(")")
        if isinstance(value, str):
            self._mention(value)
            if self._quoted:
                self._annotation(value)

    def _mention(self, value: str) -> None:
        if 0 < len(value) <= 200 and (_FILE.fullmatch(value) or _DOTTED.fullmatch(value)):
            self.strings.add(value)

    def _annotation(self, value: str) -> None:
        try:
            tree = ast.parse(value, mode="eval")
        except (SyntaxError, ValueError):
            return
        quoted = Normal()
        quoted._local = self._local
        quoted.put(tree.body)
        self.names |= quoted.names

    def _BinOp(self, node: ast.BinOp) -> None:
        parts: list[str] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div) and is_text(left.right):
            parts.append(left.right.value)  # type: ignore[attr-defined]  # a constant, by _is_text
            left = left.left
        self._path(reversed(parts))
        self._node(node)

    def _Call(self, node: ast.Call) -> None:
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [given.value for given in node.args if isinstance(given, ast.Constant) and isinstance(given.value, str)]
        if called in ("joinpath", "join") and len(texts) > 1:
            self._path(texts)
        if called in ("import_module", "__import__") and texts:
            self.imports.setdefault("", []).append((texts[0], ""))
        elif called in ("import_module", "__import__") and node.args:
            package, dot, _ = _beginning(node.args[0]).rpartition(".")
            if dot:
                self.strings.add(f"{package}.*")
        self._node(node)

    def _path(self, parts: Iterable[str]) -> None:
        """Mention a path that is put together; how far up it begins is not told."""
        self._mention("/".join(part for part in parts if part != ".."))

    def _JoinedStr(self, node: ast.JoinedStr) -> None:
        self.text.append("JoinedStr(")
        literal = ""
        for part in node.values:  # adjacent literals are merged by some Pythons and not by others
            if isinstance(part, ast.Constant):
                literal += str(part.value)
                continue
            self.text.append(ascii(literal))
            literal = ""
            self.put(part)
        self.text.append(ascii(literal) + ")")

    def _imports(self, group: list[ast.Import | ast.ImportFrom]) -> str:
        bound = [(name, *origin) for node in group for name, origin in bindings(node)]
        for name, module, taken in bound:
            self.imports.setdefault(name, []).append((module, taken))
        return ";".join(sorted({f"{name}={module}:{taken}" for name, module, taken in bound}))

    def _ImportGroup(self, node: ImportGroup) -> None:
        self.text.append(f"Import({self._imports(node.group)})")


def _beginning(node: ast.expr) -> str:
    """The constant text with which a text that is put together begins."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return _beginning(node.values[0])
    if isinstance(node, ast.BinOp):
        return _beginning(node.left).partition("%")[0]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _beginning(node.func.value).partition("{")[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sha12(text: str) -> str:
    """The first twelve hex digits of the sha256 of `text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
