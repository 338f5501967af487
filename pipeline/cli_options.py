"""Options that more than one command has."""

from __future__ import annotations

from typing import Annotated

import typer

DagName = Annotated[str, typer.Argument(metavar="DAG", help="a name in dags/, or path/to/file.py:function")]
Dials = Annotated[
    list[str] | None, typer.Argument(metavar="[DIAL=VALUE]...", help="dials of the dag, for example steps=800")
]
DEFAULT_STORE = ".corpusmill"
StoreRoot = Annotated[str, typer.Option("--store", envvar="CORPUSMILL_STORE", help="root of all artifacts")]
TrackerName = Annotated[str, typer.Option("--tracker", help="who is told: mlflow, or none")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
