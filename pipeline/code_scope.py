"""Which names inside a function are its own, so that an argument is not taken for the module's definition of that name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline.code_imports import IMPORTS, bindings

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def local_names(node: ast.AST) -> frozenset[str]:
    """The names that belong to a function or a comprehension; what an import inside binds is left to the import."""
    if isinstance(node, COMPREHENSIONS):
        return frozenset(name for each in node.generators for name in _bound(each.target))
    if not isinstance(node, FUNCTIONS):
        return frozenset()
    given = node.args
    arguments = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    arguments |= {one.arg for one in (given.vararg, given.kwarg) if one is not None}
    if isinstance(node, ast.Lambda):
        return frozenset(arguments)
    inside = [inner for statement in node.body for inner in _own(statement)]
    bound = {name for inner in inside for name in _bound(inner)}
    imported = {name for inner in inside if isinstance(inner, IMPORTS) for name, _ in bindings(inner)}
    elsewhere = {name for inner in inside if isinstance(inner, (ast.Global, ast.Nonlocal)) for name in inner.names}
    return frozenset((arguments | bound) - imported - elsewhere)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run in the scope of `node`'s function: not those of functions, classes and comprehensions inside it."""
    yield node
    if isinstance(node, COMPREHENSIONS):
        yield from (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
    elif not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        for inner in ast.iter_child_nodes(node):
            yield from _own(inner)


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that one node binds; those of a target, with all that is in it."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Starred)):
        for inner in ast.iter_child_nodes(node):
            yield from _bound(inner)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, NAMED) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
