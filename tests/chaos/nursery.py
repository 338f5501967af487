"""A warm process from which the drivers to be killed are forked: each runs the dag inline, in a process of its own.

It takes one JSON line for each driver, and answers with the driver's process id, then with how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

from tests.chaos import faults

SLOW = ("stages", "torch", "numpy", "scipy", "pyarrow", "tokenizers", "datasketch", "datatrove")
"""Packages whose import takes long, and starts neither thread nor event loop: a fork may come after it."""


def drive(order: dict[str, Any]) -> int:
    """Run the dag in the store that is named, with a fault if there is one; 0 where every artifact was made."""
    from pipeline.executor import Inline
    from pipeline.run import run
    from pipeline.store import Store
    from tests.chaos.dag import chaos

    if order["fault"]:
        faults.install(order["fault"], order["nth"], order["mark"])
    dag = chaos(texts=order["texts"], steps=order["steps"])
    outcome = run(dag, Store(order["store"]), name="chaos", dials={}, executor=Inline)
    for label, fault in outcome.faults.items():
        print(f"{label}: {fault!r}", flush=True)
    return 0 if outcome.ok else 1


def serve() -> None:
    """Fork a driver for each line of standard input. The first tells what is to be imported before all others."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            code = 2
            try:
                code = drive(order)
                slow = [name for name in sys.modules if name.partition(".")[0] in SLOW] if order["teach"] else []
                os.write(writing, json.dumps(slow).encode())
            except BaseException as fault:
                print(f"driver: {fault!r}", flush=True)
            finally:
                os._exit(code)
        os.close(writing)
        print(json.dumps(pid), file=answers, flush=True)
        with os.fdopen(reading, "rb") as taught:
            names = json.loads(taught.read() or b"[]")
        status = os.waitpid(pid, 0)[1]
        for name in names:
            with contextlib.suppress(Exception):  # what cannot be imported alone comes with another
                importlib.import_module(name)
        print(json.dumps(os.waitstatus_to_exitcode(status)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
