"""The orchestrator: typed stages, their identity, the store, the plan and the run. It knows nothing of text or models.

A stage author needs only what is re-exported here. Each name is imported when it is first asked for, so that
``corpusmill --help`` pays for none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.artifact import Artifact
    from pipeline.context import Context
    from pipeline.dag import Dag
    from pipeline.errors import CorpusmillError, DagError, KeyFault, SourceError, StageFailed, StoreError, UsageError
    from pipeline.resources import Resources
    from pipeline.stage import Field, Settings, Stage

__all__ = [
    "Artifact",
    "Context",
    "CorpusmillError",
    "Dag",
    "DagError",
    "Field",
    "KeyFault",
    "Resources",
    "Settings",
    "SourceError",
    "Stage",
    "StageFailed",
    "StoreError",
    "UsageError",
]

_ERRORS = ("CorpusmillError", "DagError", "KeyFault", "SourceError", "StageFailed", "StoreError", "UsageError")
_PLACES = {
    "Artifact": "artifact",
    "Context": "context",
    "Dag": "dag",
    "Field": "stage",
    "Resources": "resources",
    "Settings": "stage",
    "Stage": "stage",
    **dict.fromkeys(_ERRORS, "errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_PLACES[name]}"), name)
