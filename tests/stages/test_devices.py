"""A stage computes on a GPU only if it asks for one, and never quietly on a CPU for the price of a GPU."""

from __future__ import annotations

import pytest
import torch

from pipeline import Resources, StageFailed
from stages.devices import device


def test_without_being_asked_for_no_gpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (device(Resources()), device(Resources(gpu="H100"))) == ("cpu", "cuda")


def test_a_gpu_that_is_not_there_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageFailed, match="asks for H100, but torch .* sees no GPU here\n.*corpusmill doctor"):
        device(Resources(gpu="H100"))
