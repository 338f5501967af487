"""Bridges of network namespaces: what a test needs of the command `ip`, and whether this machine has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys

NETS = 2_500
"""Of which a test takes one: from 10.213.0 on, with 250 in each 10.x."""


def a_bridge() -> tuple[str, str]:
    """A bridge that is made now, and the first three bytes of its network: of tests that run at once each has its own."""
    for number in (start % NETS for start in range(os.getpid(), os.getpid() + NETS)):
        with contextlib.suppress(subprocess.CalledProcessError):  # another has it
            ip("link", "add", f"cm{number}", "type", "bridge")
            return f"cm{number}", f"10.{213 + number // 250}.{number % 250}"
    raise AssertionError("no bridge can be made")


def ip(*words: str) -> None:
    """Run the command `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    """Why this machine can have no network namespaces; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("unshare")):
        return "network namespaces need Linux, root, and the commands ip and unshare"
    name = f"cm-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
        ip("link", "add", name, "type", "bridge")
        ip("link", "del", name)
        subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=True, capture_output=True)
    except subprocess.CalledProcessError as fault:
        return f"no network namespace can be made: {fault.stderr.decode().strip()}"
    return ""
