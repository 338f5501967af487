"""Renders pages of Python's own documentation, free of the machine: run as ``python -I pydoc_pages.py FOLDER MODULE…``.

Values of constants, object addresses and the paths of source files are left out, so that two runs give the same bytes.
"""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
import sys
import warnings
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"(?:\s|&nbsp;)at(?:\s|&nbsp;)0x[0-9a-fA-F]+")
FILE_LINK = re.compile(r'(?:<br\s*/?>)?<a href="file:[^"]*">.*?</a>', re.DOTALL)
SET = re.compile(r"(?<==)(?:frozenset\(\{[^{}]*\}\)|\{[^{}:]*\})")
"""A default that is a set, whose order changes from run to run."""


class Pages(pydoc.HTMLDoc):
    """pydoc's own pages, but of a constant only its name: its value may come from the machine."""

    def docother(self, object: Any, name: str | None = None, mod: str | None = None, *ignored: Any) -> str:
        """A constant by its name alone."""
        return f"<strong>{name}</strong>\n" if name else ""


def pages(name: str, classes: bool) -> dict[str, str]:
    """The page of the module `name`, and with `classes` one for each of its public classes, by dotted name."""
    module = importlib.import_module(name)
    shown: dict[str, object] = {name: module}
    if classes:
        public = getattr(module, "__all__", None) or [
            key for key, value in vars(module).items() if _own(name, key, value)
        ]
        found = {key: getattr(module, key, None) for key in sorted(public)}
        shown.update({f"{name}.{key}": value for key, value in found.items() if inspect.isclass(value)})
    renderer = Pages()
    return {dotted: clean(renderer.page(dotted, renderer.document(thing, dotted))) for dotted, thing in shown.items()}


def _own(module: str, name: str, value: object) -> bool:
    return not name.startswith("_") and getattr(value, "__module__", None) == module


def clean(html: str) -> str:
    """The page without addresses, ``file:`` links, the order of sets, and the folders of this Python."""
    html = SET.sub("{…}", ADDRESS.sub("", FILE_LINK.sub("", html)))
    for folder in sorted({sys.prefix, sys.base_prefix, str(Path(pydoc.__file__).parent)}, key=len, reverse=True):
        if folder not in ("/", "/usr", "/usr/local"):  # those are named in the documentation of every machine
            html = html.replace(folder, "…")
    return html


def main(folder: str, *modules: str) -> None:
    """Write ``MODULE.html`` for each module and, for a name with a ``+`` behind it, one for each class; leave out what is not there."""
    warnings.simplefilter("ignore")
    for name in modules:
        try:
            written = pages(name.rstrip("+"), name.endswith("+"))
        except ImportError:
            continue
        for dotted, html in written.items():
            (Path(folder) / f"{dotted}.html").write_text(html, encoding="utf-8", errors="xmlcharrefreplace")


if __name__ == "__main__":
    main(*sys.argv[1:])
