"""The code that travels to another machine: the project's packages and the folders that this process imports from, as one zip.

Installed packages stay, and so does what is hidden, made by tools, large, or by its name a secret: data travels through the store.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.named import is_installed
from pipeline.tables import size

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "infra", "dags")
ROOTS = "roots"
"""The folder in the zip that holds the user's folders, by number."""
LARGE_BYTES = 8 * 2**20
"""A file above this is data, and stays."""
MOST_BYTES = 64 * 2**20
MADE = ("__pycache__", "node_modules")
MARKS = ("pyvenv.cfg", ".runs")
"""What tells a virtual environment, or a store, from a folder of code."""
SECRET = re.compile(
    r"\.(pem|key|p12|pfx|kdbx)$|(^|[._-])(secret|credential|token|password)s?([._-]|$)|^id_(rsa|dsa|ecdsa|ed25519)",
    re.I,
)
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def roots() -> list[Path]:
    """The folders, other than the project's own, from which this process has imported what nobody installed; as in sys.path."""
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    used = {place for _, place in _imported() if not any(place.is_relative_to(one) for one in standard)} - {PROJECT}
    known = [place for place in map(Path.resolve, map(Path, sys.path)) if place in used]
    return list(dict.fromkeys([*known, *sorted(used)]))


def _imported() -> Iterator[tuple[str, Path]]:
    """For every module that lies in a file and is not installed: its top-level name, and the folder it is found in by that."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and isinstance(file, str) and file.endswith(".py") and not is_installed(file):
            path, top = Path(file).resolve(), name.partition(".")[0]
            above = name.count(".") + (path.name == "__init__.py")
            place = path.parents[min(above, len(path.parents) - 1)]
            if path.is_relative_to(place / top) or path == place / f"{top}.py":
                yield top, place


class _Load:
    """What is packed so far: files by their names in the zip, and how much lies in each folder."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self._sizes: Counter[Path] = Counter()

    def add(self, name: str, path: Path) -> None:
        """Take one file. Raises UsageError where it is too much."""
        self.files[name] = path
        self._sizes[path.parent] += path.stat().st_size
        if self._sizes.total() > MOST_BYTES:
            folder, most = self._sizes.most_common(1)[0]
            raise UsageError(
                f"the code to be sent to other machines is more than {size(MOST_BYTES)}, and {size(most)} of it lie in {folder}",
                mend="keep dags and stages in a folder of their own, without data",
            )

    def add_below(self, name: str, folder: Path) -> None:
        """Take what of a folder is code."""
        for place, below, found in os.walk(folder):
            below[:] = sorted(one for one in below if not stays(Path(place) / one))
            for path in (Path(place) / one for one in sorted(found)):
                if not stays(path):
                    self.add(f"{name}/{path.relative_to(folder).as_posix()}", path)


def stays(path: Path) -> bool:
    """Whether a file or folder is not sent: hidden, made by a tool, large, a secret by its name, an environment or a store."""
    name = path.name
    if name.startswith(".") or name in MADE or name.endswith((".pyc", ".egg-info")):
        return True
    if path.is_dir():
        return any((path / mark).exists() for mark in MARKS)
    return (
        not path.is_file() or path.stat().st_size > LARGE_BYTES or (path.suffix != ".py" and bool(SECRET.search(name)))
    )


def pack(target: Path) -> None:
    """Write the zip `target`. Raises UsageError where the code is more than MOST_BYTES.

    The project's packages lie at its top, so that whoever unpacks it imports from there; `unpacked` names the rest. The
    same code makes the same bytes.
    """
    load = _Load()
    beside = {top for top, place in _imported() if place == PROJECT}
    for name in sorted({*PACKAGES, *beside}):
        load.add_below(name, PROJECT / name)
    for path in sorted(PROJECT.glob("*.py")):
        load.add(path.name, path)
    for number, root in enumerate(roots()):
        load.add_below(f"{ROOTS}/{number:03d}", root)
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in sorted(load.files.items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.external_attr = (0o755 if os.access(path, os.X_OK) else 0o644) << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 1)


def place_of(folder: Path) -> str:
    """Where in the zip `folder` lies; empty where it does not."""
    for number, root in enumerate(roots()):
        if folder.is_relative_to(root):
            return f"{ROOTS}/{number:03d}/{folder.relative_to(root).as_posix()}"
    return ""


def unpacked(folder: Path) -> list[str]:
    """The user's folders below the unpacked zip, in the order in which they stood in sys.path."""
    place = folder / ROOTS
    return [str(place / name) for name in sorted(os.listdir(place))] if place.is_dir() else []
