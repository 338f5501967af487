"""The keeper: a tiny process above Ray or a server that outlives every other and leaves none behind, whoever is killed.

On Linux it is a subreaper: a process whose parent died becomes its child, so nothing escapes. It needs the standard
library alone.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

PR_SET_CHILD_SUBREAPER = 36
NO_CHANNEL = -1
HOST_SECONDS = 8.0
"""How long the host may take to shut down once the driver has gone."""
REST_SECONDS = 3.0
"""How long what the host left may take to end by itself."""


def keep(channel: int, folder: str, command: Sequence[str]) -> None:
    """Start the host, wait until it ends or standard input closes (the driver closed or died), then end all.

    A host without a channel (NO_CHANNEL) is asked to end by SIGTERM. `folder`, unless it is empty, is removed at the end.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # handlers, unlike SIG_IGN, are not inherited
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    passed = () if channel == NO_CHANNEL else (channel,)
    host = subprocess.Popen(command, pass_fds=passed, stdin=subprocess.DEVNULL)
    for descriptor in passed:
        os.close(descriptor)
    _wait(host)
    if not passed:
        os.killpg(os.getpgrp(), signal.SIGTERM)
    try:
        host.wait(HOST_SECONDS)
    except subprocess.TimeoutExpired:
        host.kill()
    _reap(time.monotonic() + REST_SECONDS)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(host: subprocess.Popen[bytes]) -> None:
    watched = [sys.stdin.fileno()]
    if hasattr(os, "pidfd_open"):
        watched.append(os.pidfd_open(host.pid))
        select.select(watched, [], [])
        return
    while host.poll() is None and not select.select(watched, [], [], 0.2)[0]:
        pass


def _reap(deadline: float) -> None:
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _children() -> list[int]:
    """Living children of this process, from /proc (the fourth field of stat, after the name in parentheses)."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == os.getpid() and state != "Z":
                found.append(int(name))
    return found


if __name__ == "__main__":
    keep(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
