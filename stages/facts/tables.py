"""Reads the fact tables of two packages as data: JSON of countryinfo, one literal of periodictable. No code of theirs runs."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

DISSOLVED = ("Serbia and Montenegro",)
"""Listed by countryinfo beside their successors."""


class Country(NamedTuple):
    """One country: English name, capital, and the ISO 4217 code of its currency ("" where it has several or none)."""

    name: str
    capital: str
    currency: str
    population: int


class Element(NamedTuple):
    """One chemical element: name in lower case, symbol, atomic number."""

    name: str
    symbol: str
    number: int


def countries(files: Iterable[Path]) -> list[Country]:
    """Every country of countryinfo's data files that has people and a capital, most populous first."""
    found = []
    for path in files:
        row = json.loads(path.read_text(encoding="utf-8"))
        codes = row.get("currencies") or []
        if row.get("population") and row.get("capital") and row.get("name") not in DISSOLVED:
            currency = codes[0] if len(codes) == 1 else ""
            found.append(Country(row["name"], row["capital"], currency, int(row["population"])))
    return sorted(found, key=lambda country: (-country.population, country.name))


def elements(source: Path) -> list[Element]:
    """The elements of periodictable's core.py, by atomic number, read from the literal assigned to `element_base`.

    Raises ValueError where the file has no such literal.
    """
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        named = (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "element_base"
        )
        if named and isinstance(node, ast.AnnAssign) and node.value is not None:
            table = ast.literal_eval(node.value)
            return [Element(row[0].lower(), row[1], number) for number, row in sorted(table.items()) if number > 0]
    raise ValueError(f"{source.name} assigns no literal to element_base")
