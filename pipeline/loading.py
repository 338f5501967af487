"""Finds a dag by its name in dags/ or as ``path/to/file.py:function``, and calls it with the dials of the command line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.dag import Dag
from pipeline.errors import CorpusmillError, DagError, UsageError
from pipeline.messages import nearest
from pipeline.withheld import holds_password

DagFunction = Callable[..., Dag]


def load(name: str, dials: Sequence[str]) -> tuple[str, Dag, dict[str, Any]]:
    """The dag's short name, the dag itself with the pins of its sources.lock, and its dials.

    Raises UsageError for a name or dial that does not fit.
    """
    function = find(name)
    values = parse_dials(function, dials)
    lock = lock_of(function)
    dag = _drawn(function, values)
    if lock.exists():
        from pipeline import sources

        dag = sources.pinned(dag, sources.read(lock))
    return function.__name__, dag, values


def draw(name: str, dials: Sequence[str]) -> tuple[Dag, Path]:
    """The dag as it is written, without the pins of a lock, and where its lock lies."""
    function = find(name)
    return _drawn(function, parse_dials(function, dials)), lock_of(function)


def lock_of(function: DagFunction) -> Path:
    """Where the pins of a dag's sources lie: beside the file that it is written in."""
    return Path(inspect.getfile(function)).resolve().with_name("sources.lock")


def _drawn(function: DagFunction, values: dict[str, Any]) -> Dag:
    with _told(Path(inspect.getfile(function))):
        dag = function(**values)
    if not isinstance(dag, Dag):
        raise UsageError(f"{function.__name__} returns {dag!r}, not a Dag", mend="end it with return Dag(…)")
    return dag


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What breaks in the user's file is told in one line that names the place."""
    try:
        yield
    except DagError as fault:
        raise DagError(f"{_where(path, fault)}: {fault.message}", mend=fault.mend) from fault
    except CorpusmillError:
        raise
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        said = ".".join([fault.title, *map(str, first["loc"])]) + f" = {first['input']!r}: {first['msg']}"
        raise UsageError(f"{_where(path, fault)}: {said}", mend="mend the file, then run again") from fault
    except ModuleNotFoundError as fault:
        mend = f"install the package that brings {fault.name}, or mend the import"
        raise UsageError(f"{_where(path, fault)}: there is no module {fault.name!r}", mend=mend) from fault
    except Exception as fault:
        said = fault.msg if isinstance(fault, SyntaxError) else str(fault)
        mend = "mend the file, then run again"
        raise UsageError(f"{_where(path, fault)}: {type(fault).__name__}: {said}".rstrip(": "), mend=mend) from fault


def _where(path: Path, fault: Exception) -> str:
    """The line of the user's file at which it broke; of another file where that cannot be read as Python."""
    if isinstance(fault, SyntaxError) and fault.lineno:
        return f"{Path(fault.filename or path).name}:{fault.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(path)]
    return f"{path.name}:{lines[-1]}" if lines else path.name


def find(name: str) -> DagFunction:
    """The dag function that `name` stands for."""
    if name.endswith(".py") or ".py:" in name:
        path, _, attribute = name.partition(".py")
        return _in_file(Path(path + ".py"), attribute.lstrip(":"))
    known = names()
    if name not in known:
        guess = nearest(name, known)
        hint = f"did you mean {guess!r}?" if guess else "there are: " + ", ".join(known)
        raise UsageError(f"no dag is called {name!r}; {hint}", mend="or give your own as path/to/file.py:function")
    return _function(importlib.import_module(f"dags.{name}"), name, name)


def names() -> list[str]:
    """The dags that come with Corpusmill."""
    spec = importlib.util.find_spec("dags")
    folders = list(spec.submodule_search_locations or []) if spec else []
    modules = [path for folder in folders for path in Path(folder).glob("[a-z]*.py")]
    return sorted(path.stem for path in modules if f"def {path.stem}(" in path.read_text(encoding="utf-8"))


def _in_file(path: Path, attribute: str) -> DagFunction:
    if not path.is_file():
        raise UsageError(f"no such file: {path}", mend="give the path of a Python file, then :function")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(
            str(path.parent)
        )  # last: a neighbour of the file never stands in for a library, here or on a worker
    with _told(path):
        module = importlib.import_module(path.stem)
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise UsageError(f"the name {path.stem!r} is taken by another module", mend=f"rename {path.name}")
    return _function(module, attribute or path.stem, str(path.name))


def _function(module: ModuleType, attribute: str, where: str) -> DagFunction:
    function = getattr(module, attribute, None)
    if not inspect.isfunction(function):
        known = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        ]
        guess = nearest(attribute, known)
        others = f"it has: {', '.join(known)}" if known else "define one"
        raise UsageError(f"{where} has no function {attribute!r}", mend=f"did you mean {guess!r}?" if guess else others)
    return function


def parse_dials(function: DagFunction, given: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words as keyword arguments of `function`, checked against its annotations."""
    parameters = inspect.signature(function).parameters
    with _told(Path(inspect.getfile(function))):
        hints = typing.get_type_hints(function)
    values: dict[str, Any] = {}
    for word in given:
        name, separator, text = word.partition("=")
        if not separator:
            raise UsageError(f"{word!r} is not a dial", mend=f"write it as name=value; {_dials(function)}")
        if name not in parameters:
            guess = nearest(name, list(parameters))
            hint = f"did you mean {guess!r}?" if guess else _dials(function)
            raise UsageError(f"{function.__name__} has no dial {name!r}; {hint}")
        if name in values:
            raise UsageError(f"the dial {name} is given twice", mend="give it once")
        if holds_password(text):
            raise UsageError(
                f"the dial {name} is an address with a password in it, and dials go on record",
                mend="leave the password out, and let the stage read it from the environment",
            )
        values[name] = _value(function, name, text, hints.get(name, str))
    missing = [
        name for name, one in parameters.items() if one.default is inspect.Parameter.empty and name not in values
    ]
    if missing:
        raise UsageError(f"{function.__name__} needs the dial {missing[0]!r}", mend=f"add {missing[0]}=…")
    return values


def _value(function: DagFunction, name: str, text: str, hint: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    for parse in (adapter.validate_json, adapter.validate_python):
        try:
            return parse(text)
        except ValidationError:
            continue
    wanted = getattr(hint, "__name__", str(hint))
    raise UsageError(
        f"the dial {name} of {function.__name__} wants {wanted}, but was given {text!r}", mend=_dials(function)
    )


def _dials(function: DagFunction) -> str:
    parameters = inspect.signature(function).parameters.values()
    return "its dials are: " + (", ".join(f"{one.name}={one.default}" for one in parameters) or "none")
