"""Writes a Hugging Face Llama checkpoint as one GGUF file that llama.cpp, Ollama and LM Studio read; same inputs, same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import StageFailed
from stages.quant.checkpoint import end_tokens, read_json, tensors
from stages.quant.vocabulary import read_vocabulary
from stages.text.tokenizer import chat_template, unmarked

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter

FORMATS = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
"""Format of the matrices: vectors stay float32. Q8_0 and Q4_0 keep 32 weights of a row and one float16 scale a block."""

BLOCK = 32


def export(folder: Path, target: Path, quantization: str, name: str = "corpusmill") -> None:
    """Write the checkpoint in `folder` to the file `target`, its matrices in one of FORMATS.

    Raises StageFailed for another architecture than Llama, scaled rope, biases, or rows that blocks do not divide.
    """
    from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
    from gguf.quants import quantize

    config = read_json(folder / "config.json")
    _check(config, quantization)
    writer = GGUFWriter(target, "llama")
    _describe(writer, config, name, quantization)
    _add_vocabulary(writer, folder, config)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for tensor, values in tensors(folder):
        if tensor == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        renamed = names.get_name(tensor, try_suffixes=(".weight",))
        if renamed is None:
            raise StageFailed(f"GGUF export has no place for the tensor {tensor}")
        kind = GGMLQuantizationType[FORMATS[quantization] if values.ndim > 1 else "F32"]
        writer.add_tensor(renamed, quantize(_interleaved(tensor, values, config), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check(config: dict[str, Any], quantization: str) -> None:
    if config.get("model_type") != "llama":
        raise StageFailed(
            f"GGUF export knows Llama checkpoints, not {config.get('model_type')!r}", mend="use format='int8'"
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default" or config.get("attention_bias") or config.get("mlp_bias"):
        raise StageFailed("GGUF export knows neither scaled rope nor biases", mend="use format='int8'")
    for side in ("hidden_size", "intermediate_size"):
        if quantization.startswith("q") and config[side] % BLOCK:
            raise StageFailed(
                f"{side} {config[side]} is not a multiple of {BLOCK}, the block of {quantization}", mend="use f16"
            )


def _describe(writer: GGUFWriter, config: dict[str, Any], name: str, quantization: str) -> None:
    from gguf import LlamaFileType

    heads, width = config["num_attention_heads"], config["hidden_size"]
    kinds = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
    head_dim = config.get("head_dim") or width // heads
    rope = config.get("rope_parameters") or {}
    writer.add_name(name)
    writer.add_file_type(LlamaFileType[kinds[quantization]])
    writer.add_quantization_version(2)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_vocabulary(writer: GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    vocabulary = read_vocabulary(folder, config["vocab_size"])
    end = end_tokens(folder)[0]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    # llama.cpp's own defaults for these ids are GPT-2's: each one is named, or it would be wrong
    begin = config.get("bos_token_id")
    writer.add_bos_token_id(end if begin is None else begin)
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    if config.get("pad_token_id") is not None:
        writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(unmarked(chat_template(folder)))


def _interleaved(tensor: str, values: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Reorder the rows of q and k: Hugging Face turns the two halves of a head, llama.cpp neighbouring pairs.

    (heads, 2, half, width) → (heads, half, 2, width); see https://arxiv.org/abs/2104.09864 for the rotation.
    """
    if not tensor.endswith(("q_proj.weight", "k_proj.weight")):
        return values
    heads = config["num_attention_heads"]
    if tensor.endswith("k_proj.weight"):
        heads = config.get("num_key_value_heads") or heads
    split = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
    return split.swapaxes(1, 2).reshape(values.shape)
