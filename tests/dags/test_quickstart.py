"""quickstart is drawn and planned by a test; its keys stand in one file, so that a break of every cache shows in review."""

from __future__ import annotations

import json
from pathlib import Path

from dags.quickstart import quickstart
from pipeline.canonical import key, settings
from pipeline.plan import plan
from pipeline.store import Store

GOLDEN = Path(__file__).with_name("golden_keys.json")


def keys() -> dict[str, str]:
    """The key of each stage, were every input made of nothing; of one Python, for the pages of another are others."""
    stages = quickstart().stages
    pages = stages["collect-pydoc"]
    drawn = {**stages, "collect-pydoc": pages.model_copy(update={"python": "3.11.0"})}
    return {label: key(stage, dict.fromkeys(stage.inputs(), "0" * 64)) for label, stage in drawn.items()}


def test_an_empty_store_plans_every_stage_of_the_chain(tmp_path: Path) -> None:
    entries = plan(quickstart(), Store(str(tmp_path))).entries
    assert {entry.reason for entry in entries.values()} == {"never built"}
    made = {entry.stage for entry in entries.values()}
    assert {"collect", "filter", "dedup", "train-tokenizer", "encode", "pretrain", "sft", "dpo", "evaluate"} <= made
    assert {"collect-facts", "collect-preferences", "collect-pydoc", "quantize", "serve"} <= made


def test_no_key_moves_unless_this_file_says_so() -> None:
    assert keys() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_each_dial_moves_the_keys_of_its_own_stages() -> None:
    assert moved(depth=5) == {"pretrain"}
    assert moved(steps=7) == {"pretrain"}
    seeded = {"chat-documents", "encode", "pretrain", "sft", "collect-preferences", "dpo"}
    assert moved(seed=1) - {label for label in quickstart().stages if label.startswith("evaluate-")} == seeded


def moved(**dials: int) -> set[str]:
    """The stages whose own settings the dials change."""
    plain, turned = quickstart().stages, quickstart(**dials).stages
    return {label for label in plain if settings(plain[label]) != settings(turned[label])}


def test_only_the_evaluations_by_chat_would_share_a_key_and_only_of_one_model() -> None:
    found = keys()
    shared = {label for label, one in found.items() if list(found.values()).count(one) > 1}
    assert shared == {"evaluate-sft", "evaluate-dpo", "evaluate-small"}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(keys(), indent=1) + "\n", encoding="utf-8")
