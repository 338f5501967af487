"""The pictures of a run among its artifacts, drawn again while it goes on: seldom enough that drawing costs next to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from infra.mlflow_fields import PREFIX, tags
from infra.mlflow_pictures import write

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

FAULT = f"{PREFIX}pictures"
"""Tag of a run that says why not all of its pictures could be written the last time."""
PAUSE = 30.0  # seconds between two drawings, at least
TIMES = 100.0  # and so many times as long as the last one took: a slow place for artifacts is written to more seldom


class Gallery:
    """Draws with `draw`, given whether the run is over, into the MLflow run `run`; `fault` is what it says of the last time."""

    def __init__(
        self, client: MlflowClient, run: str, draw: Callable[[bool], Mapping[str, str]], fault: str = ""
    ) -> None:
        self._client, self._run, self._draw, self._fault = client, run, draw, fault
        self._moved, self._next = True, 0.0
        self.names: list[str] = []

    def moved(self) -> None:
        """Say that there is something new to draw."""
        self._moved = True

    @property
    def due(self) -> bool:
        """Whether there is something new, and enough time has passed."""
        return self._moved and time.monotonic() >= self._next

    def draw(self, *, over: bool) -> None:
        """Draw and write them; what cannot be written is told in a tag until it can be."""
        began = time.monotonic()
        self.names, fault = write(self._client, self._run, self._draw(over))
        if fault:
            self._client.set_tag(self._run, FAULT, tags(pictures=fault)[FAULT])
        elif self._fault:
            self._client.delete_tag(self._run, FAULT)
        self._fault, self._moved = fault, False
        self._next = time.monotonic() + max(PAUSE, TIMES * (time.monotonic() - began))
