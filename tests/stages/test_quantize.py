"""Quantize: what it writes is the model, read by llama.cpp and by transformers; its loss is measured; its bytes are stable."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import Context, DagError, StageFailed
from stages.kinds import Model, Tokens
from stages.quantize import Quantize
from tests.tiny_llama import FACTS, trained, write_model


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A validation split made of what the model knows, as Encode writes it."""
    from stages.text.tokenizer import load_tokenizer, render_chat

    model, folder = trained()[0], tmp_path_factory.mktemp("tokens")
    chats = [[{"role": "user", "content": ask}, {"role": "assistant", "content": said}] for ask, said in FACTS.items()]
    ids = [token for chat in chats for token in load_tokenizer(model).encode(render_chat(model, chat)).ids] * 20
    np.array(ids, dtype="<u2").tofile(folder / "validation.bin")
    (folder / "tokens.json").write_text(json.dumps({"dtype": "uint16"}), encoding="utf-8")
    return Tokens(folder)


def quantize(work: Path, model: Path, **settings: object) -> tuple[Path, dict[str, float]]:
    ctx = Context.local(work)
    Quantize(model=Model(model), **settings).run(Model(work / "data"), ctx)  # type: ignore[arg-type]
    return work / "data", ctx.metrics


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_q8_0_is_smaller_measured_and_the_same_bytes_twice(tmp_path: Path, tokens: Tokens) -> None:
    first, metrics = quantize(tmp_path / "first", trained()[0], tokens=tokens, length=32, windows=8)
    second, again = quantize(tmp_path / "second", trained()[0], tokens=tokens, length=32, windows=8)
    assert digest(first) == digest(second) and metrics == again
    assert not list(first.glob("*.safetensors")) and (first / "tokenizer.json").exists()
    assert metrics["ratio"] > 2.5 and metrics["bytes"] == (first / "model.gguf").stat().st_size
    assert metrics["parity"] < 1e-3 < metrics["top5_difference"] < 0.5
    assert 0 < metrics["kl"] < 0.01 and metrics["agreement"] > 0.9
    assert abs(metrics["bits_per_byte"] - metrics["bits_per_byte_before"]) < 0.05


def test_fewer_bits_lose_more_and_float32_loses_nothing(tmp_path: Path, tokens: Tokens) -> None:
    lost = {}
    for form in ("f32", "f16", "q8_0", "q4_0"):
        lost[form] = quantize(tmp_path / form, trained()[0], format=form, tokens=tokens, length=32, windows=8)[1]["kl"]
    assert lost["f32"] == 0 < lost["f16"] < lost["q8_0"] < lost["q4_0"]


@pytest.mark.parametrize(("tied", "kv_heads"), [(False, 2), (True, 4), (True, 1)])
def test_llama_cpp_computes_what_transformers_does(tmp_path: Path, tied: bool, kv_heads: int) -> None:
    model = write_model(tmp_path / "model", updates=0, tied=tied, kv_heads=kv_heads)
    _, metrics = quantize(tmp_path / "work", model, format="f32")
    assert metrics["parity"] < 1e-3 and metrics["parity_texts"] == 7


def test_a_wrong_export_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.quant import gguf_export

    monkeypatch.setattr(gguf_export, "_interleaved", lambda tensor, values, config: values)
    with pytest.raises(StageFailed, match="the export is not the model: llama.cpp differs by"):
        quantize(tmp_path, trained()[0], format="f32")


def test_transformers_loads_the_int8_checkpoint(tmp_path: Path, tokens: Tokens) -> None:
    folder, metrics = quantize(tmp_path, trained()[0], format="int8", tokens=tokens, length=32, windows=8)
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["format"] == "pack-quantized"
    assert metrics["parity"] < 1e-3 and 0 < metrics["kl"] < 0.01 and metrics["ratio"] > 1.5


def test_the_tokenizer_and_the_template_survive(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from stages.quant.parity import CONVERSATION, TEXTS
    from stages.service.llama_cpp import open_engine

    model, gguf = trained()
    tokenizer = AutoTokenizer.from_pretrained(model)
    with open_engine(gguf) as engine:
        for text in (*TEXTS, "a<|end|>b", "\r\n\u00a0\u3000x", "123 4567"):
            assert engine.tokenize(text) == tokenizer.encode(text, add_special_tokens=False)
        rendered = tokenizer.apply_chat_template(list(CONVERSATION), tokenize=False, add_generation_prompt=True)
        assert engine.render(CONVERSATION) == rendered


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "knows Llama checkpoints, not 'gpt2'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "neither scaled rope nor biases"),
        ({"hidden_size": 66}, "hidden_size 66 is not a multiple of 32"),
        ({"vocab_size": 100}, "the tokenizer has ids up to 3"),
    ],
)
def test_a_checkpoint_that_gguf_cannot_hold_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained()[0], model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(StageFailed, match=message):
        quantize(tmp_path / "work", model)


def test_a_word_rule_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained()[0], model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Digits"})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(StageFailed, match="llama.cpp knows no rule that cuts words"):
        quantize(tmp_path / "work", model)


def test_a_validation_split_shorter_than_a_window_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    np.arange(10, 15, dtype="<u2").tofile(folder / "validation.bin")
    (folder / "tokens.json").write_text(json.dumps({"dtype": "uint16"}), encoding="utf-8")
    with pytest.raises(StageFailed, match="the validation split has 5 tokens"):
        quantize(tmp_path / "work", trained()[0], tokens=Tokens(folder))


def test_an_unknown_format_is_refused_at_once() -> None:
    with pytest.raises(DagError, match="Quantize.format"):
        Quantize(model=Model("model"), format="q3_k")  # type: ignore[arg-type]
