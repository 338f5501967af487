"""The orchestrator: typed stages, their identity, the store, the plan and the run. It knows nothing of text or models.

A stage author needs only what is re-exported here; it stays quick to import (no fsspec, rich or typer).
"""

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
