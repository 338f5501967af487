"""What a container on Modal is made of: packages at the versions of our constraints, our code, the user's. Nothing secret.

Code is not part of the image: it is mounted when a container starts, so that an edit rebuilds nothing.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.travels import PACKAGES, ROOT, stays_below, travelling

EXTRAS = ("data", "train", "serve", "s3")
USER = "/corpusmill/user"
CONSTRAINTS = "/corpusmill/constraints.txt"


def _left_out_of(folder: Path) -> Any:
    """Which of what lies below `folder` is not shipped, of which Modal gives paths relative to it, or whole ones."""

    def ignore(path: Path) -> bool:
        return stays_below(folder, path if path.is_absolute() else folder / path)

    return ignore


class Shipped:
    """The folders that jobs import from, as they will lie in a container: those of the project are always there."""

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, path: str, modules: Sequence[str]) -> None:
        """Ship the folder `path`; of the project's own, no more than the top-level packages in `modules`."""
        if Path(path) != ROOT:
            self._give(path, path)
            return
        for name in {module.partition(".")[0] for module in modules} - set(PACKAGES):
            if (ROOT / name).is_dir():
                self._give(path, str(ROOT / name), f"/{name}")

    def _give(self, path: str, folder: str, below: str = "") -> None:
        place = self._names.setdefault(path, f"{USER}/{len(self._names)}")
        self.folders[folder] = f"{place}{below}"

    def holds(self, other: Shipped) -> bool:
        """Whether a container with this has all that `other` needs."""
        return all(self.folders.get(folder) is not None for folder in other.folders)

    def place(self, path: str) -> str | None:
        """Where the import path `path` is in a container; None for the project's own, which is there by itself."""
        return self._names.get(path)

    def digest(self) -> str:
        """What stands for the code that is shipped: names and bytes of every file of it."""
        import hashlib

        total = hashlib.sha256()
        for folder, at in sorted({**{str(ROOT / name): name for name in PACKAGES}, **self.folders}.items()):
            for path in travelling(Path(folder)):
                total.update(f"{at}/{path.relative_to(folder)}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
        total.update((ROOT / "constraints.txt").read_bytes())
        return total.hexdigest()[:10]


def packages() -> list[str]:
    """What is installed into the image: the core and what stages run on, in the words of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return sorted({*project["dependencies"], *(one for name in EXTRAS for one in extras[name])})


def image(shipped: Shipped) -> Any:
    """The image of every function, with this machine's version of Python."""
    import modal

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    made = modal.Image.debian_slim(python_version=python)
    made = made.add_local_file(ROOT / "constraints.txt", CONSTRAINTS, copy=True)
    made = made.uv_pip_install(*packages(), extra_options=f"--constraints {CONSTRAINTS}")
    for name in PACKAGES:
        made = made.add_local_python_source(name, ignore=_left_out_of(ROOT / name))
    for folder, at in shipped.folders.items():
        made = made.add_local_dir(folder, at, ignore=_left_out_of(Path(folder)))
    return made
