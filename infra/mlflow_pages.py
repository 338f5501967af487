"""The pages of one run, put together from what the tracker knows at the moment: of the run, of each stage, of a version."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from infra import mlflow_fields as fields
from infra import mlflow_page as page
from infra.mlflow_child import Child
from infra.mlflow_holdings import held, holdings
from infra.mlflow_lineage import Lineage
from infra.mlflow_pictures import FUNNEL, GRAPH, LOSS, PAGE, hops_of
from infra.mlflow_version_page import version_page
from pipeline.lineage import above
from pipeline.manifest import Manifest
from pipeline.store import Store, place_of
from pipeline.tracker import RunRecord

HELD = 3500  # characters of the table of sources on the page of a stage


class Pages:
    """The texts for the run `record`, whose MLflow run is `parent`; `children` and `states` are the tracker's own."""

    def __init__(
        self,
        record: RunRecord,
        experiment: str,
        parent: str,
        children: Mapping[str, Child],
        states: Mapping[str, str],
        lineage: Lineage,
    ) -> None:
        self._record, self._experiment, self._parent = record, experiment, parent
        self._children, self._states, self._lineage = children, states, lineage
        self._holds: dict[str, str] = {}

    def run(self, state: str, champion: str = "", pictures: Collection[str] = ()) -> str:
        """The parent's page: every stage in the order of the dag, those not begun as the plan saw them; then the pictures."""
        rows = []
        for label, drawn in self._record.stages.items():
            child = self._children.get(label)
            if child is None:
                shown = self._states.get(label, drawn.state if state == "running" else "not run")
                rows.append(page.row_of(label, self._record, shown, "", None))
            else:
                spent = child.last - child.began
                rows.append(page.row_of(label, self._record, child.state, child.run, child.manifest, spent))
        images = [
            page.image(PurePosixPath(name).stem, self._parent, name)
            for name in (GRAPH, FUNNEL, LOSS)
            if name in pictures
        ]
        if PAGE in pictures:
            images.append(page.artifact_link("the graph to click in", self._experiment, self._parent, PAGE))
        return page.run_page(self._record, state, self._experiment, rows, champion, images)

    def stage(self, label: str) -> str:
        """The page of a stage's run: what it was made from and made into, as far as those runs are known."""
        child, drawn = self._children[label], self._record.stages.get(label)
        upstream = dict.fromkeys(drawn.inputs.values()) if drawn else ()
        downstream = [name for name, other in self._record.stages.items() if label in other.inputs.values()]
        made, artifact = child.manifest, ""
        if made is not None:
            artifact = f"`{fields.place_of(self._record.store, made)}`"
            model = self._lineage.seen(made)
            artifact += f" · {page.model_link('its model in MLflow', self._experiment, model)}" if model else ""
        return page.stage_page(
            drawn.stage if drawn else label,
            drawn.reason if drawn else "",
            page.run_link(self._record.run, self._experiment, self._parent),
            [self.link(name) for name in upstream],
            [self.link(name) for name in downstream],
            self._held(made) if made is not None else "",
            artifact,
            child,
        )

    def _held(self, made: Manifest) -> str:
        """What an attempt holds of each source, as far as the manifests of this run tell; it never changes."""
        if made.attempt not in self._holds:
            hops = hops_of(self._children, made)
            self._holds[made.attempt] = held(holdings(hops[place_of(made)], hops, self._linked), HELD)
        return self._holds[made.attempt]

    def version(self, made: Manifest, run: str) -> str:
        """The page of a version, which the MLflow run `run` made or found; in another run of the dag, where it is not of this."""
        mine = any(child.run == run for child in self._children.values())
        whole = (
            page.run_link(f"**{self._record.dag}** {self._record.run}", self._experiment, self._parent) if mine else ""
        )
        return version_page(made, above(Store(self._record.store), made), self._linked, whole)

    def links(self) -> dict[str, str]:
        """The address of every stage's run below MLflow's own, by label."""
        return {label: page.run_address(self._experiment, child.run) for label, child in self._children.items()}

    def link(self, label: str) -> str:
        """A stage of this run, as a link where it has begun."""
        return page.run_link(label, self._experiment, self._children[label].run if label in self._children else "")

    def _linked(self, made: Manifest) -> str:
        child = self._children.get(made.label)
        if child is not None and child.manifest is not None and child.manifest.attempt == made.attempt:
            return self.link(made.label)
        return page.run_link(made.label, *self._lineage.builder(made))
