"""What a call in a worker of a stage ends with, whoever started that worker: a value or a fault, and what was printed."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.job import Job
from pipeline.store import Store

PRINTED_CHARACTERS = 20_000

Told = tuple[Any, CorpusmillError | None, str]
"""What a call ended with: its value, or the fault it raised, and what it printed."""


def told(text: str, call: Callable[[], Any]) -> Told:
    """Call for the job in `text`, and catch what is printed or raised."""
    printed, value, fault = io.StringIO(), None, None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            value = call()
        except CorpusmillError as raised:
            fault = raised
        except Exception as raised:  # a bug is told in the words of a job, its traceback going to the stage's log
            traceback.print_exc()
            job = Job.model_validate_json(text)
            fault = job.told(raised, Store(job.store))
    return value, fault, printed.getvalue()[-PRINTED_CHARACTERS:]


def shard(text: str, folder: str, call: Callable[[Path], Any]) -> Told:
    """Call with a private folder beside `folder`, which appears whole.

    A retry replaces what a worker put there that was killed before its value arrived.
    """
    place = Path(folder)
    private = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))

    def whole() -> Any:
        value = call(private)
        shutil.rmtree(place, ignore_errors=True)
        os.rename(private, place)
        return value

    try:
        return told(text, whole)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def value_of(end: Told) -> Any:
    """The value, once what was printed has been passed on; raises the fault there was."""
    value, fault, printed = end
    sys.stdout.write(printed)
    if fault is not None:
        raise fault
    return value


def as_torchrun(rank: int, workers: int, address: str, port: int) -> None:
    """Give this process torchrun's environment, as worker `rank` of `workers` on one machine."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(workers), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(workers),
        MASTER_ADDR=address, MASTER_PORT=str(port),
    )  # fmt: skip
