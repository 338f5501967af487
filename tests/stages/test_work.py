"""A training's arithmetic is known from its settings, before anything is built and without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dags.quickstart import quickstart
from stages.adopt import AdoptTokenizer
from stages.model import Llama, fused
from stages.model.config import matrix_parameters, shape
from stages.pretrain import Pretrain
from stages.work import pretraining_memory


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


@pytest.mark.parametrize("tied", [True, False])
def test_the_memory_of_a_training_is_what_autograd_saves_of_the_model_off_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    monkeypatch.setattr(fused, "_plain", lambda x: True)  # the operations of a GPU
    depth, vocabulary, sequence, batch = 3, 1000, 64, 4
    model = Llama(shape(depth, vocab_size=vocabulary, sequence=sequence, tied=tied)).initialise(0)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(0, vocabulary, (batch, sequence + 1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = sum(size for place, size in kept.items() if place not in weights)
    count = model.parameter_count()
    given = {"tied": tied, "sequence": sequence, "micro_batch": 0, "low": False}
    told = (
        pretraining_memory(depth, 0, vocabulary, batch=batch, **given) - 12 * count - 8 * vocabulary * batch * sequence
    )
    assert loss.requires_grad and told == pytest.approx(saved, rel=0.15), "norms are fused on a GPU, and save less"
    assert pretraining_memory(depth, 0, vocabulary, batch=1, **given) >= 16 * count


def test_memory_is_bounded_by_micro_batches_and_the_vocabulary_must_be_known() -> None:
    at_once, in_parts = (
        pretraining_memory(12, 0, 32_768, tied=True, sequence=1024, batch=64, micro_batch=micro, low=True)
        for micro in (0, 8)
    )
    assert at_once > 5 * in_parts
    pretrain = quickstart().stages["pretrain"]
    assert isinstance(pretrain, Pretrain) and 0.1 < (pretrain.gpu_memory() or 0) / 2**30 < 1
    adopted = AdoptTokenizer(digest="0" * 64)
    assert Pretrain(tokens=pretrain.tokens, tokenizer=adopted.out).gpu_memory() is None


def test_it_is_known_without_torch() -> None:
    code = "import sys; from dags.quickstart import quickstart; quickstart().stages['sft'].flops(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
