"""What MLflow has already of a run that it is told of again, so that nothing is written twice and nothing known gets lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infra.mlflow_child import Child

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking.client import MlflowClient


class Known:
    """The MLflow runs of the run `run` in `experiment`, by label; the parent's label is empty.

    A server that is slow to answer may have been asked for one of them twice: the one that was not used is deleted.
    """

    def __init__(self, client: MlflowClient, experiment: str, run: str) -> None:
        self._runs: dict[str, Run] = {}
        token = None
        while token is None or token:
            page = client.search_runs(
                [experiment], f"tags.`corpusmill.run` = '{run}'", max_results=1000, page_token=token
            )
            for found in page:
                label = found.data.tags.get("corpusmill.label", "")
                worse, self._runs[label] = sorted([found, self._runs.get(label, found)], key=_told)
                if worse is not self._runs[label]:
                    client.delete_run(worse.info.run_id)
            token = page.token or ""

    def run(self, label: str) -> str:
        """The id of the run of a label, or an empty string."""
        return str(self._runs[label].info.run_id) if label in self._runs else ""

    def tag(self, label: str, name: str) -> str:
        """The value of a tag, or an empty string."""
        return str(self._runs[label].data.tags.get(name, "")) if label in self._runs else ""

    def child(self, label: str, moment: float) -> Child | None:
        """The run of a stage as far as it was told; None where MLflow has none. It began at `moment`, or before."""
        if label not in self._runs:
            return None
        found = self._runs[label]
        began = min(moment, found.info.start_time / 1000)
        child = Child(found.info.run_id, "running", began, max(moment, (found.info.end_time or 0) / 1000))
        child.values.update(found.data.metrics)
        child.tail.extend(found.data.tags.get("corpusmill.log", "").splitlines())
        child.heard = False
        return child

    def params(self, label: str, values: Mapping[str, str]) -> dict[str, str]:
        """Those of `values` that MLflow has not: it takes each once, and refuses another value."""
        known = self._runs[label].data.params if label in self._runs else {}
        return {name: value for name, value in values.items() if name not in known}

    def has(self, label: str, metric: str, value: float) -> bool:
        """Whether `value` is the last of a metric."""
        return label in self._runs and self._runs[label].data.metrics.get(metric) == value


def _told(run: Run) -> tuple[int, int]:
    """How much a run was told: one that was made and never used has the least."""
    return len(run.data.tags) + len(run.data.params) + len(run.data.metrics), -run.info.start_time
