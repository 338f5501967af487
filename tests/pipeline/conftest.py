"""What the tests of the core begin with: small projects of their own, imported and forgotten again; a store on S3."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.projects import Write

if TYPE_CHECKING:
    from tests.s3 import S3


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files below a folder of its own and returns the class `Mine` of the module asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)

    def write(module: str, **files: str) -> type:
        for name, text in files.items():
            path = root / (name.replace("__", "/").replace("/init", "/__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
                del sys.modules[name]
        importlib.invalidate_caches()
        found: type = importlib.import_module(module).Mine
        return found

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
            del sys.modules[name]


@pytest.fixture
def s3_url(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in a fresh bucket, with its copies in a folder of the test's own and leases that die soon."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.object_lease.PERIOD", 0.2)
    return f"{s3.bucket()}/store"
