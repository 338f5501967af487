"""Statements and imports as the normal form sees them: what does nothing is left out, and imports have no order."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

IMPORTS = (ast.Import, ast.ImportFrom)

Imports = dict[str, list[tuple[str, str]]]
"""Bound name → (module as written, with leading dots; the name taken from it, empty for the module itself)."""


class ImportGroup(ast.stmt):
    """Neighbouring imports, whose order says nothing."""

    def __init__(self, group: list[ast.Import | ast.ImportFrom]) -> None:
        super().__init__()
        self.group = group


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a text and nothing else."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that do something: no docstrings, no pass; neighbouring imports as one group."""
    group: list[ast.Import | ast.ImportFrom] = []
    for node in body:
        if isinstance(node, IMPORTS):
            group.append(node)
            continue
        if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and is_text(node.value)):
            continue
        if group:
            yield ImportGroup(group)
            group = []
        yield node
    if group:
        yield ImportGroup(group)


def bindings(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
    """What an import statement binds: name → (module, name taken from it). A star binds ``*``."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, (alias.name, "")
            else:
                yield alias.name.split(".")[0], (alias.name.split(".")[0], "")
                if "." in alias.name:
                    yield "", (alias.name, "")
    elif node.module != "__future__":
        for alias in node.names:
            yield alias.asname or alias.name, ("." * node.level + (node.module or ""), alias.name)


def is_standard(module: str) -> bool:
    """Whether an absolute module name belongs to Python itself."""
    return module.split(".")[0] in sys.stdlib_module_names
