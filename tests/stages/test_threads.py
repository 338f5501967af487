"""Every stage that computes on threads asks for as many CPUs, and for no GPU."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import Resources, Stage
from stages.collect_preferences import CollectPreferences
from stages.dpo import Dpo
from stages.evaluate import Evaluate
from stages.kinds import Chats, Model, Preferences, Tokenizer, Tokens
from stages.pretrain import Pretrain
from stages.quantize import Quantize
from stages.serve import Serve
from stages.sft import Sft

INPUTS: dict[type[Stage[Any]], dict[str, Any]] = {
    CollectPreferences: {"model": Model("m"), "chats": Chats("c")},
    Dpo: {"model": Model("m"), "preferences": Preferences("p")},
    Evaluate: {"model": Model("m"), "chats": Chats("c")},
    Pretrain: {"tokens": Tokens("t"), "tokenizer": Tokenizer("z")},
    Quantize: {"model": Model("m")},
    Serve: {"model": Model("m")},
    Sft: {"model": Model("m"), "chats": Chats("c")},
}


@pytest.mark.parametrize("kind", INPUTS, ids=lambda kind: kind.__name__)
def test_a_stage_asks_for_a_cpu_for_each_of_its_threads_unless_told_otherwise(kind: type[Stage[Any]]) -> None:
    plain, given = kind(**INPUTS[kind]), INPUTS[kind]
    assert plain.resources.cpus == plain.model_dump(include={"threads"})["threads"]
    assert (kind(**given, threads=5).resources.cpus, kind(**given, threads=5).resources.gpus) == (5, 0)
    assert kind(**given, threads=5, resources=Resources(cpus=1)).resources.cpus == 1
    rented = kind(**given, threads=5, resources=Resources(gpu="H100", on="modal")).resources
    assert (rented.cpus, rented.gpus, rented.on) == (5, 1, "modal"), "where it runs says nothing of its CPUs"
    assert kind(**given, threads=5).with_inputs(lambda _, artifact: artifact).resources.cpus == 5
