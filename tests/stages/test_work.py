"""A training's arithmetic is known from its settings, before anything is built and without torch."""

from __future__ import annotations

import subprocess
import sys
from itertools import accumulate

import pytest
import torch

from dags.quickstart import quickstart
from stages.adopt import AdoptTokenizer
from stages.model import Llama, fused
from stages.model.config import matrix_parameters, shape
from stages.pretrain import Pretrain
from stages.train import Recipe, make_optimizer
from stages.train.loop import update
from stages.work import Size, pretraining_memory


def test_the_multiplied_weights_are_those_of_the_model_that_is_built() -> None:
    model = Llama(shape(3, vocab_size=500, sequence=64, tied=False))
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() >= 2)
    assert matrix_parameters(3, 0, 500) == matrices - 500 * model.config.width, (
        "an embedding is looked up, not multiplied"
    )


def test_work_grows_with_steps_and_depth_and_reaches_what_is_tuned() -> None:
    small, long, deep = (quickstart(**dials).stages for dials in ({}, {"steps": 600}, {"depth": 8}))
    assert long["pretrain"].flops() == 2 * (small["pretrain"].flops() or 0)
    assert (deep["pretrain"].flops() or 0) > 2 * (small["pretrain"].flops() or 0)
    for label in ("sft", "dpo"):
        assert (deep[label].flops() or 0) > (small[label].flops() or 0) == long[label].flops()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("vocabulary", "micro", "tied", "low"), [(3000, 8, False, False), (500, 0, True, True)])
def test_the_memory_of_a_training_is_what_torch_allocates_for_an_update(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, micro: int, tied: bool, low: bool
) -> None:
    monkeypatch.setattr(fused, "_plain", lambda x: True)  # the operations of a GPU
    depth, width, sequence, batch = 2, 128, 64, 16
    model = Llama(shape(depth, vocab_size=vocabulary, width=width, sequence=sequence, tied=tied)).initialise(0)
    recipe = Recipe(
        steps=2, batch=batch, sequence=sequence, rate=1e-3, warmup=1, decay=0.5, micro_batch=micro,
        precision="bfloat16" if low else "float32",
    )  # fmt: skip
    optimizer = make_optimizer(model, recipe)
    tokens = torch.randint(0, vocabulary, (batch, sequence))
    update(model, optimizer, tokens, tokens, recipe)  # from now on there are moments
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        update(model, optimizer, tokens, tokens, recipe)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    most = max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))
    size = Size(depth, width, vocabulary, tied)
    told = pretraining_memory(size, sequence=sequence, batch=batch, micro_batch=micro, low=low)
    norms = (micro or batch) * sequence * (2 * depth + 1) * width * 4  # kept by a CPU, whose norms are not fused
    assert told + norms == pytest.approx(12 * model.parameter_count() + most, rel=0.02)


def test_memory_is_bounded_by_micro_batches_and_the_vocabulary_must_be_known() -> None:
    at_once, in_parts = (
        pretraining_memory(Size(12, 0, 32_768), sequence=1024, batch=64, micro_batch=micro, low=True)
        for micro in (0, 8)
    )
    assert at_once > 5 * in_parts
    pretrain = quickstart().stages["pretrain"]
    assert isinstance(pretrain, Pretrain) and 0.1 < (pretrain.gpu_memory() or 0) / 2**30 < 1
    adopted = AdoptTokenizer(digest="0" * 64)
    assert Pretrain(tokens=pretrain.tokens, tokenizer=adopted.out).gpu_memory() is None


MEASURED = [  # on an H200 with torch 2.11: depth, sequence, batch, vocabulary, bfloat16, seconds of an update
    (12, 1024, 32, 32_768, True, 0.0828),
    (20, 1024, 32, 32_768, True, 0.2112),
    (26, 1024, 32, 32_768, True, 0.3873),
    (32, 2048, 8, 32_768, True, 0.3200),
    (40, 1024, 16, 32_768, True, 0.5274),
    (12, 128, 1, 256, True, 0.0275),
    (12, 1024, 16, 4096, False, 0.1620),
    (20, 1024, 16, 4096, False, 0.5916),
    (32, 1024, 4, 4096, False, 0.5547),
]


@pytest.mark.parametrize(("depth", "sequence", "batch", "vocabulary", "low", "took"), MEASURED)
def test_the_time_of_an_update_is_near_what_was_measured_on_a_gpu(
    depth: int, sequence: int, batch: int, vocabulary: int, low: bool, took: float
) -> None:
    assert Size(depth, 0, vocabulary).seconds(batch * sequence, 989e12, low=low) == pytest.approx(took, rel=0.2)


def test_it_is_known_without_torch() -> None:
    code = "import sys; from dags.quickstart import quickstart; quickstart().stages['sft'].flops(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
