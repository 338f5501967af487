"""A clock for what is measured and decided in seconds: on a machine that is busy, those of the wall say nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest


class Clock:
    """The module `time`, as the modules have it that it is given to: its seconds pass where one of them sleeps, and nowhere else."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def stopped(monkeypatch: pytest.MonkeyPatch, *modules: str) -> Clock:
    """The clock of these modules, from now on to the end of the test."""
    clock = Clock()
    for module in modules:
        monkeypatch.setattr(f"{module}.time", clock)
    return clock
