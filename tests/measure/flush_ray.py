"""A coverage plugin: a Ray worker ends without running exit handlers, so there a thread saves what was counted.

Coverage loads it in every process it measures; it does something in Ray's workers alone.
"""

import sys
import threading
import time
from typing import Any

import coverage

EVERY_SECONDS = 0.2


def coverage_init(_registry: Any, _options: Any) -> None:
    """Called by coverage as it starts in a process."""
    if any(word.endswith("default_worker.py") for word in sys.orig_argv):
        threading.Thread(target=_flush, name="coverage", daemon=True).start()


def _flush() -> None:
    while True:
        time.sleep(EVERY_SECONDS)
        running = coverage.Coverage.current()
        if running is not None:
            running.save()
