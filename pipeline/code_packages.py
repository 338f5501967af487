"""Which installed distributions provide a module, and in which version; found without importing any of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def site() -> list[list[Any]]:
    """What changes when a distribution comes, goes or moves: the folders of installed packages, with their times."""
    folders = [folder for folder in sys.path if os.path.basename(folder) in ("site-packages", "dist-packages")]
    return [[folder, os.stat(folder).st_mtime_ns] for folder in folders if os.path.isdir(folder)]


def installed(modules: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each top-level module, the distributions that provide it with their versions; none for an unknown module."""
    from importlib import metadata  # slow to import, and seldom needed

    found: dict[str, dict[str, str]] = {}
    providers: Mapping[str, Sequence[str]] | None = None
    for module in modules:
        try:
            found[module] = _version(metadata.distribution(module))
        except metadata.PackageNotFoundError:
            providers = metadata.packages_distributions() if providers is None else providers
            found[module] = {}
            for name in sorted(set(providers.get(module, ()))):
                found[module] |= _version(metadata.distribution(name))
    return found


def _version(distribution: Any) -> dict[str, str]:
    return {str(distribution.metadata["Name"]): str(distribution.version)}
