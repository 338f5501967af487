"""The loop: its data order, its rate, its micro-batches, and that a resumed run is the undisturbed one to the bit."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.model import Llama, LlamaConfig
from stages.train import (
    PackedTokens,
    Progress,
    Recipe,
    bits_per_byte,
    load_state,
    make_optimizer,
    save_state,
    train,
    window_starts,
)

SHAPE = LlamaConfig(vocab_size=40, layers=2, width=32, heads=2, kv_heads=1, hidden=48, sequence=16)
RECIPE = Recipe(steps=12, batch=4, sequence=16, rate=1e-2, warmup=3, decay=0.5)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    folder = tmp_path_factory.mktemp("tokens")
    ids = (np.arange(1500) ** 2 % 37).astype("<u2")
    (folder / "train.bin").write_bytes(ids.tobytes())
    counts = {"documents": 3, "tokens": len(ids), "bytes": 3000}
    (folder / "tokens.json").write_text(json.dumps({"dtype": "uint16", "vocab_size": 40, "splits": {"train": counts}}))
    return PackedTokens(folder, "train")


def weights(model: Llama) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@given(tokens=st.integers(20, 500), length=st.integers(2, 19), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_each_pass_over_the_data_sees_each_window_once(tokens: int, length: int, batch: int, seed: int) -> None:
    windows = (tokens - 1) // length
    steps = -(-2 * windows // batch)
    starts = np.concatenate([window_starts(tokens, length, batch, seed, step) for step in range(steps)])
    for one in (starts[:windows], starts[windows : 2 * windows]):
        assert len(set((one - one.min()).tolist())) == windows
        assert set(((one - one.min()) % length).tolist()) == {0}
        assert one.min() >= 0
        assert one.max() + length < tokens


def test_the_order_is_computed_from_seed_and_step_alone() -> None:
    assert (window_starts(5000, 16, 4, 1, 7) == window_starts(5000, 16, 4, 1, 7)).all()
    assert (window_starts(5000, 16, 4, 1, 7) != window_starts(5000, 16, 4, 2, 7)).any()
    with pytest.raises(ValueError, match="do not fill one window"):
        window_starts(16, 16, 4, 0, 0)


def test_targets_are_the_next_ids(data: PackedTokens) -> None:
    inputs, targets = data.rows(np.array([0, 100]), 16)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs[1, 0].item() == 100**2 % 37


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"123")
    counts = {"documents": 1, "tokens": 2, "bytes": 2}
    (tmp_path / "tokens.json").write_text(
        json.dumps({"dtype": "uint16", "vocab_size": 40, "splits": {"train": counts}})
    )
    with pytest.raises(ValueError, match="not the size"):
        PackedTokens(tmp_path, "train")


def test_the_rate_climbs_stays_and_falls() -> None:
    rates = [
        Recipe(steps=100, batch=1, sequence=1, rate=1.0, warmup=10, decay=0.2).rate_at(step) for step in range(100)
    ]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:79]) == {1.0}
    assert all(one > other > 0 for one, other in pairwise(rates[79:]))
    assert Recipe(steps=5, batch=1, sequence=1, rate=1.0, warmup=0, decay=0).rate_at(4) == 1.0


@given(
    steps=st.integers(1, 3_000),
    more=st.integers(1, 9_000),
    warmup=st.integers(0, 400),
    decay=st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.4, 1.0]),
)
def test_every_longer_recipe_gives_the_settled_updates_the_same_rate_and_the_next_one_another(
    steps: int, more: int, warmup: int, decay: float
) -> None:
    short, long = (
        Recipe(steps=count, batch=1, sequence=1, rate=1.0, warmup=warmup, decay=decay)
        for count in (steps, steps + more)
    )
    settled = short.settled()
    assert [short.rate_at(step) for step in range(settled)] == [long.rate_at(step) for step in range(settled)]
    assert settled <= long.settled()
    assert settled == steps or short.rate_at(settled) < long.rate_at(settled)


def test_where_the_rate_settles() -> None:
    def settled(warmup: int, decay: float, steps: int = 20) -> int:
        return Recipe(steps=steps, batch=1, sequence=1, rate=1.0, warmup=warmup, decay=decay).settled()

    assert [settled(5, 0.4), settled(5, 0.4, 40), settled(5, 0.8), settled(5, 0), settled(0, 1)] == [12, 24, 4, 20, 0]
    assert settled(30, 1.0) == 12, "while the rate climbs, it is as high as it would be in a longer training"


def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(data: PackedTokens, tmp_path: Path) -> None:
    whole, half, rest = (Llama(SHAPE).initialise(0) for _ in range(3))
    losses: list[float] = []
    train(whole, data, RECIPE, report=lambda progress: losses.append(progress.loss))

    class Stop(Exception):
        pass

    def save(step: int, state: dict[str, Any]) -> None:
        save_state(tmp_path / "state.pt", state)
        raise Stop

    with pytest.raises(Stop):
        train(half, data, RECIPE, every=5, save=save)
    seen: list[Progress] = []
    train(rest, data, RECIPE, resume=tmp_path / "state.pt", report=seen.append)
    assert [progress.step for progress in seen] == list(range(6, 13))
    assert [progress.loss for progress in seen] == losses[5:]
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(rest), strict=True))
    assert losses[-1] < 0.8 * losses[0]


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"step": Path("/")}, tmp_path / "state.pt")  # any class outside torch's own list
    model = Llama(SHAPE)
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load_state(tmp_path / "state.pt", model, make_optimizer(model, RECIPE))


def test_micro_batches_change_only_rounding(data: PackedTokens) -> None:
    whole, parts = Llama(SHAPE).initialise(0), Llama(SHAPE).initialise(0)
    losses: dict[int, list[float]] = {0: [], 3: []}
    for model, micro in ((whole, 0), (parts, 3)):
        recipe = Recipe(steps=4, batch=4, sequence=16, rate=1e-3, warmup=0, decay=0, micro_batch=micro)
        train(model, data, recipe, report=lambda progress, kept=losses[micro]: kept.append(progress.loss))  # type: ignore[misc]
    assert losses[0] == pytest.approx(losses[3], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(data: PackedTokens) -> None:
    model = Llama(SHAPE).initialise(0)
    with torch.no_grad():
        model.norm.weight[0] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        train(model, data, RECIPE)


def test_bits_per_byte_scores_each_id_once(data: PackedTokens) -> None:
    model = Llama(SHAPE).initialise(0).eval()
    with torch.no_grad():
        model.norm.weight.zero_()  # all logits 0: log2(40) bits for each of 1,499 scored ids
    assert bits_per_byte(model, data, 16, [2] * 40) == pytest.approx(np.log2(40) * 1500 / 3000, rel=1e-5)
    assert bits_per_byte(model, data, 16, [2] * 40, most=333) == pytest.approx(np.log2(40) * 333 / 666, rel=1e-5)


def test_bits_per_byte_of_some_tokens_counts_the_bytes_of_these_alone(data: PackedTokens) -> None:
    model = Llama(SHAPE).initialise(0).eval()
    with torch.no_grad():
        model.norm.weight.zero_()
    sizes = [0, *range(1, 40)]
    read = int(np.array(sizes)[data.ids[:7]].sum())
    assert abs(7 / read - 1500 / np.array(sizes)[data.ids[:]].sum()) > 0.001
    assert bits_per_byte(model, data, 4, sizes, most=7) == pytest.approx(np.log2(40) * 7 / read, rel=1e-5)


def test_a_split_without_text_has_no_bits_per_byte(data: PackedTokens) -> None:
    with pytest.raises(ValueError, match="the split is empty"):
        bits_per_byte(Llama(SHAPE).initialise(0), data, 16, [0] * 40, most=20)


def test_bfloat16_stays_near_float32(data: PackedTokens) -> None:
    found: list[float] = []
    for precision in ("float32", "bfloat16"):
        model = Llama(SHAPE).initialise(0)
        train(model, data, Recipe(steps=8, batch=4, sequence=16, rate=1e-2, warmup=2, decay=0, precision=precision))
        found.append(bits_per_byte(model, data, 16, [2] * 40, precision=precision))
    assert found[0] == pytest.approx(found[1], rel=0.03)
    assert found[0] != found[1]
