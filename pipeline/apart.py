"""A tracker in a process of its own that gives way to the stages: its imports and its writes take no time from theirs.

It is told in lines of JSON, and ends with the process that tells it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.events import Event
from pipeline.manifest import Manifest
from pipeline.tracker import RunRecord, State

STANDS_BACK = 2
"""Its niceness: where every processor is wanted it gets two thirds of what a stage gets. More would keep the end of a short run
waiting on a busy machine."""
AHEAD = 10_000
"""Events that it may have heard and not yet told; beyond them it stops listening, and who tells it waits."""


class Apart:
    """The tracker `name`, an entry point, for the store at `store`. Its fault comes with the next call that is not an event.

    Until `start`, other calls do nothing.
    """

    def __init__(self, name: str, store: str) -> None:
        self.name, self._store = name, store
        self._process: subprocess.Popen[str] | None = None

    def start(self, record: RunRecord) -> None:
        """Start the process, and tell it. Raises CorpusmillError with the tracker's fault, as `stage` and `finish` do."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, self.name, self._store],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            process_group=0,  # Ctrl-C is for the run, whose end it is still told of
        )
        self._ask("start", record.model_dump_json())

    def event(self, event: Event) -> None:
        """Pass it on; nobody waits for what becomes of it."""
        self._say("event", event.model_dump_json())

    def stage(self, label: str, state: State, manifest: Manifest | None, fault: str = "") -> None:
        """Tell that a stage ended."""
        made = manifest.model_dump_json() if manifest else "null"
        self._ask("stage", json.dumps(label), json.dumps(state), made, json.dumps(fault))

    def finish(self, state: State) -> None:
        """Tell the end, and wait for that of the process."""
        self._ask("finish", json.dumps(state))
        self._close()

    def _say(self, verb: str, *arguments: str) -> None:
        """Write one call; its arguments are JSON."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # the next answer that is waited for tells of its death
            self._process.stdin.write(f"[{', '.join([json.dumps(verb), *arguments])}]\n")
            self._process.stdin.flush()

    def _ask(self, verb: str, *arguments: str) -> None:
        if self._process is None or self._process.stdout is None:
            return
        self._say(verb, *arguments)
        answer = self._process.stdout.readline()
        fault = json.loads(answer) if answer else "its process ended"
        if fault:
            self._close()
            raise CorpusmillError(fault)

    def _close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def trackers_of(name: str, store: Any) -> Sequence[Any]:
    """The trackers that ``--tracker`` names, for this store. Raises UsageError for one that is not there."""
    from pipeline import plugins

    if name == "none":
        return []
    plugins.load("trackers", name, beside=["none"])  # before anything starts
    return [Apart(name, store.url)]


def main(name: str, store: str) -> None:
    """What runs in the process: the tracker, told call by call."""
    from pipeline import plugins

    with contextlib.suppress(OSError):
        os.nice(STANDS_BACK)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    calls: queue.Queue[str] = queue.Queue(AHEAD)
    threading.Thread(target=_hear, args=(calls,), daemon=True).start()
    tracker, fault = None, ""
    while True:
        verb, *arguments = json.loads(calls.get())
        try:
            if not fault:
                tracker = tracker or plugins.load("trackers", name)(store)
                getattr(tracker, verb)(*_meant(verb, arguments))
        except Exception as raised:  # a tracker may raise anything; its run hears of it
            fault = str(raised) or repr(raised)
        if verb != "event":
            print(json.dumps(fault), file=answers, flush=True)


def _meant(verb: str, told: list[Any]) -> list[Any]:
    """The arguments of a call as the tracker takes them."""
    if verb == "start":
        return [RunRecord.model_validate(told[0])]
    if verb == "event":
        return [Event.model_validate(told[0])]
    return [Manifest.model_validate(one) if isinstance(one, dict) else one for one in told]


def _hear(calls: queue.Queue[str]) -> None:
    """Pass on what comes in; end this process once nobody is there to say more."""
    above = os.getppid()
    for call in sys.stdin:
        while os.getppid() == above:
            with contextlib.suppress(queue.Full):
                calls.put(call, timeout=1)
                break
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
