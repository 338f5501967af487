"""The code that travels to another machine: the project's packages and the folders that this process imports from, as one zip.

Installed packages stay, and so does what `infra.travels` says.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from infra.travels import PACKAGES, ROOT, travelling
from pipeline.errors import UsageError
from pipeline.named import is_installed
from pipeline.tables import size

ROOTS = "roots"
"""The folder in the zip that holds the user's folders, by number."""
MOST_BYTES = 64 * 2**20
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def roots() -> list[Path]:
    """The folders, other than the project's own, from which this process has imported what nobody installed; as in sys.path."""
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    used = {place for _, place in _imported() if not any(place.is_relative_to(one) for one in standard)} - {ROOT}
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
        for path in travelling(folder):
            self.add(f"{name}/{path.relative_to(folder).as_posix()}", path)


def pack(target: Path) -> None:
    """Write the zip `target`. Raises UsageError where the code is more than MOST_BYTES.

    The project's packages lie at its top, so that whoever unpacks it imports from there; `unpacked` names the rest. The
    same code makes the same bytes.
    """
    load = _Load()
    beside = {top for top, place in _imported() if place == ROOT}
    for name in sorted({*PACKAGES, *beside}):
        load.add_below(name, ROOT / name)
    for path in sorted(ROOT.glob("*.py")):
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
