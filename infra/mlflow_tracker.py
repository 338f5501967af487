"""Mirrors a run into MLflow while it runs: a parent for the dag's run, a child for each stage, lineage, the champion.

Everything goes through one client and in batches; MLflow is imported at `start`, in the thread that calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra import mlflow_fields as fields
from infra import mlflow_page as page
from infra import mlflow_pictures as pictures
from infra import mlflow_registry as registry
from infra.mlflow_batch import Batch
from infra.mlflow_begin import common_tags, find_experiment
from infra.mlflow_child import Child
from infra.mlflow_gallery import FAULT, Gallery
from infra.mlflow_home import connect, home, is_server
from infra.mlflow_known import Known
from infra.mlflow_lineage import Lineage
from infra.mlflow_pages import Pages
from pipeline.events import Event
from pipeline.manifest import Manifest
from pipeline.tracker import RunRecord, State

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

NOTE, PARENT = "mlflow.note.content", "mlflow.parentRunId"
STATUS = {
    "cached": "FINISHED",
    "finished": "FINISHED",
    "failed": "FAILED",
    "skipped": "KILLED",
    "stopped": "KILLED",
    "killed": "KILLED",
}


class MlflowTracker:
    """The tracker for the store at `store_root`. Told of the same run again, it adds nothing twice.

    Until `start` has succeeded every other call does nothing, so that a dead MLflow costs one warning, not thousands.
    """

    name = "mlflow"

    def __init__(self, store_root: str) -> None:
        self._root = store_root
        self._client: MlflowClient | None = None
        self._children: dict[str, Child] = {}
        self._states: dict[str, str] = {}
        self._note, self._turned = "", False

    def start(self, record: RunRecord) -> None:
        """Open the parent run. Raises StoreError or MLflow's own error where the records cannot be written."""
        place = home(self._root)
        client = connect(place)
        self._record = record
        self._experiment = find_experiment(client, record.dag, place.artifacts)
        self._lineage = Lineage(client, self._experiment, record.store)
        self._batch = Batch(client)
        self._common = common_tags(record)
        self._known = Known(client, self._experiment, record.run)
        about = {**self._common, **fields.tags(dag=record.dag, dials=record.dials, store=record.store)}
        self._parent = self._known.run("") or self._create(client, record.run, record.started, about)
        self._pages = Pages(record, self._experiment, self._parent, self._children, self._states, self._lineage)
        self._gallery = Gallery(client, self._parent, self._draw, self._known.tag("", FAULT))
        self._client = client
        self._last = record.started
        self._gallery.draw(over=False)
        self._batch.params(self._parent, self._known.params("", fields.params(record.dials)))
        self._describe("running")
        self._batch.flush()

    def event(self, event: Event) -> None:
        """Take a state, metrics, progress or log line; written with the next batch."""
        if self._client is None:
            return
        self._last = max(self._last, event.time)
        if event.kind == "state" and event.data.get("state") in ("started", "resumed"):
            child = self._open(event.label, event.time)
            if child.state != "running":  # it had failed, and is tried again
                child.state = "running"
                self._states.pop(event.label, None)
                self._client.update_run(child.run, status="RUNNING")
            child.starts += event.data["state"] == "started"
            resumed, key = event.data["state"] == "resumed" or None, event.data.get("key")
            self._batch.tags(child.run, fields.tags(state="running", starts=child.starts, resumed=resumed, key=key))
            self._turned = True
            self._gallery.moved()
        known = self._children.get(event.label)
        if known is not None:
            known.last = max(known.last, event.time)
            if known.take(self._batch, event):
                self._gallery.moved()
            if event.kind == "state" and known.failures:
                tags = fields.tags(failures=len(known.failures), earlier_fault=known.failures[-1][0])
                self._batch.tags(known.run, tags)
                self._tell_page(event.label)
        self._flush_if_due()

    def stage(self, label: str, state: State, manifest: Manifest | None, fault: str = "") -> None:
        """Close the stage's run with what its manifest says, or with its fault and the end of its log."""
        if self._client is None:
            return
        self._states[label] = state
        if state == "skipped":
            return
        child = self._open(label, self._last)
        child.state, child.manifest, child.ended = state, manifest, fault
        ended = (
            child.last if manifest is None or manifest.run != self._record.run else max(child.last, manifest.created)
        )
        tags = fields.tags(state=state, fault=fault, log="\n".join(child.tail)[-4000:] if fault else None)
        if manifest is not None:
            for key, value in fields.manifest_metrics(manifest).items():
                if child.values.get(key) != value:
                    child.point(self._batch, key, value, ended, child.steps.get(key, 0))
            self._lineage.write(child.run, manifest, state == "finished")
            tags |= fields.manifest_tags(manifest)
            child.built = self._built(manifest, tags) if state == "cached" else ""
        else:
            self._lineage.given(child.run, self._inputs(label))
        self._last = max(self._last, ended)
        self._batch.tags(child.run, tags)
        self._tell_page(label)
        self._client.set_terminated(child.run, STATUS[state], int(max(ended, child.began) * 1000))
        self._turned = True
        self._gallery.moved()
        self._flush_if_due()

    def _inputs(self, label: str) -> dict[str, tuple[str, Manifest]]:
        """Label and manifest behind each input of a stage, as far as this run has them."""
        drawn, found = self._record.stages.get(label), dict[str, tuple[str, Manifest]]()
        for field, upstream in drawn.inputs.items() if drawn else ():
            made = self._children[upstream].manifest if upstream in self._children else None
            if made is not None:
                found[field] = upstream, made
        return found

    def _flush_if_due(self) -> None:
        """Write what has gathered once there is enough of it, with the run's page where a stage began or ended, and its pictures."""
        if not self._batch.due:
            return
        if self._gallery.due:
            self._gallery.draw(over=False)
            self._turned = True
        if self._turned:
            self._describe("running")
        self._batch.flush()

    def _built(self, manifest: Manifest, tags: dict[str, str]) -> str:
        experiment, run = self._lineage.builder(manifest)
        tags |= fields.tags(cached="true", built_by_run=run)
        return page.run_link(f"{manifest.run}", experiment, run)

    def finish(self, state: State) -> None:
        """Close every run that is still open, register the champion of a run that succeeded, and write everything."""
        if self._client is None:
            return
        for label, child in self._children.items():
            if label not in self._states:  # the run was cut short while this stage ran
                child.state = "killed" if state == "killed" else "stopped"
                self._lineage.given(child.run, self._inputs(label))
                self._batch.tags(child.run, fields.tags(state=child.state))
                self._client.set_terminated(child.run, "KILLED", int(max(child.last, child.began) * 1000))
            for key, value in (child.manifest.metrics if child.manifest else {}).items():
                point = (fields.name(f"{label}/{key}"), value, int(self._last * 1000), 0)
                if not self._known.has("", point[0], value):
                    self._batch.point(self._parent, point)
        for label in self._children:
            self._tell_page(label)
        self._batch.tags(self._parent, fields.tags(state=state))
        self._gallery.draw(over=True)
        self._describe(state)
        self._batch.flush()
        self._client.set_terminated(self._parent, STATUS[state], int(self._last * 1000))
        if state in ("finished", "cached"):
            self._crown(state)

    def _crown(self, state: State) -> None:
        child = self._children.get(registry.final_model(self._record))
        if self._client is None or child is None or child.manifest is None:
            return
        manifest, record, lineage = child.manifest, self._record, self._lineage

        name, version = registry.register(self._client, record, manifest, child.run, lineage, self._pages.version)
        if version:
            self._describe(state, page.version_link(f"{name} version {version}", name, version))
        self._batch.tags(
            self._parent, fields.tags(champion=f"{name}/{version}") if version else registry.waits(manifest)
        )
        self._batch.flush()
        if version:
            registry.register_waiting(self._client, self._experiment, record, lineage, self._pages.version)

    def _open(self, label: str, moment: float) -> Child:
        """The run of a stage, created at the first sign of it."""
        if label in self._children or self._client is None:
            return self._children[label]
        drawn = self._record.stages.get(label)
        child = self._known.child(label, moment)
        if child is None:
            what = (
                fields.tags(label=label, stage=drawn.stage, kind=drawn.kind, reason=drawn.reason)
                if drawn
                else fields.tags(label=label)
            )
            run = self._create(self._client, label, moment, {**self._common, **what, PARENT: self._parent})
            child = Child(run, "running", moment, moment)
        self._children[label] = child
        if drawn is not None:
            self._batch.params(child.run, self._known.params(label, fields.params(drawn.settings)))
            for upstream in drawn.inputs.values():  # their pages lead to this one now
                if upstream in self._children:
                    self._tell_page(upstream)
        return child

    def _create(self, client: MlflowClient, name: str, moment: float, tags: dict[str, str]) -> str:
        made = client.create_run(self._experiment, int(moment * 1000), tags, name)
        return str(made.info.run_id)

    def _describe(self, state: str, champion: str = "") -> None:
        """Tell the parent's page, where it has changed."""
        note = self._pages.run(state, champion, self._gallery.names)
        self._turned = False
        if note != self._note:
            self._batch.tags(self._parent, {NOTE: note})
            self._note = note

    def _tell_page(self, label: str) -> None:
        """Tell the page of a stage, where it has changed."""
        child, note = self._children[label], self._pages.stage(label)
        if note != child.note:
            self._batch.tags(child.run, {NOTE: note})
            child.note = note

    def _draw(self, over: bool) -> dict[str, str]:
        """The pictures of the run as it stands."""
        uri = home(self._root).uri
        server = uri if is_server(uri) else ""
        links = self._pages.links()
        return pictures.drawn(self._record, self._children, self._states, links, over=over, server=server)
