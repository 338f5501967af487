"""What only a GPU can show: `pytest tests/gpu` on a machine with one; elsewhere these tests are skipped."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from infra import doctor_packages
from pipeline import Context, Dag, Resources, Stage
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from stages.collect_preferences import _write
from stages.dpo import Dpo
from stages.kinds import Chats, Model, Preferences, Tokenizer, Tokens
from stages.model import Llama, save, shape
from stages.pretrain import Pretrain
from stages.sft import Sft
from stages.text.tokenizer import load_tokenizer
from stages.train import PackedTokens, Recipe, make_optimizer, train
from stages.train.bytewise import pack
from stages.train.loop import update
from stages.tuning.conversations import Chat, dialogue, write
from stages.work import Size, pretraining_memory
from tests.tiny_llama import write_tokenizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

MINE = Resources(gpu="H100")
RUNNER = """
import json, sys
from pathlib import Path
from pipeline import Context, Resources
from stages.kinds import Model, Tokenizer, Tokens
from stages.pretrain import Pretrain
tokens, tokenizer, folder, settings = sys.argv[1:]
ctx = Context.local(folder)
ctx.note = lambda line: print(line, flush=True)
stage = Pretrain(tokens=Tokens(tokens), tokenizer=Tokenizer(tokenizer), resources=Resources(gpu="H100"), **json.loads(settings))
stage.run(Model(Path(folder) / "data"), ctx)
print(json.dumps(ctx.metrics))
"""


def text() -> list[Path]:
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


class Packed(Stage[Tokens]):
    """Python's own source as bytes."""

    def run(self, out: Tokens, ctx: Context) -> None:
        pack(text(), out.path, ctx.scratch / "tokenizer", 2_000_000)


class Bytes(Stage[Tokenizer]):
    """The tokenizer of bytes."""

    vocab_size: int = 262

    def run(self, out: Tokenizer, ctx: Context) -> None:
        pack(text()[:5], ctx.scratch / "tokens", out.path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    pack(text(), folder / "tokens", folder / "tokenizer", 2_000_000)
    return folder


def losses(packed: Path, device: str, precision: str = "float32", steps: int = 8) -> list[float]:
    """Of a training that is too small to fill a GPU."""
    seen: list[float] = []
    model = Llama(shape(2, vocab_size=262, sequence=64)).initialise(0).to(device)
    recipe = Recipe(steps=steps, batch=8, sequence=64, rate=1e-3, warmup=2, decay=0.4, precision=precision)
    train(model, PackedTokens(packed / "tokens", "train"), recipe, report=lambda progress: seen.append(progress.loss))
    return seen


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-3), ("bfloat16", 2e-2)])
def test_the_losses_of_a_gpu_are_those_of_the_cpu(packed: Path, precision: str, error: float) -> None:
    assert losses(packed, "cuda", precision) == pytest.approx(losses(packed, "cpu"), rel=error)


def test_a_killed_training_goes_on_from_its_checkpoint_with_the_same_data(tmp_path: Path, packed: Path) -> None:
    settings = {
        "depth": 4,
        "sequence": 256,
        "batch": 16,
        "steps": 600,
        "checkpoint_every": 100,
        "precision": "bfloat16",
    }

    def words(name: str) -> list[str]:
        places = [str(packed / "tokens"), str(packed / "tokenizer"), str(tmp_path / name)]
        return [sys.executable, "-c", RUNNER, *places, json.dumps(settings)]

    with subprocess.Popen(words("killed"), stdout=subprocess.DEVNULL) as first:
        while not list((tmp_path / "killed").rglob("step-*.pt")):
            assert first.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)  # it is committed, and the training goes on
        first.send_signal(signal.SIGKILL)
    resumed, whole = (
        subprocess.run(words(name), capture_output=True, text=True, check=True) for name in ("killed", "whole")
    )
    assert "going on from step-000" in resumed.stdout and "going on" not in whole.stdout
    scores = [json.loads(one.stdout.splitlines()[-1])["bits_per_byte"] for one in (resumed, whole)]
    assert scores[0] == pytest.approx(scores[1], rel=0.02), (
        "sums differ in their last bits, the order of the data does not"
    )


