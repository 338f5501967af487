"""Processes as the tests look at them: one that ends while it is looked at is gone, and a zombie has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import psutil


def below(pid: int | None = None) -> list[psutil.Process]:
    """What runs below a process, however deep; below this one without `pid`."""
    return psutil.Process(pid or os.getpid()).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """Whether it runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def named(processes: Iterable[psutil.Process], name: str) -> list[psutil.Process]:
    """Those of a program that is called `name`."""
    found = []
    for process in processes:
        try:
            if process.name() == name:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def command(process: psutil.Process) -> str:
    """Its command line; empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def left(processes: Iterable[psutil.Process], seconds: float) -> list[str]:
    """What still runs of them after `seconds` at most, each as its number and command line."""
    waited, deadline = list(processes), time.monotonic() + seconds
    while (waited := [process for process in waited if alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [f"{process.pid} {command(process)}" for process in waited]
