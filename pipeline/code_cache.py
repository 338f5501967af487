"""A JSON file in the user's cache folder: loaded when first asked, written atomically when something was learnt."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pipeline.cache import cache_folder


class Cache:
    """One section per name in `sections`, each a dict. What cannot be read is as good as empty."""

    def __init__(self, name: str, *sections: str) -> None:
        self._name, self._sections = name, sections
        self._folder: Path | None = None
        self._held: dict[str, dict[str, Any]] = {}
        self.dirty = False

    def section(self, name: str) -> dict[str, Any]:
        """The dict of that name; set `dirty` after changing it."""
        folder = cache_folder()
        if folder is not self._folder:
            self._folder, self._held = folder, self._read(folder / self._name)
        return self._held[name]

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        try:
            kept = json.loads(path.read_bytes())
            return {name: dict(kept[name]) for name in self._sections}
        except (OSError, ValueError, KeyError, TypeError):
            return {name: {} for name in self._sections}

    def save(self) -> None:
        """Write what was learnt; a folder that cannot be written costs only time."""
        if not self.dirty or self._folder is None:
            return
        self.dirty = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(json.dumps(self._held, separators=(",", ":")))
                os.replace(partial, self._folder / self._name)
            except OSError:
                os.unlink(partial)
        except OSError:
            pass
