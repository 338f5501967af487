"""Sources outside the store, and sources.lock, which pins each of them to the content that it had when it was written.

The lock lies beside the file that the dag is written in, and is made to be committed with it. A pin fills the place of one
that a source of the dag does not have: it is identity as if it were written there.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from pydantic import BaseModel

from pipeline.artifact import Artifact
from pipeline.dag import Dag
from pipeline.errors import UsageError
from pipeline.stage import Stage, leaves

HEAD = "# Written by `corpusmill sources update DAG`, to be committed: what each source held then.\n"


@runtime_checkable
class Source(Protocol):
    """What a stage reads from outside the store: a frozen group of settings with an address and, perhaps, a pin."""

    at: str
    sha256: str

    def now(self, *, fetch: bool) -> str:
        """The digest of what is there, in the form of `sha256`; empty where it would have to be fetched and must not.

        Raises SourceError where nothing is there.
        """
        ...


def sources(dag: Dag) -> dict[str, dict[str, Source]]:
    """Every source of the dag by its address, and by the label and place of the stage that reads it."""
    found: dict[str, dict[str, Source]] = {}
    for label, stage in dag.stages.items():
        for place, leaf in leaves(stage):
            if isinstance(leaf, Source):
                found.setdefault(leaf.at, {})[f"{label}.{place}"] = leaf
    return found


def unpinned(dag: Dag) -> dict[str, Source]:
    """The sources that the dag itself does not pin, by address: those that a lock is for."""
    found = {at: [one for one in places.values() if not one.sha256] for at, places in sources(dag).items()}
    return {at: bare[0] for at, bare in sorted(found.items()) if bare}


def pinned(dag: Dag, pins: Mapping[str, str]) -> Dag:
    """The same dag, with a pin of `pins` in every source that has none of its own."""
    if not pins.keys() & unpinned(dag).keys():
        return dag
    made: dict[str, Stage[Any]] = {}

    def replaced(place: str, leaf: Any) -> Any:
        if isinstance(leaf, Source) and not leaf.sha256 and leaf.at in pins:
            return cast(BaseModel, leaf).model_copy(update={"sha256": pins[leaf.at]})
        if isinstance(leaf, Artifact) and leaf.producer is not None:
            return made[leaf.producer.label].out
        return leaf

    for label, stage in dag.stages.items():
        made[label] = stage.with_leaves(replaced)
    return Dag(*(made[target.label] for target in dag.targets), summary=dag.summary)


def read(path: Path) -> dict[str, str]:
    """The pins in the lock at `path`, by address; none where there is no such file. Raises UsageError for anything else."""
    import tomllib

    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("source", [])
        pins = {str(entry["at"]): str(entry["sha256"]) for entry in entries}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UsageError(f"{path} cannot be read: {fault}", mend=_MEND) from None
    wrong = [at for at, pin in pins.items() if not re.fullmatch("[0-9a-f]{64}", pin)]
    if wrong or len(pins) < len(entries):
        raise UsageError(f"{path} pins {wrong[0] if wrong else 'a source'} to no digest, or twice", mend=_MEND)
    return pins


_MEND = "mend it, or delete it and write it anew: corpusmill sources update DAG"


def write(path: Path, pins: Mapping[str, str]) -> None:
    """Write the lock at `path`, whole or not at all, sorted by address. Raises UsageError where it cannot be written."""
    entries = [f"\n[[source]]\nat = {_quoted(at)}\nsha256 = {_quoted(pins[at])}\n" for at in sorted(pins)]
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".sources-", delete=False, encoding="utf-8"
        ) as file:
            file.write(HEAD + "".join(entries))
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as fault:
        raise UsageError(
            f"{path} cannot be written: {fault.strerror}", mend="see that its folder may be written"
        ) from None


def _quoted(text: str) -> str:
    """A TOML basic string: as in JSON, but for one letter."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
