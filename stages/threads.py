"""A stage that computes on so many threads asks its executor for so many CPUs, unless told otherwise."""

from __future__ import annotations

from typing import Any

from pipeline import Resources


def cpus_by_threads(cls: Any, settings: Any) -> Any:
    """`settings` with one CPU in `resources` for each of its `threads`, where they name no number of CPUs.

    For a stage with a setting `threads`, as its validator: ``_cpus = model_validator(mode="before")(cpus_by_threads)``.
    """
    if not isinstance(settings, dict):
        return settings
    asked, threads = (
        settings.get("resources", Resources()),
        settings.get("threads", cls.model_fields["threads"].default),
    )
    if not isinstance(asked, Resources) or "cpus" in asked.model_fields_set or not isinstance(threads, int):
        return settings
    return settings | {"resources": asked.model_copy(update={"cpus": threads})}
