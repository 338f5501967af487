"""Which files of a folder are code that travels to other machines, whoever takes them there; data travels through the store.

What is hidden, made by a tool, large, data or a secret by its name, an environment or a store stays: a rule errs on that side.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Where this project lies."""
PACKAGES = ("pipeline", "stages", "infra", "dags")
"""What of it travels."""
LARGE_BYTES = 8 * 2**20
"""A file above this is data, whatever it is called."""
MADE = ("__pycache__", "node_modules", "site-packages", "venv")
MARKS = ("pyvenv.cfg", ".runs")
"""What tells a virtual environment, or a store, from a folder of code."""
CODE = (".py", ".pyi")
SECRET = re.compile(
    r"\.(pem|key|p12|pfx|kdbx)$|(^|[._-])(secret|credential|token|password)s?([._-]|$)|^id_(rsa|dsa|ecdsa|ed25519)",
    re.I,
)
DATA = re.compile(r"\.(parquet|arrow|safetensors|gguf|bin|pt|ckpt|npy|zst|gz|zip|tar|sqlite|db|so|pyc)$", re.I)


def stays(path: Path) -> bool:
    """Whether a file or folder stays where it is, for what it is called or for what it is; of a folder, with all that it holds."""
    name = path.name
    if name.startswith(".") or name in MADE or name.endswith(".egg-info"):
        return True
    if path.is_dir():
        return any((path / mark).exists() for mark in MARKS)
    if path.suffix.lower() not in CODE and (SECRET.search(name) or DATA.search(name)):
        return True
    return not path.is_file() or path.stat().st_size > LARGE_BYTES


def stays_below(folder: Path, path: Path) -> bool:
    """Whether `path`, somewhere below `folder`, stays: for its own sake, or for that of a folder it lies in."""
    below = path.relative_to(folder).parts
    return any(stays(folder.joinpath(*below[:depth])) for depth in range(1, len(below) + 1))


def travelling(folder: Path) -> Iterator[Path]:
    """The files of a folder that travel, always in the same order."""
    for place, below, found in os.walk(folder):
        below[:] = sorted(one for one in below if not stays(Path(place) / one))
        yield from (path for path in (Path(place) / one for one in sorted(found)) if not stays(path))
