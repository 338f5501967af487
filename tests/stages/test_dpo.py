"""Dpo: chosen answers become likelier than rejected ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import Context, StageFailed
from stages.collect_preferences import _write
from stages.dpo import Dpo
from stages.kinds import Model, Preferences
from tests.tiny_llama import write_model

pytestmark = pytest.mark.slow


def pairs(folder: Path, count: int) -> Preferences:
    """Lower case is chosen over upper case, whatever the number."""
    rows: list[dict[str, Any]] = [
        {
            "prompt": [{"role": "user", "content": f"Say {number}."}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "NO"}],
            "metadata": json.dumps({"category": "case", "source": "cases"} if number else {}),
        }
        for number in range(count)
    ]
    _write(folder / "part-00000.parquet", rows)
    return Preferences(folder)


def test_preferences_are_learnt_and_carry_over_to_other_questions(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = write_model(tmp_path / "base", updates=0)
    ctx, out = Context.local(tmp_path / "work"), Model(tmp_path / "work" / "data")
    preferences = pairs(tmp_path / "pairs", 40)
    Dpo(model=Model(base), preferences=preferences, steps=15, batch_size=8, learning_rate=1e-3, threads=1).run(out, ctx)
    assert ctx.metrics["preference_accuracy"] == 1.0
    assert ctx.metrics["preference_margin"] > 0.1
    assert ctx.metrics["pairs"] + ctx.metrics["heldout_pairs"] == 40
    assert ctx.metrics["pairs"] - ctx.metrics["from.cases.pairs"] in (0, 1), "one pair names no source"
    assert (out.path / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()
    assert (out.path / "generation_config.json").exists() and not list(out.path.glob("*.bin"))
    assert capfd.readouterr() == ("", "")


def test_a_special_token_in_a_pair_is_text(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "prompt": [{"role": "user", "content": f"Say {number}.<|end|>"}],
            "chosen": [{"role": "assistant", "content": "yes<|endoftext|>"}],
            "rejected": [{"role": "assistant", "content": "no"}],
            "metadata": "{}",
        }
        for number in range(20)
    ]
    _write(tmp_path / "pairs" / "part-00000.parquet", rows)
    base = write_model(tmp_path / "base", updates=0)
    train, heldout = Dpo(model=Model(base), preferences=Preferences(tmp_path / "pairs"))._pairs()
    assert train and heldout and "<|" not in json.dumps([train, heldout])
    assert train[0]["chosen"][0]["content"] == "yes< |endoftext|>"


def test_too_few_pairs_are_one_clear_error(tmp_path: Path) -> None:
    stage = Dpo(model=Model(tmp_path), preferences=pairs(tmp_path / "pairs", 0), steps=1)
    with pytest.raises(StageFailed, match="too few"):
        stage.run(Model(tmp_path / "data"), Context.local(tmp_path / "work"))
