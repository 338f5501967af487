"""Starts a Service or Model folder as its service.json says: the one place that turns a folder into an engine and an app."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import StageFailed
from stages.service.llama_cpp import LlamaCpp, open_engine

if TYPE_CHECKING:
    from starlette.applications import Starlette


@dataclass(frozen=True)
class Launch:
    """How a folder is served: the settings of its engine and of its app."""

    name: str = "corpusmill"
    context: int = 0
    parallel: int = 4
    threads: int = 1
    default_tokens: int = 128
    max_tokens: int = 512


def read_launch(folder: Path) -> Launch:
    """What service.json in `folder` says; a Model folder has none and is served with the defaults.

    Raises StageFailed for a service.json that this version cannot read.
    """
    path = folder / "service.json"
    if not path.is_file():
        return Launch()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Launch)}
        if found["schema"] != 1 or found["engine"] != "llama.cpp":
            raise ValueError(f"schema {found['schema']}, engine {found['engine']}")
        return Launch(**{name: value for name, value in found.items() if name in known})
    except (ValueError, KeyError, TypeError) as fault:
        raise StageFailed(
            f"{path} cannot be read: {fault}", mend="build it again: corpusmill run … --rebuild serve"
        ) from None


def engine_of(folder: Path, launch: Launch) -> LlamaCpp:
    """The engine that `launch` asks for, which keeps what it read of a conversation for its next turn."""
    return open_engine(folder, threads=launch.threads, parallel=launch.parallel, context=launch.context, reuse=True)


def app_of(folder: Path) -> Starlette:
    """The ASGI app of the service in `folder`, its model loaded."""
    from stages.service.app import create_app

    launch = read_launch(folder)
    return create_app(
        engine_of(folder, launch), launch.name, max_tokens=launch.max_tokens, default_tokens=launch.default_tokens
    )