@pytest.mark.parametrize(
    ("depth", "sequence", "batch", "micro", "vocabulary", "low"),
    [
        (6, 512, 16, 0, 4096, False),
        (12, 1024, 32, 0, 262, True),
        (12, 1024, 32, 8, 32768, True),
        (16, 2048, 8, 0, 32768, True),
    ],
)
def test_the_memory_that_a_plan_tells_is_what_the_gpu_holds(
    depth: int, sequence: int, batch: int, micro: int, vocabulary: int, low: bool
) -> None:
    _forget()
    model = Llama(shape(depth, vocab_size=vocabulary, sequence=sequence)).initialise(0).to("cuda")
    recipe = Recipe(
        steps=3, batch=batch, sequence=sequence, rate=1e-3, warmup=1, decay=0.5, micro_batch=micro,
        precision="bfloat16" if low else "float32",
    )  # fmt: skip
    optimizer = make_optimizer(model, recipe)
    for _ in range(3):
        ids = torch.randint(0, vocabulary, (batch, sequence + 1), device="cuda")
        update(model, optimizer, ids[:, :-1], ids[:, 1:], recipe)
    told = pretraining_memory(Size(depth, 0, vocabulary), sequence=sequence, batch=batch, micro_batch=micro, low=low)
    assert told == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.05)


def test_a_manifest_tells_which_gpu_was_held_for_how_long_and_what_it_cost(tmp_path: Path) -> None:
    tokens, tokenizer = Packed(), Bytes()
    stage = Pretrain(
        tokens=tokens.out, tokenizer=tokenizer.out, depth=2, sequence=128, steps=60, evaluate_every=0, resources=MINE
    )
    made = run(Dag(stage), Store(str(tmp_path)), name="gpu", dials={}, executor=Inline).manifests["pretrain"]
    assert made.machine["gpu"] == torch.cuda.get_device_name(0)
    assert made.cost.gpu_seconds == pytest.approx(made.cost.wall_seconds, rel=0.1)
    assert made.cost.dollars == pytest.approx(made.cost.wall_seconds / 3600 * made.machine["dollars_per_hour"], rel=0.1)


def test_the_doctor_multiplies_on_every_gpu() -> None:
    torches, *cards = doctor_packages.torch(deep=False)
    assert torches.state == "ok" and "built for CUDA" in torches.said
    assert [card.state for card in cards] == ["ok"] * torch.cuda.device_count()
    assert torch.cuda.get_device_name(0) in cards[0].said and "multiplies" in cards[0].said


def _base(folder: Path, depth: int) -> int:
    """A checkpoint of random weights in `folder`; the size of its vocabulary."""
    write_tokenizer(folder, vocabulary=2048)
    vocabulary = load_tokenizer(folder).get_vocab_size()
    save(Llama(shape(depth, vocab_size=vocabulary, sequence=512, bos=0, eos=(0, 5), pad=1)).initialise(0), folder)
    return vocabulary


LONG = " ".join(str(number) for number in range(2000))


def _chats(folder: Path) -> dict[str, Chats]:
    rows = [Chat(dialogue(f"Count from {number}.", LONG), "counts", "train", LONG, "exact") for number in range(32)]
    write(folder / "part-00000.parquet", rows)
    return {"chats": Chats(folder)}


def _pairs(folder: Path) -> dict[str, Preferences]:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Count from {number}."}],
            "chosen": [{"role": "assistant", "content": LONG}],
            "rejected": [{"role": "assistant", "content": LONG[::-1]}],
            "metadata": "{}",
        }
        for number in range(64)
    ]
    _write(folder / "part-00000.parquet", rows)
    return {"preferences": Preferences(folder)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("depth", [4, 12])
def test_tuning_holds_the_memory_that_a_plan_tells(tmp_path: Path, depth: int, precision: str) -> None:
    vocabulary = _base(tmp_path / "base", depth)
    settings: dict[str, Any] = {"steps": 4, "batch_size": 8, "max_length": 512, "precision": precision}
    promised = Pretrain(tokens=Packed().out, tokenizer=Bytes(vocab_size=vocabulary).out, depth=depth).out
    kinds: list[tuple[type[Any], Callable[[Path], dict[str, Any]]]] = [(Sft, _chats), (Dpo, _pairs)]
    for tuned, doing in kinds:
        data = doing(tmp_path / tuned.__name__)
        told = tuned(model=promised, **data, **settings).gpu_memory()
        ctx = Context.local(tmp_path / f"work-{tuned.__name__}")
        (out := Model(tmp_path / f"out-{tuned.__name__}")).path.mkdir()
        _forget()
        tuned(model=Model(tmp_path / "base"), **data, **settings, resources=MINE).run(out, ctx)
        held = torch.cuda.max_memory_allocated()
        print(f"{tuned.__name__} depth {depth} {precision}: told {told / 2**30:.2f} GiB, held {held / 2**30:.2f}")
        assert told == pytest.approx(held, rel=0.05)


def _forget() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
