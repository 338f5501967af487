"""Renders pages of Python's own documentation, free of the machine: run as ``python -I pydoc_pages.py FOLDER MODULE…``.

Values of constants, object addresses and the paths of source files are left out, so that two runs give the same bytes.
"""

from __future__ import annotations

import importlib
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


def page(name: str) -> str:
    """The page of the module `name`."""
    module = importlib.import_module(name)
    pages = Pages()
    return clean(pages.page(pydoc.describe(module), pages.document(module, name)))


def clean(html: str) -> str:
    """The page without addresses, ``file:`` links, the order of sets, and the folders of this Python."""
    html = SET.sub("{…}", ADDRESS.sub("", FILE_LINK.sub("", html)))
    for folder in sorted({sys.prefix, sys.base_prefix, str(Path(pydoc.__file__).parent)}, key=len, reverse=True):
        if folder not in ("/", "/usr", "/usr/local"):  # those are named in the documentation of every machine
            html = html.replace(folder, "…")
    return html


def main(folder: str, *modules: str) -> None:
    """Write ``MODULE.html`` for each module; one that this Python lacks is named on standard output."""
    warnings.simplefilter("ignore")
    for name in modules:
        try:
            html = page(name)
        except ImportError:
            print(name)
            continue
        (Path(folder) / f"{name}.html").write_text(html, encoding="utf-8", errors="xmlcharrefreplace")


if __name__ == "__main__":
    main(*sys.argv[1:])
