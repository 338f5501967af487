"""What the tests of the house style share: the project's sources, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "stages", "infra", "dags")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path below the root, its dotted name and its tree."""

    name: str
    module: str
    text: str
    tree: ast.Module

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def imports(self) -> Iterator[tuple[str, list[str]]]:
        """Every imported module with the names taken from it, those for type checkers alone left out."""
        for node in _running(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, []) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: write imports absolute"
                yield node.module or "", [alias.name for alias in node.names]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _running(child)


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file below `folders`, in order."""
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        text = path.read_text(encoding="utf-8")
        found.append(Source(name, module, text, ast.parse(text, name)))
    assert found, f"no Python file below {folders}"
    return tuple(found)


@cache
def documents() -> tuple[Path, ...]:
    """The pages that people read, and the files that set the project up."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.t*ml"), *ROOT.glob("*.txt")]
    return (*sorted(pages), ROOT / "Makefile", ROOT / ".ci" / "run")


def stage_modules() -> list[Source]:
    """The modules directly in stages/ that define a stage."""
    return [source for source in sources("stages") if source.name.count("/") == 1 and _stages_of(source)]


def _stages_of(source: Source) -> list[ast.ClassDef]:
    classes = (node for node in source.tree.body if isinstance(node, ast.ClassDef))
    return [node for node in classes if any(ast.unparse(base).startswith("Stage[") for base in node.bases)]
