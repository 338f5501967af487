"""Models and tokens that are not whole are refused before they enter the store, in a sentence that names the file."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import SourceError
from stages.checks import checkpoint
from tests.adopting import refused, taken


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two shards, as transformers writes it, with a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny_llama import write_tokenizer

    folder = tmp_path_factory.mktemp("small") / "model"
    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=384, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    return folder


def test_a_sharded_checkpoint_is_taken_without_its_pickles_and_its_code(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "model")
    for name in (
        "pytorch_model.bin",
        "optimizer.pt",
        "modeling_small.py",
        "adapter_model.safetensors",
        ".gitattributes",
    ):
        (folder / name).write_text("x")
    found = taken("model", folder)
    assert set(found.manifest.files) == {path.name for path in small.iterdir()} and not found.notes


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


def cut(folder: Path) -> None:
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-1])


def header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Rewrite the header of the first shard."""

    def rewrite(folder: Path) -> None:
        path = first_shard(folder)
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        told = json.loads(data[8 : 8 + length])
        change({name: told[name] for name in sorted(told) if name != "__metadata__"})
        text = json.dumps(told).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return rewrite


def stretch(told: dict[str, Any]) -> None:
    next(iter(told.values()))["shape"][0] *= 1000


def overlap(told: dict[str, Any]) -> None:
    entry = max(told.values(), key=lambda one: one["data_offsets"])
    wide = entry["data_offsets"][1] - entry["data_offsets"][0]
    entry["data_offsets"] = [0, wide]


def negative(told: dict[str, Any]) -> None:
    next(iter(told.values()))["shape"][0] *= -1


def endless(folder: Path) -> None:
    first_shard(folder).write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def config(**changed: Any) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return rewrite


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("config.json"), "there is no config.json beside model-00001"),
        (without("model.safetensors.index.json"), "there is no model.safetensors.index.json"),
        (lambda folder: first_shard(folder).unlink(), "the shard 1 of"),
        (cut, "is no sound safetensors file: its tensors take"),
        (endless, "is no sound safetensors file: its header does not fit"),
        (header(stretch), "bytes, which do not fit its shape"),
        (header(overlap), "its tensors overlap, or leave gaps"),
        (header(negative), "has a shape or a place that is no whole number"),
        (lambda folder: first_shard(folder).write_bytes(struct.pack("<Q", 9) + b'{"a":1}  '), "is no sound safetensors"),
        (config(vocab_size=1000), "is 384 × 32, and config.json says 1000 × 32"),
        (config(hidden_size=-1), "config.json: hidden_size is -1"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json cannot be read: it is no JSON object"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
        (lambda folder: first_shard(folder).rename(folder / "model.safetensors"), "are of two checkpoints"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}'), "does not name the tensors"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_not_whole_is_refused(
    small: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(small, tmp_path / "model")
    spoil(folder)
    assert said in refused("model", folder)


def test_what_lacks_a_tokenizer_or_a_template_is_taken_with_a_word(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    assert "it has no chat template: Sft" in taken("model", folder).notes[0]
    config_of = folder / "tokenizer_config.json"
    told = json.loads(config_of.read_text())
    config_of.write_text(json.dumps(told | {"chat_template": [{"name": "tools", "template": "x"}]}))
    assert "it has no chat template" in taken("model", folder).notes[0], (
        "one of several names is not chosen for anybody"
    )
    config_of.write_text(json.dumps(told | {"chat_template": "{{ messages }}"}))
    assert not taken("model", folder).notes
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "it has no tokenizer.json" in taken("model", folder).notes[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pytorch_model.bin", "config.json"], "pytorch_model.bin is a pickle, which can run code.*\n.*safetensors"),
        (["model.ckpt"], "model.ckpt is a pickle"),
        (["adapter_config.json", "adapter_model.safetensors"], "this is an adapter"),
        (["a.gguf", "b.gguf"], "there are 2 GGUF files\n.*give one of them: …/a.gguf"),
        (["README.md"], "neither model.safetensors nor a GGUF file"),
    ],
)
def test_what_is_no_model_is_refused_by_its_names(names: list[str], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        checkpoint.layout(names)


def test_a_gguf_file_takes_the_name_that_stages_know(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "small.Q8_0.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 5))
    assert list(taken("model", folder / "small.Q8_0.gguf").manifest.files) == ["model.gguf"]
    shutil.rmtree(tmp_path / "theirs" / "store")
    for spoilt in (b"GGML" + bytes(20), b"GGUF", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 5)):
        (folder / "small.Q8_0.gguf").write_bytes(spoilt)
        assert "small.Q8_0.gguf is no GGUF file" in refused("model", folder)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Packed tokens as Encode writes them: two documents in train, none elsewhere."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "train.bin").write_bytes(struct.pack("<5H", 7, 8, 0, 9, 0))
    (folder / "train.idx").write_bytes(struct.pack("<2Q", 0, 3))
    for split in ("validation", "test"):
        for suffix in ("bin", "idx"):
            (folder / f"{split}.{suffix}").write_bytes(b"")
    none = {"documents": 0, "tokens": 0, "bytes": 0}
    splits = {"train": {"documents": 2, "tokens": 5, "bytes": 9}, "validation": none, "test": none}
    info = {"boundary": 0, "dtype": "uint16", "splits": splits, "vocab_size": 10}
    (folder / "tokens.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("train.bin", struct.pack("<4H", 7, 8, 0, 9), "train.bin has 8 bytes, and tokens.json says 10"),
        ("train.bin", struct.pack("<5H", 7, 8, 0, 10, 0), "train.bin has the id 10, outside of a vocabulary of 10"),
        ("train.idx", struct.pack("<2Q", 0, 5), "train.idx does not rise from 0 within the tokens"),
        ("train.idx", struct.pack("<2Q", 3, 0), "train.idx does not rise from 0"),
        ("train.idx", struct.pack("<2Q", 0, 1 << 63), "train.idx does not rise from 0"),
        ("tokens.json", b"{}", "tokens.json does not describe packed tokens: KeyError"),
        ("tokens.json", b"[", "tokens.json does not describe packed tokens"),
    ],
)
def test_tokens_that_contradict_themselves_are_refused(packed: Path, name: str, data: bytes, said: str) -> None:
    (packed / name).write_bytes(data)
    assert said in refused("tokens", packed)


def test_tokens_as_encode_writes_them_are_taken(packed: Path) -> None:
    assert len(taken("tokens", packed).manifest.files) == 7


def test_tokens_without_one_of_their_files_are_refused(packed: Path) -> None:
    (packed / "test.idx").unlink()
    assert "there is no test.idx" in refused("tokens", packed)
