"""The shape of a Llama, and its translation to and from a Hugging Face config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HEAD = 64
"""Width of an attention head that `shape` gives."""


@dataclass(frozen=True)
class LlamaConfig:
    """A decoder of `layers` blocks: RMSNorm, rotary positions, grouped-query attention and SwiGLU (arXiv 2302.13971).

    `width` is the residual stream's size; `heads` query heads share `kv_heads` key and value heads; `hidden` is
    the inner size of the feed-forward block. Raises ValueError for a shape that cannot be built.
    """

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    sequence: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tied: bool = True
    head_width: int = 0  # 0: width / heads
    bos: int = 0
    eos: tuple[int, ...] = (0,)
    pad: int | None = None

    def __post_init__(self) -> None:
        if not self.head_width:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.head_width % 2:
            raise ValueError(f"the width of a head must be even for rotary positions, not {self.head_width}")

    def to_hugging_face(self) -> dict[str, Any]:
        """What config.json says, so that transformers, vLLM and llama.cpp's tools build the same model."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos,
            "dtype": "float32",
            "eos_token_id": list(self.eos) if len(self.eos) > 1 else self.eos[0],
            "head_dim": self.head_width,
            "hidden_act": "silu",
            "hidden_size": self.width,
            "initializer_range": 0.02,
            "intermediate_size": self.hidden,
            "max_position_embeddings": self.sequence,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pad_token_id": self.pad,
            "pretraining_tp": 1,
            "rms_norm_eps": self.norm_eps,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
            "use_cache": True,
            "vocab_size": self.vocab_size,
        }

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any]) -> LlamaConfig:
        """The shape that a config.json describes. Raises ValueError for what this Llama does not compute."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        wanted = {
            "model_type": (config.get("model_type"), ("llama",)),
            "hidden_act": (config.get("hidden_act", "silu"), ("silu",)),
            "attention_bias": (config.get("attention_bias", False), (False,)),
            "mlp_bias": (config.get("mlp_bias", False), (False,)),
            "rope_type": (rope.get("rope_type", rope.get("type", "default")), ("default",)),
        }
        for name, (value, supported) in wanted.items():
            if value not in supported:
                raise ValueError(
                    f"config.json: {name} is {value!r}; this Llama knows {', '.join(map(repr, supported))}"
                )
        eos = config.get("eos_token_id")
        bos = config.get("bos_token_id")
        heads = config["num_attention_heads"]
        return cls(
            vocab_size=config["vocab_size"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            hidden=config["intermediate_size"],
            sequence=config.get("max_position_embeddings", 2048),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            tied=bool(config.get("tie_word_embeddings", False)),
            head_width=config.get("head_dim") or 0,
            bos=bos if bos is not None else 0,
            eos=tuple(eos) if isinstance(eos, list) else ((eos,) if eos is not None else ()),
            pad=config.get("pad_token_id"),
        )


def shape(depth: int, *, width: int = 0, **rest: Any) -> LlamaConfig:
    """The Llama that `depth` stands for: 48 of width for each block, heads of 64, a feed-forward of 8/3 the width."""
    width, hidden = widths(depth, width)
    heads = width // HEAD
    return LlamaConfig(layers=depth, width=width, heads=heads, kv_heads=heads, hidden=hidden, **rest)


def widths(depth: int, width: int = 0) -> tuple[int, int]:
    """The sizes of the residual stream and of the feed-forward's inside that `shape` gives."""
    width = width or -(-48 * depth // HEAD) * HEAD
    return width, -(-8 * width // (3 * HEAD)) * HEAD


def matrix_parameters(depth: int, width: int, vocab_size: int) -> int:
    """The weights that each token is multiplied with: those of the blocks of such a Llama, and of its output."""
    width, hidden = widths(depth, width)
    return depth * (4 * width * width + 3 * width * hidden) + vocab_size * width
