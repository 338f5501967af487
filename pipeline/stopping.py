"""How a person stops a run: Ctrl-C, a closed terminal or a polite kill end it cleanly, a second one at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def stoppable(again: Callable[[], str]) -> Iterator[None]:
    """Let a signal end what is inside as KeyboardInterrupt, then the process in code 130 and a line with the command `again`.

    The second signal waits for nothing: what was committed is kept all the same, and what was started elsewhere stands
    below a keeper that ends it.
    """

    def last() -> str:
        return f"stopped; what was committed is kept. To go on: {again()}"

    def stop(number: int, frame: FrameType | None) -> None:
        for each in heeded:
            signal.signal(each, leave)
        raise KeyboardInterrupt

    def leave(number: int, frame: FrameType | None) -> None:
        if sys.stdout.isatty():
            os.write(1, SHOW_CURSOR)
        os.write(2, f"{last()}\n".encode())
        os._exit(INTERRUPTED)

    heeded = [each for each in SIGNALS if signal.getsignal(each) != signal.SIG_IGN]  # nohup stays nohup
    before = {each: signal.signal(each, stop) for each in heeded}
    try:
        yield
    except KeyboardInterrupt:
        print(last(), file=sys.stderr, flush=True)
        for each in heeded:
            signal.signal(each, lambda *_: os._exit(INTERRUPTED))
        sys.exit(INTERRUPTED)
    for each, handler in before.items():
        signal.signal(each, handler)
