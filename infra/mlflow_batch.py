"""Metric points, params and tags of many runs, gathered and written in batches as large as MLflow takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

LARGEST = 1000  # metrics in one of MLflow's batches
MANY = 100  # params, or tags, in one batch
HELD = 100_000  # points of one run kept while MLflow cannot be reached; then the oldest go

Point = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""


class Batch:
    """Gathers for `client`; `flush` writes, and what could not be written stays for the next flush."""

    def __init__(self, client: MlflowClient, every: float = 8.0) -> None:
        self._client = client
        self._every = every
        self._last = time.monotonic()
        self._points: dict[str, list[Point]] = {}
        self._params: dict[str, dict[str, str]] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def point(self, run: str, point: Point) -> None:
        """Add one point of a metric."""
        points = self._points.setdefault(run, [])
        points.append(point)
        if len(points) > HELD:
            del points[: len(points) - HELD]

    def params(self, run: str, values: Mapping[str, str]) -> None:
        """Add params; MLflow never changes one that it has."""
        self._params.setdefault(run, {}).update(values)

    def tags(self, run: str, values: Mapping[str, str]) -> None:
        """Set tags; only the last value of each is written."""
        self._tags.setdefault(run, {}).update(values)

    @property
    def due(self) -> bool:
        """Whether enough time has passed, or enough has gathered, for a flush to be worth its transaction."""
        many = any(len(points) >= LARGEST for points in self._points.values())
        return many or time.monotonic() - self._last >= self._every

    def flush(self) -> None:
        """Write everything."""
        self._last = time.monotonic()
        for run in list({**self._points, **self._params, **self._tags}):
            while self._write(run):
                pass

    def _write(self, run: str) -> bool:
        """Write one batch of `run`; whether there was any."""
        from mlflow.entities import Metric, Param, RunTag

        points = self._points.get(run, [])[: LARGEST - 2 * MANY]
        params = dict(list(self._params.get(run, {}).items())[:MANY])
        tags = dict(list(self._tags.get(run, {}).items())[:MANY])
        if not points and not params and not tags:
            for held in (self._points, self._params, self._tags):
                held.pop(run, None)
            return False
        self._client.log_batch(
            run,
            [Metric(key, value, stamp, step) for key, value, stamp, step in points],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )
        del self._points.get(run, [])[: len(points)]
        for written, pending in ((params, self._params.get(run, {})), (tags, self._tags.get(run, {}))):
            for key in written:
                del pending[key]
        return True
