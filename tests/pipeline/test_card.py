"""A model card tells what the records say, calls the rest unknown, and names no path, machine or person."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from pipeline.card import card
from pipeline.card_facts import scores
from pipeline.card_front import licence, yaml
from pipeline.card_words import hub, public, setting, table
from pipeline.executor import Inline
from pipeline.manifest import Manifest, SourceRecord
from pipeline.outcome import Outcome
from pipeline.run import run
from pipeline.spent import total
from pipeline.store import Store, place_of
from pipeline.tables import duration
from tests.pipeline.carded import carded
from tests.pipeline.test_cli import corpusmill


def execute(tmp_path: Path, seed: int = 0, scored: bool = True, note: str = "") -> Outcome:
    dag = carded(seed=seed, scored=scored, note=note)
    outcome = run(dag, Store(str(tmp_path / "store")), name="carded", dials={}, executor=Inline)
    assert outcome.ok and outcome.warnings == []
    return outcome


def readme(outcome: Outcome, label: str = "tune") -> str:
    return (outcome.data(label) / "README.md").read_text()


def changed(outcome: Outcome, label: str, **fields: object) -> Manifest:
    """The manifest of a label, with other fields on record."""
    made = outcome.manifests[label].model_copy(update=fields)
    path = Path(outcome.store.url) / place_of(made) / "manifest.json"
    path.write_text(made.model_dump_json())
    return made


def test_a_card_says_what_was_trained_how_and_at_what_cost(tmp_path: Path) -> None:
    outcome = execute(tmp_path)
    text, made = readme(outcome), outcome.manifests
    assert text == card(outcome.store, made["tune"])
    assert "A language model of 12,345 parameters" in text and "### train (`Train`)" in text
    assert "| steps | 4 |" in text and "parameters 12,345, loss 0.5." in text
    whole = total(made[label].cost for label in ("say", "train", "tune"))
    assert f"| it and all that it was made from, each once | {duration(whole.wall_seconds)} |" in text
    assert f"content digest `{made['tune'].digest}`" in text and f"lineage {made['tune'].digest[:12]}" in text
    assert 'n0["say<br>' in text and "n1 --> n2" in text and "apply_chat_template" in text
    assert "apply_chat_template" not in readme(outcome, "train"), "the first of a chain completes text"


def test_scores_are_in_the_card_once_they_are_there(tmp_path: Path) -> None:
    assert "No Report on this model" in readme(execute(tmp_path, scored=False))
    first = readme(execute(tmp_path))
    assert "| score | accuracy | 0.75 | 0.5 to 0.9 |" in first and "| score | questions | 8 | – |" in first
    again = readme(execute(tmp_path, seed=1))
    assert "| score | questions | 8 |" in again and "| score | questions | 9 |" in again
    assert "No Report" in readme(execute(tmp_path), "train"), "a Report on another model says nothing of this one"


def test_nothing_private_is_in_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMILL_USER", "ada-of-the-lab")
    outcome = execute(tmp_path, note=str(tmp_path))
    origin = {"from": str(tmp_path / "theirs"), "who": "ada-of-the-lab", "when": "now"}
    changed(outcome, "train", origin=origin, machine={"gpu": "card-of-the-lab"})
    text = card(outcome.store, outcome.manifests["tune"])
    for private in (str(tmp_path), "ada-of-the-lab", "card-of-the-lab", socket.gethostname()):
        assert private not in text
    assert "a local file or folder" in text


def test_sources_are_told_with_licence_and_revision(tmp_path: Path) -> None:
    outcome = execute(tmp_path, scored=False)
    sources = {"tales": SourceRecord(at="pypi:tales==1/a.tab", licence="MIT", revision="ab" * 32)}
    changed(outcome, "say", sources=sources, metrics={"from.tales.documents": 3.0})
    text = card(outcome.store, outcome.manifests["tune"])
    assert "license: mit" in text and "| tales | pypi:tales==1/a.tab | MIT | abababababab | 3 |" in text


def test_what_is_not_on_record_is_unknown(tmp_path: Path) -> None:
    outcome = execute(tmp_path, scored=False)
    text = readme(outcome)
    assert "license: other\nlicense_name: unknown" in text and "Its sources are unknown." in text
    assert "| unknown |" in text.split("## Cost")[1], "nobody named a price"
    shutil.rmtree(Path(outcome.store.url) / "say")
    text = card(outcome.store, outcome.manifests["tune"])
    assert "That of 1 artifacts above it is unknown." in text and "not on record" in text


def test_metrics_are_bounded_by_the_intervals_that_are_theirs(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "f1": 0.3, "f1_low": 0.2, "f1_high": 0.4, "from.a.chats": 1.0}
    report = execute(tmp_path).manifests["score"].model_copy(update={"metrics": metrics})
    assert scores(report) == [("accuracy", 0.5, 0.4, 0.6), ("f1", 0.3, 0.2, 0.4)]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (["MIT", "mit "], {"license": "mit"}),
        (["GPL-3.0-only"], {"license": "gpl-3.0"}),
        (["MIT", "PSF-2.0"], {"license": "other", "license_name": "mit-and-psf-2.0"}),
        (["MIT", ""], {"license": "other", "license_name": "mit-and-unknown"}),
        (["public domain"], {"license": "other", "license_name": "public-domain"}),
        ([f"licence {number}" for number in range(9)], {"license": "other", "license_name": "several"}),
        ([], {"license": "other", "license_name": "unknown"}),
    ],
)
def test_a_licence_is_named_where_all_sources_agree(found: list[str], told: dict[str, str]) -> None:
    assert licence(found) == told


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/data/ada/x.txt", "a local file or folder"),
        ("pages/**/*.html", "a local file or folder"),
        ("file:///x", "a local file or folder"),
        ("s3://bucket/x", "an object store (s3)"),
        ("https://ada:key@example.org/a?token=1", "https://example.org/a"),
        ("https://box:8000/a", "a private server"),
        ("https://10.0.0.1/a", "a private server"),
        ("https://[bad/a", "a private server"),
        ("pypi:tales==1/a/b.tab", "pypi:tales==1/a/b.tab"),
        ("hf://ada/model", "hf://ada/model"),
    ],
)
def test_an_address_is_told_where_strangers_know_it(address: str, shown: str) -> None:
    assert public(address) == shown


def test_what_was_adopted_from_the_hub_is_its_base(tmp_path: Path) -> None:
    outcome = execute(tmp_path, scored=False)
    changed(outcome, "train", origin={"from": "hf://ada/base", "licence": "Apache-2.0"})
    text = card(outcome.store, outcome.manifests["tune"])
    assert 'base_model:\n- "ada/base"\n' in text and 'license: "apache-2.0"' in text
    assert hub("hf://datasets/ada/talk@main") == ("dataset", "ada/talk") and hub("https://example.org/a/b") is None


def test_no_record_breaks_the_markdown() -> None:
    shown = table(["a"], [["x | y\n# <b>`z`"]])
    assert shown.splitlines()[2:] == [r"| x \| y \# \<b\>\`z\` |"]
    assert yaml({"a_b": "no: 'x'\n"}) == ["a_b: \"no: 'x'\\n\""]
    assert [setting("a", "/etc"), setting("api_key", "x"), setting("a", "q8_0"), setting("a", {"b": 1})] == [
        "",
        "",
        "q8_0",
        "",
    ]


def test_the_command_prints_a_card_and_writes_it(tmp_path: Path) -> None:
    outcome = execute(tmp_path)
    path = outcome.data("tune") / "README.md"
    text = path.read_text()
    path.unlink()
    printed = corpusmill(tmp_path, "card", "tune")
    assert (printed.stdout, printed.stderr, path.exists()) == (text, "", False)
    assert "wrote " in corpusmill(tmp_path, "card", "tune", "--write").stdout and path.read_text() == text


def test_the_command_says_why_there_is_no_card_to_write(tmp_path: Path) -> None:
    outcome = execute(tmp_path)
    wrong = corpusmill(tmp_path, "card", "say")
    assert wrong.returncode == 2 and "of the kind Words, and only a Model has a card" in wrong.stderr
    changed(outcome, "tune", rendered=())
    old = corpusmill(tmp_path, "card", "tune", "--write")
    assert old.returncode == 2 and "--rebuild tune" in old.stderr and "Traceback" not in old.stderr
    assert json.dumps("tune")[1:-1] in corpusmill(tmp_path, "card", "tune").stdout
