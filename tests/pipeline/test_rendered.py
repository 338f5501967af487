"""Rendered files lie with an artifact and are none of its content, in a directory and on S3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import Dag, care, digest
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.outcome import Outcome
from pipeline.rendering import lay
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store, place_of
from tests.pipeline.carded import carded


def execute(url: str, dag: Dag, *rebuild: str) -> Outcome:
    outcome = run(dag, Store(url), name="carded", dials={}, executor=Inline, request=Request(rebuild=rebuild))
    assert outcome.ok and outcome.warnings == [], (outcome.faults, outcome.warnings)
    return outcome


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store in a directory, and one on S3 with its copies on this machine."""
    return str(request.getfixturevalue("s3_url")) if request.param == "s3" else str(tmp_path / "store")


def card_of(url: str, made: Manifest) -> str:
    return Store(url).files.read(f"{place_of(made)}/data/README.md").decode()


def test_a_card_lies_with_the_model_and_is_none_of_its_content(url: str) -> None:
    outcome = execute(url, carded(scored=False))
    model, tuned = outcome.manifests["train"], outcome.manifests["tune"]
    assert model.rendered == ("README.md",) and list(model.files) == ["model.safetensors"] and model.size == 3
    assert model.digest == digest.of_files(model.files)
    assert list(tuned.files) == ["chat_template.jinja", "model.safetensors"], "the card that came along is not content"
    assert (outcome.data("tune") / "README.md").read_text() == card_of(url, tuned)
    assert "# tune" in card_of(url, tuned) and "own words" not in card_of(url, model)
    assert outcome.manifests["say"].rendered == () and not (outcome.data("say") / "README.md").exists()


def test_whatever_a_card_holds_the_artifact_is_sound(url: str) -> None:
    store, made = Store(url), execute(url, carded(scored=False)).manifests["tune"]
    lay(store, made, "other words")
    assert care.verify(store, made) == [] and (store.data(made) / "README.md").read_text() == "other words"
    store.files.remove(f"{place_of(made)}/data/README.md")
    assert care.verify(store, made) == []
    store.files.replace(f"{place_of(made)}/data/stray", b"x")
    assert [(wrong.file, wrong.what) for wrong in care.verify(store, made)] == [("data/stray", "extra")]


def test_the_same_stage_ends_in_the_same_digest_whatever_it_cost(url: str) -> None:
    first = execute(url, carded()).manifests
    again = execute(url, carded(), "train", "tune").manifests
    assert first["tune"].attempt != again["tune"].attempt
    assert {label: made.digest for label, made in first.items()} == {
        label: made.digest for label, made in again.items()
    }
    assert again["score"].attempt == first["score"].attempt, "the same bytes: the Report is still good"
    assert "accuracy" in card_of(url, again["tune"]), "and so is its score"


def test_gc_drops_the_card_with_the_data(url: str) -> None:
    store, made = Store(url), execute(url, carded(scored=False)).manifests["tune"]
    care.sweep(store, care.survey(store, 30, [made]))
    assert store.files.below(f"{place_of(made)}/data") == [] and store.manifest(place_of(made)) == made
    execute(url, carded(scored=False))


def test_a_card_is_never_seen_half_written_nor_is_half_of_one_a_stray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    made = execute(store.url, carded(scored=False)).manifests["tune"]
    before = card_of(store.url, made)

    def killed(*paths: Path) -> None:
        assert care.verify(store, made) == []
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        lay(store, made, "new")
    monkeypatch.undo()
    assert care.verify(store, made) == [] and card_of(store.url, made) == before


def test_a_card_that_was_not_written_is_made_up_for_by_the_next_run(url: str) -> None:
    made = execute(url, carded(scored=False)).manifests["tune"]
    Store(url).files.remove(f"{place_of(made)}/data/README.md")
    execute(url, carded())
    assert "accuracy" in card_of(url, made)


def test_another_machine_fetches_the_card_with_the_model(s3_url: str, tmp_path: Path) -> None:
    outcome = execute(s3_url, carded(scored=False))
    shutil.rmtree(tmp_path / "cache")
    store = Store(s3_url)
    assert (store.data(outcome.manifests["tune"]) / "README.md").read_text().startswith("---\n")
    store.files.remove(f"{place_of(outcome.manifests['train'])}/data/README.md")
    assert [path.name for path in store.data(outcome.manifests["train"]).iterdir()] == ["model.safetensors"]


def test_a_card_that_cannot_be_written_is_a_warning_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError("no words")

    monkeypatch.setattr("pipeline.rendering.card", broken)
    outcome = run(carded(), Store(str(tmp_path)), name="carded", dials={}, executor=Inline)
    assert outcome.ok and len(outcome.warnings) == 2
    assert "the card of tune could not be written: no words" in outcome.warnings
    assert not (outcome.data("tune") / "README.md").exists()
