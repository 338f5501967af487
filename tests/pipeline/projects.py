"""Small projects for the tests of the code digest."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.code import code_record

Write = Callable[..., type]
"""Writes the modules given by name, imports the one asked for and returns its class `Mine`."""


def names(stage: type) -> list[str]:
    return list(code_record(stage).definitions)


PACKAGE = {
    "work__init": "from work.one import first\nfrom work.two import second\n",
    "work__one": "def first():\n    return LIMIT\n\nLIMIT = 1\n",
    "work__two": "def second():\n    return 2\n",
}
