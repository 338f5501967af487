"""A stage that computes on so many threads asks its executor for so many CPUs, unless told otherwise."""

from __future__ import annotations

from typing import Any

from pipeline import Resources


def cpus_by_threads(cls: Any, settings: Any) -> Any:
    """`settings` with `resources` of one CPU for each of its `threads`, where they name no resources.

    For a stage with a setting `threads`, as its validator: ``_cpus = model_validator(mode="before")(cpus_by_threads)``.
    """
    if not isinstance(settings, dict) or "resources" in settings:
        return settings
    threads = settings.get("threads", cls.model_fields["threads"].default)
    return settings | {"resources": Resources(cpus=threads)} if isinstance(threads, int) else settings
