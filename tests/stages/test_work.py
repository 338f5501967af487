"""A training's arithmetic is known from its settings, before anything is built and without torch."""

from __future__ import annotations

import subprocess
import sys

from dags.quickstart import quickstart
from stages.model import Llama
from stages.model.config import matrix_parameters, shape


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


def test_it_is_known_without_torch() -> None:
    code = "import sys; from dags.quickstart import quickstart; quickstart().stages['sft'].flops(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
