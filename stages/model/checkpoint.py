"""A Llama to and from a Hugging Face checkpoint folder, as transformers, vLLM and lm-eval read it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from stages.model import safetensors
from stages.model.config import LlamaConfig
from stages.model.llama import Llama

_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_BLOCK = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "feed_norm.weight": ("post_attention_layernorm.weight",),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "down.weight": ("mlp.down_proj.weight",),
}


def save(model: Llama, folder: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    _write_json(folder / "config.json", config.to_hugging_face())
    generation = {
        "bos_token_id": config.bos,
        "eos_token_id": list(config.eos),
        "pad_token_id": config.pad,
        "do_sample": False,
    }
    _write_json(folder / "generation_config.json", generation)
    safetensors.write(folder / "model.safetensors", to_hugging_face(model), {"format": "pt"})


def load_config(folder: Path | str) -> LlamaConfig:
    """The shape of the checkpoint at `folder`; generation_config.json has the last word on the ids that end an answer."""
    folder = Path(folder)
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    generation = folder / "generation_config.json"
    if generation.exists():
        said = json.loads(generation.read_text(encoding="utf-8"))
        raw |= {name: said[name] for name in ("eos_token_id", "pad_token_id") if said.get(name) is not None}
    return LlamaConfig.from_hugging_face(raw)


def load(folder: Path | str) -> Llama:
    """The model at `folder` in float32, on the CPU, ready to answer. Raises ValueError for weights that do not fit."""
    folder = Path(folder)
    model = Llama(load_config(folder))
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= safetensors.read(path)
    if not found:
        raise ValueError(f"no model.safetensors in {folder.name}")
    from_hugging_face(model, found)
    return model.eval()


def to_hugging_face(model: Llama) -> dict[str, Tensor]:
    """The weights under Hugging Face's names, joined matrices taken apart; a tied head is left out."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():  # a tied head shows once, as the embedding
        whole = parameter.detach().float()
        parts = _names(name)
        pieces = torch.split(whole, _rows(model.config, name), dim=0) if len(parts) > 1 else (whole,)
        tensors |= {part: piece.contiguous() for part, piece in zip(parts, pieces, strict=True)}
    return tensors


def from_hugging_face(model: Llama, tensors: dict[str, Tensor]) -> None:
    """Fill `model` with weights named as Hugging Face names them. Raises ValueError for a missing or misshapen one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parts = _names(name)
            missing = [part for part in parts if part not in tensors]
            if missing:
                raise ValueError(f"the checkpoint has no {missing[0]}")
            whole = torch.cat([tensors[part].float() for part in parts], dim=0)
            if whole.shape != parameter.shape:
                raise ValueError(
                    f"{parts[0]} and its kin have shape {tuple(whole.shape)}, not {tuple(parameter.shape)}"
                )
            parameter.copy_(whole)


def _names(name: str) -> tuple[str, ...]:
    if name in _TOP:
        return (_TOP[name],)
    _, layer, rest = name.split(".", 2)
    return tuple(f"model.layers.{layer}.{part}" for part in _BLOCK[rest])


def _rows(config: LlamaConfig, name: str) -> list[int]:
    if name.endswith("qkv.weight"):
        return [count * config.head_width for count in (config.heads, config.kv_heads, config.kv_heads)]
    return [config.hidden, config.hidden]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
