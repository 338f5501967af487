"""What the tests of object stores share."""

from __future__ import annotations

from pipeline.files import open_root
from pipeline.object_files import ObjectFiles


def files(url: str) -> ObjectFiles:
    """The files of an object store."""
    opened = open_root(url)
    assert isinstance(opened, ObjectFiles)
    return opened
