"""Adopts a folder into a store beside it, or says why it was refused."""

from pathlib import Path

import pytest

from pipeline import SourceError
from pipeline.adopt import Adopted, adopt
from pipeline.store import Store


def taken(kind: str, folder: Path) -> Adopted:
    """What is adopted of `folder`, into a store beside it."""
    return adopt(kind, str(folder), Store(str(folder.with_name("store"))), most=1 << 30)


def refused(kind: str, folder: Path) -> str:
    """The fault that the adoption of `folder` ends in; it leaves no file behind."""
    with pytest.raises(SourceError) as caught:
        taken(kind, folder)
    left = [path for path in folder.with_name("store").rglob("*") if path.is_file() and path.name != "lease"]
    assert left == []
    return str(caught.value)
