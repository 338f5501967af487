"""The command `corpusmill adopt`, which brings in an artifact made elsewhere and says how a dag uses it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, StoreRoot

if TYPE_CHECKING:
    from pipeline.adopt import Adopted

SHOWN = 6
"""Names of files left out that are told one by one."""


def adopt(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="documents, chats, preferences, tokenizer, tokens or model")
    ],
    address: Annotated[
        str, typer.Argument(metavar="PATH|URL", help="a folder, or its fsspec URL; a single file, or its https URL")
    ],
    store: StoreRoot = DEFAULT_STORE,
    licence: Annotated[str, typer.Option(metavar="NAME", help="SPDX name of its licence, kept with its origin")] = "",
    max_gb: Annotated[float, typer.Option(metavar="GB", min=0, help="refuse what is larger")] = 50.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print the digest alone")] = False,
) -> None:
    """Bring in an artifact made elsewhere: checked against its kind, copied, digested, and kept with its origin."""
    from pipeline.adopt import adopt as bring_in
    from pipeline.store import Store

    found = bring_in(kind, address, Store(store), licence=licence, most=int(max_gb * 1e9), tell=_tell)
    print("\n".join([found.manifest.digest] if quiet else _lines(kind, found)))


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def _lines(kind: str, found: Adopted) -> list[str]:
    from pipeline.tables import size

    made = found.manifest
    files = f"{len(made.files):,} file{'s' * (len(made.files) != 1)}"
    first = f"adopted: {kind}, {files}, {size(made.size)}, digest {made.digest[:12]}…  (from {made.origin['from']})"
    if found.known:
        first = f"adopted already: {kind}, {files}, digest {made.digest[:12]}…  (from {made.origin['from']}, {made.origin['when']})"
    lines = [first, *(f"note: {note}" for note in found.notes)]
    if found.left_out:
        more = len(found.left_out) - SHOWN
        lines.append(f"left out: {', '.join(found.left_out[:SHOWN])}" + (f" and {more} more" if more > 0 else ""))
    stage = made.source.rpartition(":")[2]
    return [*lines, f'use it in a dag: {stage}(digest="{made.digest}").out']
