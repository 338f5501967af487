"""MLflow and the store tell the same story: every digest from the champion to its sources is that of the bytes on disk, and
after runs, failures, kills and replays in any order each run, input and point is there once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pytest

from infra.mlflow_tracker import STATUS, MlflowTracker
from pipeline import digest, ledger
from pipeline.catalogue import everything
from tests.infra.small import Small

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking.client import MlflowClient

STATES = {word: state for state, word in ledger.ENDS.items()} | {"killed": "killed"}


def runs(client: MlflowClient) -> list[Run]:
    """Every run that MLflow has, with what a search leaves out."""
    experiments = [found.experiment_id for found in client.search_experiments()]
    return [client.get_run(found.info.run_id) for found in client.search_runs(experiments)]


def label(run: Run) -> str:
    return str(run.data.tags.get("corpusmill.label", ""))


def datasets(run: Run) -> Iterator[tuple[str, dict[str, str], str]]:
    """Context, source and MLflow's digest of each dataset of a run."""
    for given in run.inputs.dataset_inputs:
        (context,) = [tag.value for tag in given.tags if tag.key == "mlflow.data.context"]
        yield context, json.loads(given.dataset.source), given.dataset.digest


def on_disk(uri: str) -> str:
    """The content digest of the files that are there."""
    folder = Path(unquote(urlparse(uri).path))
    files = {path.relative_to(folder).as_posix(): digest.of_file(path) for path in digest.files_below(folder)}
    assert files, f"{folder} is empty"
    return digest.of_files(files)


def test_every_digest_from_the_champion_to_its_sources_is_that_of_the_bytes_on_disk(small: Small) -> None:
    small.run(rate=1)
    small.run(rate=2)  # below what it found
    client = small.client
    champion = client.get_model_version_by_alias("small", "champion")
    assert champion.tags["corpusmill.digest"] == on_disk(str(champion.source))
    pending, walked = [client.get_run(champion.run_id)], list[str]()
    while pending:
        run = pending.pop()
        walked.append(label(run))
        inputs = 0
        for context, source, short in datasets(run):
            assert source["digest"] == on_disk(source["uri"]) and source["digest"].startswith(short)
            if context == "output":
                assert source["digest"] == run.data.tags["corpusmill.digest"]
                continue
            inputs += 1
            made = f"tags.`corpusmill.attempt` = '{source['attempt']}' and tags.`corpusmill.state` = 'finished'"
            (maker,) = client.search_runs([run.info.experiment_id], made)
            pending.append(client.get_run(maker.info.run_id))
        assert inputs or run.data.tags["corpusmill.stage"] == "say", "only a source is made from nothing"
    assert walked == ["tune", "learn", "upper", "say"]


def same_story(small: Small) -> None:
    """Fails where MLflow and the store differ over any run, state, input or digest."""
    found = Counter((run.data.tags["corpusmill.run"], label(run)) for run in runs(small.client))
    assert [which for which, times in found.items() if times > 1] == []
    told = {(run.data.tags["corpusmill.run"], label(run)): run for run in runs(small.client)}
    made = {one.attempt: one for one in everything(small.store).manifests}
    for name in ledger.runs(small.store):
        account = ledger.account(small.store, name)
        assert not isinstance(account, str)
        agrees(told.pop((name, "")), STATES[account.ended])
        for each, stage in account.stages.items():
            if stage.state in ("not begun", "skipped"):
                assert (name, each) not in told
                continue
            child = told.pop((name, each))
            agrees(child, stage.state)
            if stage.state in ("finished", "cached"):
                holds(child, made[stage.attempt.rpartition("/")[2]])
            else:
                given = ledger.record(small.store, name).stages[each].inputs  # type: ignore[union-attr]  # it has an account
                wanted = [(place, account.stages[label].attempt.rpartition("/")[2]) for place, label in given.items()]
                assert sorted((context, source["attempt"]) for context, source, _ in datasets(child)) == sorted(wanted)
    assert not told, "MLflow has a run that the store has not"


def agrees(run: Run, state: str) -> None:
    assert (run.data.tags["corpusmill.state"], run.info.status) == (state, STATUS[state])


