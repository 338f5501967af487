"""Pretrain: the loss falls, a killed run ends in the bytes of an undisturbed one, and the checkpoint stands on its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import Context, Stage, StageFailed
from pipeline.workspace import Workspace
from stages.encode import Encode
from stages.kinds import Documents, Model, Tokenizer, Tokens, write_shard
from stages.model import shape
from stages.pretrain import Pretrain
from stages.train_tokenizer import TrainTokenizer

SMALL: dict[str, Any] = {"depth": 1, "sequence": 32, "batch": 4, "threads": 1, "evaluate_tokens": 512, "warmup": 5}

DYING = """
import os, signal
from stages.train import loop
update, done = loop.update, []
def dying(*given):
    done.append(1)
    if len(done) == 38:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(*given)
loop.update = dying
"""
RUNNER = """
import json, sys
from pathlib import Path
from pipeline import Context
from stages.kinds import Model, Tokenizer, Tokens
from stages.pretrain import Pretrain
tokens, tokenizer, folder, settings = sys.argv[1:]
stage = Pretrain(tokens=Tokens(tokens), tokenizer=Tokenizer(tokenizer), **json.loads(settings))
ctx = Context.local(folder)
ctx.note = lambda line: print(line, flush=True)
stage.run(Model(Path(folder) / "data"), ctx)
"""


def made(stage: Stage[Any], folder: Path) -> Any:
    ctx, out = Context.local(folder), stage.makes(folder / "data")
    stage.run(out, ctx)
    return out


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokens, Tokenizer]:
    folder = tmp_path_factory.mktemp("inputs")
    texts = [
        f"The {place % 7}th wolf met {place} sheep by the river, and the sheep were not amused at all."
        for place in range(300)
    ]
    count = len(texts)
    columns = {
        "id": [str(place) for place in range(count)],
        "text": texts,
        "source": ["tales"] * count,
        "url": [""] * count,
    }
    write_shard(folder / "documents" / "part-00000.parquet", pa.table(columns | {"metadata": ["{}"] * count}))
    documents = Documents(folder / "documents")
    tokenizer = made(TrainTokenizer(documents=documents, vocab_size=300), folder / "tokenizer")
    return made(Encode(documents=documents, tokenizer=tokenizer, validation=0.1), folder / "tokens"), tokenizer


def pretrained(folder: Path, inputs: tuple[Tokens, Tokenizer], **settings: Any) -> tuple[Model, Context]:
    ctx, out = Context.local(folder), Model(folder / "data")
    Pretrain(tokens=inputs[0], tokenizer=inputs[1], **(SMALL | settings)).run(out, ctx)
    return out, ctx


def files(model: Model) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(model.path.iterdir())}


def test_the_loss_falls_and_the_model_beats_an_untrained_one(inputs: tuple[Tokens, Tokenizer], tmp_path: Path) -> None:
    _, before = pretrained(tmp_path / "a", inputs, steps=1)
    _, after = pretrained(tmp_path / "b", inputs, steps=60)
    assert after.metrics["bits_per_byte"] < 0.6 * before.metrics["bits_per_byte"]
    assert after.metrics["loss"] < 0.6 * before.metrics["loss"]
    assert after.metrics["tokens"] == 60 * 4 * 32
    assert after.metrics["tokens_per_second"] > 0


def test_the_checkpoint_stands_on_its_own(inputs: tuple[Tokens, Tokenizer], tmp_path: Path) -> None:
    from stages.model import generate, load
    from stages.text.tokenizer import load_tokenizer

    model, ctx = pretrained(tmp_path, inputs, steps=40)
    assert set(files(model)) == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    engine, llama = load_tokenizer(model.path), load(model.path)
    assert llama.parameter_count() == ctx.metrics["parameters"]
    assert json.loads((model.path / "generation_config.json").read_text())["eos_token_id"] == [
        engine.token_to_id("<|end|>"),
        0,
    ]
    answer = generate(llama, [engine.encode("The 3th wolf").ids], 8, stop_ids=llama.config.eos)[0]
    assert "met" in engine.decode(answer)


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(
    inputs: tuple[Tokens, Tokenizer], tmp_path: Path
) -> None:
    first, again, other = (
        pretrained(tmp_path / name, inputs, steps=6, seed=seed)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert files(first) == files(again)
    assert files(first)["model.safetensors"] != files(other)["model.safetensors"]


def test_evaluation_and_checkpoints_leave_the_weights_as_they_are(
    inputs: tuple[Tokens, Tokenizer], tmp_path: Path
) -> None:
    watched, _ = pretrained(tmp_path / "a", inputs, steps=6, evaluate_every=2, checkpoint_every=1)
    alone, _ = pretrained(tmp_path / "b", inputs, steps=6, evaluate_every=0, checkpoint_every=0)
    assert files(watched) == files(alone)


@pytest.mark.slow
def test_a_run_killed_outright_goes_on_to_the_same_bytes(inputs: tuple[Tokens, Tokenizer], tmp_path: Path) -> None:
    settings = SMALL | {"steps": 150, "checkpoint_every": 10}
    given = [str(inputs[0].path), str(inputs[1].path), str(tmp_path / "killed"), json.dumps(settings)]
    killed = subprocess.run([sys.executable, "-c", DYING + RUNNER, *given], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "data" / "model.safetensors").exists()
    again = subprocess.run(
        [sys.executable, "-c", RUNNER, *given], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert "going on from step-00000030" in again.stdout
    undisturbed, _ = pretrained(
        tmp_path / "whole", inputs, **{name: settings[name] for name in ("steps", "checkpoint_every")}
    )
    assert files(Model(tmp_path / "killed" / "data")) == files(undisturbed)


def test_a_checkpoint_that_was_never_committed_is_not_used(inputs: tuple[Tokens, Tokenizer], tmp_path: Path) -> None:
    torn = Workspace(tmp_path).scratch / "step-00000099.pt"
    torn.write_bytes(b"half a checkpoint")
    _, ctx = pretrained(tmp_path, inputs, steps=3)
    assert ctx.metrics["tokens"] == 3 * 4 * 32


def test_a_tokenizer_that_did_not_make_the_tokens_is_one_clear_error(
    inputs: tuple[Tokens, Tokenizer], tmp_path: Path
) -> None:
    engine = json.loads((inputs[1].path / "tokenizer.json").read_text())
    engine["added_tokens"].append(engine["added_tokens"][0] | {"id": 300, "content": "<|more|>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(engine))
    with pytest.raises(StageFailed, match="vocabulary of 300, the tokenizer has 301"):
        pretrained(tmp_path / "w", (inputs[0], Tokenizer(tmp_path)), steps=1)


def test_too_few_tokens_are_one_clear_error(inputs: tuple[Tokens, Tokenizer], tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="too few for one sequence of 100000"):
        pretrained(tmp_path, inputs, sequence=100_000)


def test_the_stage_asks_for_as_many_cpus_as_threads(inputs: tuple[Tokens, Tokenizer]) -> None:
    assert Pretrain(tokens=inputs[0], tokenizer=inputs[1]).resources.cpus == 2
    stage = Pretrain(tokens=inputs[0], tokenizer=inputs[1], threads=5)
    assert stage.resources.cpus == 5
    assert stage.with_inputs(lambda _, artifact: artifact).resources.cpus == 5


@pytest.mark.parametrize(
    ("depth", "width", "heads"), [(1, 64, 1), (4, 192, 3), (8, 384, 6), (12, 576, 9), (20, 960, 15)]
)
def test_depth_is_the_one_dial(depth: int, width: int, heads: int) -> None:
    found = shape(depth, vocab_size=512, sequence=64)
    assert (found.layers, found.width, found.heads) == (depth, width, heads)
