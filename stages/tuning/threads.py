"""A stage that computes on so many threads asks its executor for so many CPUs, unless told otherwise."""

from __future__ import annotations

from typing import Any

from pipeline import Resources


def with_cpus(settings: dict[str, Any], default: int) -> dict[str, Any]:
    """`settings` with `resources` of one CPU for each of its `threads`, where they name no resources."""
    threads = settings.get("threads", default)
    known = "resources" in settings or not isinstance(threads, int)
    return settings if known else settings | {"resources": Resources(cpus=threads)}