def holds(run: Run, made: Any) -> None:
    """The run names this attempt, and it, its inputs and their digests as its manifest does."""
    tags = run.data.tags
    assert (tags["corpusmill.attempt"], tags["corpusmill.digest"]) == (made.attempt, made.digest)
    assert (tags["corpusmill.key"], tags["corpusmill.code"]) == (made.key, made.code.digest)
    wanted = [(place, one.attempt, one.digest) for place, one in made.inputs.items()]
    inputs = [(context, source["attempt"], source["digest"]) for context, source, _ in datasets(run)]
    assert sorted(inputs) == sorted([*wanted, ("output", made.attempt, made.digest)])
    assert {key: run.data.metrics[key] for key in made.metrics} == made.metrics


def story(client: MlflowClient) -> dict[tuple[str, str], Any]:
    """All that MLflow says of each run but ids and moments, to compare one MLflow with another."""
    found = runs(client)
    names = {run.info.run_id: f"{run.data.tags['corpusmill.run']} {label(run)}" for run in found}
    experiments = {run.info.experiment_id for run in found}
    models = {one.model_id: one.tags["corpusmill.attempt"] for one in client.search_logged_models(list(experiments))}
    assert len(models) == len(set(models.values())), "a model is there twice"
    told = {}
    for run in found:
        tags = {name: names.get(value, value) for name, value in run.data.tags.items() if "note.content" not in name}
        points = {
            key: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        inputs = sorted(models[one.model_id] for one in run.inputs.model_inputs)
        outputs = sorted(models[one.model_id] for one in run.outputs.model_outputs) if run.outputs else []
        told[tags["corpusmill.run"], label(run)] = (tags, run.data.params, points, inputs, outputs, run.info.status)
    return told


class Breaks(MlflowTracker):
    """MLflow goes away after so many calls."""

    def __init__(self, root: str, calls: int) -> None:
        super().__init__(root)
        self.calls = calls

    def __getattribute__(self, verb: str) -> Any:
        if verb in ("start", "event", "stage", "finish"):
            self.calls -= 1
            if self.calls < 0:
                raise ConnectionError("MLflow went away")
        return super().__getattribute__(verb)


def happens(small: Small, draw: random.Random, number: int) -> str:
    """One thing that may happen to a store and its MLflow; what it was."""
    known = [name for name in ledger.runs(small.store)]
    deed = draw.choice(
        ["run", "fail", "kill", "untold", "cut", *(["again", "twice", "part", "emptied"] if known else [])]
    )
    dials = {"rate": draw.randint(1, 3), "limit": draw.randint(1, 3)}
    if deed in ("run", "fail"):
        small.run(**dials, bug=deed == "fail")
    elif deed == "kill":
        small.killed(small.root / f"died-{number}", **dials)
    elif deed in ("untold", "cut"):
        small.run(**dials, trackers=[] if deed == "untold" else [Breaks(small.store.url, draw.randint(1, 25))])
    elif deed == "again":
        small.track(draw.choice(known))
    elif deed == "twice":
        small.track(*draw.sample(known, 1) * 2)
    elif deed == "emptied":
        small.empty()
    else:
        with pytest.raises(ConnectionError):
            part(small, draw.choice(known), draw.randint(0, 6))
    return deed


def part(small: Small, run: str, calls: int) -> None:
    """A replay that is cut short."""
    from pipeline.replay import recorded, tell

    tell(small.store, recorded(small.store, run), Breaks(small.store.url, calls))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_after_runs_failures_kills_and_replays_in_any_order_both_tell_the_same(small: Small, seed: int) -> None:
    draw = random.Random(seed)
    deeds = [happens(small, draw, number) for number in range(6)]
    small.track()
    same_story(small)
    told = story(small.client), small.aliases() if small.versions() else {}
    small.track()
    assert (story(small.client), small.aliases() if small.versions() else {}) == told, f"told twice after {deeds}"
    small.empty()
    small.track()
    same_story(small)
    rebuilt = story(small.client)
    assert {which: rebuilt[which] for which in told[0]} == told[0], f"rebuilt after {deeds}"
