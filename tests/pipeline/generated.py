"""Packages made at random, whose definitions reach one another in every way Python knows; each has a number that can be edited.

A definition refers only to later ones, and a module only to itself and later modules, so that every package can be imported
and run: what `Mine().run()` returns holds the numbers of all that is reached.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

TOP = ("name", "renamed", "module as", "module", "from package", "relative", "star", "again", "package again", "tried")
LAZY = ("name", "renamed", "module as", "module", "from package", "relative", "again", "package again")
CALLED = ("function", "default", "data", "lambda", "decorated", "shadowed", "generator")
KINDS = (*CALLED, "class", "child", "constant", "table", "attribute", "tuple")
MODULES = ("work.m0", "work.m1", "work.sub.m2", "work.sub.m3", "work.sub.deep.m4", "work.m5")


@dataclass
class Made:
    """One definition: what kind it is, where it stands, its number and what it refers to, each by a way of importing."""

    name: str
    module: str
    kind: str
    number: int
    lazy: bool = False
    """Whether what it refers to is imported inside of it."""
    refers: list[tuple[Made, str]] = field(default_factory=list)

    @property
    def data(self) -> str:
        """The data file that a definition of kind "data" reads."""
        return f"{self.module.replace('.', '/')}_{self.name}.txt"

    @property
    def shown(self) -> str:
        """How a drift names it."""
        return self.data if self.kind == "data" else f"{self.module.replace('.', '/')}.py:{self.name}"


def package(seed: int, size: int = 14) -> list[Made]:
    """The definitions of one package; the first is the stage."""
    rng = random.Random(seed)
    places = sorted(rng.choices(MODULES, k=size))
    places.sort(key=MODULES.index)
    made = [Made(f"d{n}", place, rng.choice(KINDS), n * 100) for n, place in enumerate(places)]
    for position, one in enumerate(made):
        one.lazy = one.kind in ("function", "class", "generator", "shadowed") and rng.random() < 0.7
        later = made[position + 1 :]
        if one.kind == "child" and not any(other.kind in ("class", "child") for other in later):
            one.kind = "class"
        for other in rng.sample(later, min(len(later), rng.choice((0, 1, 1, 2)))):
            one.refers.append((other, rng.choice(LAZY if one.lazy else TOP)))
        if one.kind == "child":
            base = rng.choice([other for other in later if other.kind in ("class", "child")])
            one.refers.insert(0, (base, rng.choice(TOP)))
    stage = Made("Mine", "work.mine", "stage", 7, lazy=True)
    stage.refers = [(other, rng.choice(LAZY)) for other in rng.sample(made, 2)]
    return [stage, *made]


def reached(made: list[Made]) -> set[str]:
    """The names of all definitions that the stage reaches."""
    found, pending = set(), [made[0]]
    while pending:
        one = pending.pop()
        if one.name not in found:
            found.add(one.name)
            pending += [other for other, _ in one.refers]
    return found


def files(made: list[Made]) -> dict[str, str]:
    """The files of the package by path."""
    written = {f"{folder}/__init__.py": "" for folder in ("work", "work/sub", "work/sub/deep")}
    for module in dict.fromkeys(one.module for one in made):
        mine = [one for one in made if one.module == module]
        lines = ["import functools", "from pathlib import Path"]
        for one in mine:
            lines += [line for other, way in one.refers if not one.lazy for line in _import(one, other, way)]
        for one in reversed(mine):
            lines += _definition(one, mine)
        written[module.replace(".", "/") + ".py"] = "\n".join(lines) + "\n"
    for one in made:
        if one.kind == "data":
            written[one.data] = str(one.number)
        target = f"from {one.module} import {one.name}\n"
        written[f"work/again_{one.name}.py"] = target
        written[f"work/pack_{one.name}/__init__.py"] = f"from .inner import *\n__all__ = ['{one.name}']\n"
        written[f"work/pack_{one.name}/inner.py"] = target
    return written


def _import(one: Made, other: Made, way: str) -> list[str]:
    if one.module == other.module:
        return []
    parent, _, last = other.module.rpartition(".")
    package, up = one.module.split(".")[:-1], ""
    for length in range(len(package), 0, -1):
        if other.module.startswith(".".join(package[:length]) + "."):
            up = "." * (len(package) - length + 1) + other.module[len(".".join(package[:length])) + 1 :]
            break
    return {
        "name": [f"from {other.module} import {other.name}"],
        "renamed": [f"from {other.module} import {other.name} as {other.name}_renamed"],
        "module as": [f"import {other.module} as {last}_as"],
        "module": [f"import {other.module}"],
        "from package": [f"from {parent} import {last}"],
        "relative": [f"from {up} import {other.name}"],
        "star": [f"from {other.module} import *"],
        "again": [f"from work.again_{other.name} import {other.name}"],
        "package again": [f"from work.pack_{other.name} import {other.name}"],
        "tried": [
            "try:",
            f"    from {other.module} import {other.name}",
            "except ImportError:",
            f"    {other.name} = None",
        ],
    }[way]


def _named(one: Made, other: Made, way: str) -> str:
    last = other.module.rpartition(".")[2]
    ways = {"renamed": f"{other.name}_renamed", "module as": f"{last}_as.{other.name}"}
    ways |= {"module": f"{other.module}.{other.name}", "from package": f"{last}.{other.name}"}
    return other.name if one.module == other.module else ways.get(way, other.name)


def _value(one: Made, other: Made, way: str) -> str:
    name = _named(one, other, way)
    if other.kind in CALLED:
        return f"{name}()"
    return f"{name}().value()" if other.kind in ("class", "child") else f"list({name})"


def _definition(one: Made, mine: list[Made]) -> Iterator[str]:
    refers = one.refers[1:] if one.kind == "child" else one.refers
    values = ", ".join([f"{one.number}", *(_value(one, other, way) for other, way in refers)])
    lazy = [line for other, way in one.refers if one.lazy for line in _import(one, other, way)]
    body = [*lazy, f"return [{values}]"]
    forms: dict[str, Callable[[], list[str]]] = {
        "function": lambda: [f"def {one.name}():", *_in(body)],
        "generator": lambda: [f"def {one.name}():", *_in(lazy), f"    return [x for x in [{values}] if x is not None]"],
        "default": lambda: [
            f"def {one.name}(given=[{values}], /, *, more=({one.number},)):",
            "    return [given, more]",
        ],
        "shadowed": lambda: [
            f"def {one.name}({_spare(one, mine)}=3):",
            *_in([*lazy, f"return [{_spare(one, mine)}, {values}]"]),
        ],
        "data": lambda: [
            f"def {one.name}():",
            f"    return [Path(__file__).with_name('{one.data.split('/')[-1]}').read_text(), {values.partition(', ')[2]}]",
        ],
        "lambda": lambda: [f"{one.name} = lambda: [{values}]"],
        "decorated": lambda: ["@functools.lru_cache(maxsize=None)", f"def {one.name}():", *_in(body)],
        "class": lambda: [
            f"class {one.name}:",
            f"    held: int = {one.number}",
            "    def value(self):",
            *_in(_in([*lazy, f"return [self.held, {values.partition(', ')[2]}]"])),
        ],
        "child": lambda: [
            f"class {one.name}({_named(one, *one.refers[0])}):",
            "    def value(self):",
            f"        return [{values}, super().value()]",
        ],
        "attribute": lambda: [
            f"class {one.name}_holder:",
            f"    held = [{values}]",
            f"{one.name} = {one.name}_holder.held",
        ],
        "constant": lambda: [f"{one.name} = [{values}]"],
        "tuple": lambda: [f"{one.name}, {one.name}_other = [{values}], 1"],
        "table": lambda: [
            f"{one.name} = {{'a': 0}}",
            f"{one.name}['a'] = [{values}]",
            f"{one.name} = list({one.name}.values())",
        ],
        "stage": lambda: [f"class {one.name}:", "    def run(self):", *_in(_in(body))],
    }
    yield from forms[one.kind]()


def _spare(one: Made, mine: list[Made]) -> str:
    """The name of a definition of the same module that `one` does not refer to: here it is an argument."""
    taken = {one.name, *(other.name for other, _ in one.refers)}
    return next((other.name for other in mine if other.name not in taken), "spare")


def _in(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]
