"""The card of a real model is read by the loaders that hubs use, and its folder loads with the card in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pipeline import Context, Dag, Stage
from pipeline.adopt import adopt
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from stages.collect import Collect
from stages.encode import Encode
from stages.kinds import Model, Report
from stages.pretrain import Pretrain
from stages.sources import Source
from stages.train_tokenizer import TrainTokenizer
from tests.pipeline.carded import carded


class Weigh(Stage[Report]):
    """A Report that needs no model to be run."""

    model: Model

    def run(self, out: Report, ctx: Context) -> None:
        size = (self.model.path / "model.safetensors").stat().st_size
        (out.path / "report.json").write_text(json.dumps({"size": size}))
        ctx.log(size=size, low=size - 1, high=size + 1)


def loaded(folder: Path) -> Any:
    """The front matter, as huggingface_hub understands it."""
    return ModelCard.load(folder / "README.md", ignore_metadata_errors=False).data


def test_the_front_matter_is_read_by_the_hubs_own_loader(tmp_path: Path) -> None:
    outcome = run(carded(), Store(str(tmp_path)), name="carded", dials={}, executor=Inline)
    told = loaded(outcome.data("tune"))
    assert (told.license, told.license_name, told.library_name) == ("other", "unknown", "transformers")
    assert told.tags == ["corpusmill", "train", "tune"] and told.pipeline_tag == "text-generation"
    assert [(one.metric_type, one.metric_value, one.dataset_name) for one in told.eval_results] == [
        ("accuracy", 0.75, "score"), ("questions", 8.0, "score"),
    ]  # fmt: skip


@pytest.mark.slow
def test_what_the_author_of_an_adopted_model_wrote_is_kept_as_content(tmp_path: Path) -> None:
    from tests.tiny_llama import write_model

    write_model(tmp_path / "theirs", updates=0)
    (tmp_path / "theirs" / "README.md").write_text("their words")
    store = Store(str(tmp_path / "store"))
    made = adopt("model", str(tmp_path / "theirs"), store, licence="MIT", most=1 << 30).manifest
    folder = store.data(made)
    assert "README.original.md" in made.files and "README.md" not in made.files
    assert (folder / "README.original.md").read_text() == "their words" and loaded(folder).license == "mit"
    card = (folder / "README.md").read_text()
    assert "[README.original.md](README.original.md)" in card and str(tmp_path) not in card
    again = adopt("model", str(folder), Store(str(tmp_path / "other")), most=1 << 30)
    assert again.manifest.digest == made.digest and again.left_out == ("README.md",)


@pytest.mark.slow
def test_a_pretrained_folder_loads_with_its_card_in_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = [f"The {place % 7}th wolf met {place} sheep by the river, and none was amused." for place in range(300)]
    (tmp_path / "tales.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = Source(at=str(tmp_path / "tales.jsonl"), licence="CC0-1.0")
    documents = Collect(source=source, name="tales").out
    tokenizer = TrainTokenizer(documents=(documents,), vocab_size=290).out
    tokens = Encode(documents=(documents,), tokenizer=tokenizer, validation=0.1).out
    model = Pretrain(
        tokens=tokens, tokenizer=tokenizer, depth=1, sequence=32, batch=4, steps=4, threads=1, evaluate_tokens=512
    )
    outcome = run(Dag(Weigh(model=model.out)), Store(str(tmp_path / "store")), name="small", dials={}, executor=Inline)
    assert outcome.ok and outcome.warnings == [], (outcome.faults, outcome.warnings)
    folder = outcome.data("pretrain")
    told, text = loaded(folder), (folder / "README.md").read_text()
    assert told.eval_results[0].metric_value == (folder / "model.safetensors").stat().st_size
    assert str(tmp_path) not in text and "bits_per_byte" in text
    words = AutoTokenizer.from_pretrained(folder)("The wolf", return_tensors="pt")
    assert AutoModelForCausalLM.from_pretrained(folder)(**words).logits.shape[-1] == 290
