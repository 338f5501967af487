"""Options that more than one command has."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = ".corpusmill"
StoreRoot = Annotated[str, typer.Option("--store", envvar="CORPUSMILL_STORE", help="root of all artifacts")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
