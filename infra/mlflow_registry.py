"""The registered model of a dag: a version for each final model that a run ended with, that of the last run the `champion`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

from infra.mlflow_fields import PREFIX, tags
from infra.mlflow_lineage import Lineage
from infra.mlflow_model import RegisteredModel
from pipeline.artifact import MODEL
from pipeline.manifest import Manifest, Registration
from pipeline.registered import CHAMPION, champions
from pipeline.registered import register as note
from pipeline.store import Store, place_of
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

WAITS = f"{PREFIX}waits"
"""Tag of a run whose model becomes a version once the versions on record are there again."""
Describe = Callable[[Manifest, str], str]
"""The text on a version, of its manifest and its MLflow run."""


def final_model(record: RunRecord) -> str:
    """The label of the model that the dag is for, empty where it makes none or the record holds only a part of the dag.

    That is the model which its service serves, else the last one that no other model is made from.
    """
    if record.only:
        return ""
    for label in reversed(record.stages):
        if record.stages[label].kind == "Service":
            served = _nearest_model(record, label)
            if served:
                return served
    models = [label for label in record.stages if record.stages[label].kind == MODEL]
    behind = {_nearest_model(record, label) for label in models}
    return next((label for label in reversed(models) if label not in behind), "")


def _nearest_model(record: RunRecord, label: str) -> str:
    """The closest model above `label`, breadth first, so that a service's own model comes before its ancestors."""
    pending, seen = list(record.stages[label].inputs.values()), set[str]()
    while pending:
        parent = pending.pop(0)
        if parent in seen or parent not in record.stages:
            continue
        seen.add(parent)
        if record.stages[parent].kind == MODEL:
            return parent
        pending.extend(record.stages[parent].inputs.values())
    return ""


def register(
    client: MlflowClient, record: RunRecord, manifest: Manifest, run: str, lineage: Lineage, describe: Describe
) -> tuple[str, str]:
    """Make `manifest` the champion of its dag, as a new version unless it is one already; its name and version.

    The version points at the artifact in the store and copies nothing; the store notes it, so that gc keeps it. The
    former champion becomes `previous`. What the store has noted decides where a run is told late, or MLflow was emptied:
    versions get the numbers they had, and no run takes the place of a later one's champion. A model that was no version
    when later ones were becomes one once those are there again: till then, its version is empty (see `register_waiting`).
    """
    model, store = RegisteredModel(client, record, lineage), Store(record.store)
    noted = sorted((one for one in store.registered() if one.name == model.name), key=lambda one: int(one.version))
    version = model.version(manifest.attempt)
    if not version:
        lost = [one for one in noted if int(one.version) > model.newest]
        before = list(takewhile(lambda one: one.attempt != manifest.attempt, lost))
        if lost and before == lost and record.started < max(one.when for one in lost):
            return model.name, ""
        for former in filter(None, (store.manifest(place_of(one)) for one in before)):
            builder = lineage.builder(former)[1]
            model.add(former, builder, former.run, describe(former, builder))
        version = model.add(manifest, run, record.run, describe(manifest, run))
    order = champions(store, model.name)
    later = any(one.when >= record.started for one in order)
    if not later:
        model.crown(version)
    about = {"stage": manifest.stage, "key": manifest.key, "attempt": manifest.attempt}
    mine = Registration(name=model.name, version=version, when=record.started, alias="" if later else CHAMPION, **about)
    note(store, mine)
    model.fill([*([] if later else [mine]), *reversed(order)])
    return model.name, version


def waits(manifest: Manifest) -> dict[str, str]:
    """The tag of a run whose model has no version yet."""
    return tags(waits=place_of(manifest))


def register_waiting(
    client: MlflowClient, experiment: str, record: RunRecord, lineage: Lineage, describe: Describe
) -> None:
    """Register the models of the dag of `record` that waited for those on record, in the order in which their runs began."""
    waiting = client.search_runs([experiment], f"tags.`{WAITS}` LIKE '%'", order_by=["attributes.start_time ASC"])
    for parent in waiting:
        name, manifest = parent.data.tags["corpusmill.run"], Store(record.store).manifest(parent.data.tags[WAITS])
        if manifest is None:
            continue
        wanted = f"tags.`corpusmill.run` = '{name}' and tags.`corpusmill.attempt` = '{manifest.attempt}'"
        found = client.search_runs([experiment], wanted, max_results=1)
        if not found:
            continue
        then = record.model_copy(update={"run": name, "started": parent.info.start_time / 1000})
        model, version = register(client, then, manifest, found[0].info.run_id, lineage, describe)
        if version:
            for tag, value in tags(champion=f"{model}/{version}").items():
                client.set_tag(parent.info.run_id, tag, value)
            client.delete_tag(parent.info.run_id, WAITS)
