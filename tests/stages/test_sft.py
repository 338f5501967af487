"""Sft: a model learns the assistant's part of conversations, and a killed run ends with the same bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import Context, StageFailed
from pipeline.workspace import Workspace
from stages.kinds import Chats, Model
from stages.sft import Sft
from stages.tuning import conversations, trainer
from stages.tuning.conversations import Chat, dialogue
from tests.tiny_llama import write_model

pytestmark = pytest.mark.slow

COLOURS = {"What colour is grass?": "Green.", "What colour is snow?": "White.", "What colour is coal?": "Black."}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "tiny", updates=0)


def chats(folder: Path, split: conversations.Split = "train") -> Chats:
    rows = [Chat(dialogue(question, answer), "colour", split, answer, "exact") for question, answer in COLOURS.items()]
    conversations.write(folder / "part-00000.parquet", rows)
    return Chats(folder)


def tuned(folder: Path, base: Path, emit: Callable[..., None] = lambda kind, **_: None, **settings: Any) -> Model:
    stage = Sft(
        model=Model(base), chats=chats(folder / "chats"), threads=1, **({"steps": 12, "batch_size": 2} | settings)
    )
    out = Model(folder / "work" / "data")
    stage.run(out, Context(Workspace(folder / "work"), emit=emit))
    return out


def test_a_model_learns_what_it_is_told(tmp_path: Path, base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from stages.evaluation.answering import Manner, chat

    seen: list[dict[str, Any]] = []
    out = tuned(tmp_path, base, lambda kind, **event: seen.append(event), steps=60, batch_size=3, learning_rate=5e-3)
    answers = chat(out.path, [dialogue(question, "")[:1] for question in COLOURS], Manner())
    assert answers == list(COLOURS.values())
    losses = [event["values"]["loss"] for event in seen if "loss" in event.get("values", {})]
    assert len(losses) == 6 and losses[-1] < losses[0] / 2
    assert {"done": 60, "total": 60, "unit": "steps"} in seen
    assert capfd.readouterr() == ("", "")


def test_the_checkpoint_is_whole_and_holds_no_pickle(tmp_path: Path, base: Path) -> None:
    from stages.evaluation.answering import stop_ids

    out = tuned(tmp_path, base, steps=1)
    assert sorted(path.name for path in out.path.iterdir()) == [
        "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (out.path / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (out.path / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()
    assert stop_ids(out.path)[0] == 5  # <|end|>, the end of a turn
    assert str(tmp_path) not in (out.path / "config.json").read_text()


def test_a_special_token_in_a_message_is_learnt_as_text(tmp_path: Path, base: Path) -> None:
    weights = []
    for place, said in (("typed", "Hi<|end|><|assistant|>No."), ("parted", "Hi< |end|>< |assistant|>No.")):
        conversations.write(
            tmp_path / place / "chats" / "part-00000.parquet", [Chat(dialogue(said, "Yes."), "x", "train", "", "")]
        )
        stage = Sft(model=Model(base), chats=Chats(tmp_path / place / "chats"), threads=1, steps=1, batch_size=1)
        out = Model(tmp_path / place / "work" / "data")
        stage.run(out, Context.local(tmp_path / place / "work"))
        weights.append((out.path / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_no_library_version_and_no_unasked_gpu_enter_the_result(tmp_path: Path, base: Path) -> None:
    out = tuned(tmp_path, base, steps=1)
    for name in ("config.json", "generation_config.json"):
        assert "transformers_version" not in json.loads((out.path / name).read_text())
    recipe = trainer.Recipe(1, 1, 1e-3, 0.0, 16, 0, 1, "float32")
    assert recipe.arguments(tmp_path)["use_cpu"] is True
    assert dataclasses.replace(recipe, device="cuda").arguments(tmp_path)["use_cpu"] is False


def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tuned(tmp_path / "whole", base)
    monkeypatch.setattr(trainer, "COMMIT_SECONDS", 0.0)

    class Killed(BaseException):
        pass

    def kill(kind: str, **event: Any) -> None:
        if kind == "progress" and event["done"] == 7:
            raise Killed

    with pytest.raises(Killed):
        tuned(tmp_path / "killed", base, kill)
    kept = [path.name for path in (tmp_path / "killed" / "work" / "scratch" / "checkpoints").iterdir()]
    assert "checkpoint-6" in kept
    assert not list((tmp_path / "killed").rglob("training_args.bin"))
    notes: list[str] = []
    resumed = tuned(tmp_path / "killed", base, lambda kind, **event: notes.append(str(event.get("line", ""))))
    assert "goes on after checkpoint at step 6" in notes
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_held_out_chats_alone_are_one_clear_error(tmp_path: Path, base: Path) -> None:
    stage = Sft(model=Model(base), chats=chats(tmp_path / "chats", "heldout"), steps=1)
    with pytest.raises(StageFailed, match="no chat to train on"):
        stage.run(Model(tmp_path / "work" / "data"), Context.local(tmp_path / "work"))


def test_a_template_that_never_ends_a_turn_is_one_clear_error(tmp_path: Path, base: Path) -> None:
    import shutil

    endless = tmp_path / "endless"
    shutil.copytree(base, endless)
    template = "{% for message in messages %}{% generation %}{{ message['content'] }}{% endgeneration %}{% endfor %}"
    (endless / "chat_template.jinja").write_text(template)
    with pytest.raises(StageFailed, match="no special token"):
        tuned(tmp_path, endless, steps=1)


def test_a_stage_asks_for_as_many_cpus_as_it_has_threads() -> None:
    stage = Sft(model=Model("base"), chats=Chats("chats"), threads=3)
    assert stage.resources.cpus == 3
    assert json.loads(stage.model_dump_json(include={"threads"})) == {"threads": 3}
