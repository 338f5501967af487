"""Makes a model smaller: int8 for transformers and vLLM, or one GGUF file for llama.cpp, with its loss measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import ORIGINAL_CARD, Model, Tokens
from stages.threads import cpus_by_threads

if TYPE_CHECKING:
    from stages.quant.loss import Window

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.gguf", "quantization.json")
CARDS = (*Model.rendered, ORIGINAL_CARD)
"""What is said of the model before holds of that one."""


class Quantize(Stage[Model]):
    """Round the weights of a Llama checkpoint, hold the result against transformers, and measure what was lost.

    GGUF formats write model.gguf beside the tokenizer and the configuration; int8 writes a compressed-tensors checkpoint
    (one scale per output channel, weights only). Fails where the exported file does not compute what transformers does.

    Metrics: `parity` holds an export in float32 (int8: the folder itself) against transformers, `top5_difference` the written
    model, read by its engine, against the one before; both in nats. `kl`, `agreement` and `bits_per_byte` are of the weights as
    rounded, computed by torch over windows spread over the validation split: what the format loses, without what an engine adds.
    Pretrain reads other windows, so that its bits_per_byte compares with neither of the two here.
    """

    shows = ("ratio", "kl")

    model: Model
    format: Literal["q8_0", "q4_0", "f16", "f32", "int8"] = Field(
        default="q8_0", description="form of the matrices; all but int8 are GGUF"
    )
    tokens: Tokens | None = Field(
        default=None, description="encoded documents on whose validation split the loss is measured"
    )
    windows: int = Field(default=32, ge=1, description="windows of the validation split that are read")
    length: int = Field(default=128, ge=8, description="tokens in a window; at most the model's context")
    parity: float = Field(
        default=0.002, gt=0, description="largest difference of log-probability (nats) between engines in float32"
    )
    threads: int = Field(default=1, ge=1, description="threads that measure; more may move the last bits of a metric")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def run(self, out: Model, ctx: Context) -> None:
        import torch

        from stages.quant.loss import compare, load_reference, log_probabilities, rounded_copy
        from stages.text.tokenizer import token_bytes

        torch.set_num_threads(self.threads)
        source = self.model.path
        self._write(source, out.path)
        model = load_reference(source)
        sample = self._sample(source)
        metrics = (
            self._gguf_parity(out.path, model, sample, ctx)
            if self.format != "int8"
            else self._int8_parity(out.path, model, sample)
        )
        if self.tokens is not None:
            before = log_probabilities(model, sample)
            after = log_probabilities(rounded_copy(model, self.format), sample)
            metrics |= compare(before, after, sample, token_bytes(source))
        size, was = _size(out.path), _size(source)
        metrics |= {"bytes": size, "bytes_before": was, "ratio": was / size}
        ctx.log(step=None, **metrics)

    def _write(self, source: Path, target: Path) -> None:
        from stages.quant import gguf_export, int8_export

        skipped = shutil.ignore_patterns(*WEIGHTS, *CARDS)
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=skipped, copy_function=shutil.copyfile)
        if self.format == "int8":
            int8_export.export(source, target)
        else:
            gguf_export.export(source, target / "model.gguf", self.format)
        (target / "quantization.json").write_text(json.dumps({"format": self.format}) + "\n", encoding="utf-8")

    def _sample(self, source: Path) -> list[Window]:
        """Windows of the validation split, spread over it evenly; without tokens, the texts of the parity check."""
        from stages.quant.checkpoint import read_json

        room = min(self.length, int(read_json(source / "config.json")["max_position_embeddings"]))
        if self.tokens is None:
            from stages.quant.parity import TEXTS
            from stages.text.tokenizer import load_tokenizer

            tokenizer = load_tokenizer(source)
            return [tokenizer.encode(text, add_special_tokens=False).ids[:room] for text in TEXTS if text]
        ids = _validation(self.tokens)
        count = min(self.windows, len(ids) // room)
        if not count:
            raise StageFailed(
                f"the validation split has {len(ids)} tokens, fewer than one window of {room}", mend="set length lower"
            )
        gap = (len(ids) - room) // max(1, count - 1) if count > 1 else 0
        return [ids[index * gap : index * gap + room].tolist() for index in range(count)]

    def _gguf_parity(self, out: Path, model: Any, sample: list[Window], ctx: Context) -> dict[str, float]:
        """Read by llama.cpp: text as the tokenizer cuts it, and an export in float32 as transformers computes it."""
        from stages.quant import gguf_export
        from stages.quant.parity import check_text, prompts, worst_difference
        from stages.service.llama_cpp import LlamaCpp

        exact = ctx.scratch / "f32.gguf"
        gguf_export.export(self.model.path, exact, "f32")
        asked = prompts(sample, model.config.max_position_embeddings - 1)
        with LlamaCpp(exact, threads=self.threads, exact=True) as engine:
            worst = worst_difference(engine, model, asked)
        exact.unlink()
        self._bound(worst, "llama.cpp")
        with LlamaCpp(out / "model.gguf", threads=self.threads) as engine:
            texts = check_text(engine, self.model.path)
            return {"parity": worst, "parity_texts": texts, "top5_difference": worst_difference(engine, model, asked)}

    def _int8_parity(self, out: Path, model: Any, sample: list[Window]) -> dict[str, float]:
        """Read back by transformers: the folder must compute what its rounded weights compute."""
        from stages.quant.loss import load_reference, log_probabilities, rounded_copy

        read = log_probabilities(load_reference(out), sample)
        meant = log_probabilities(rounded_copy(model, "int8"), sample)
        exact = log_probabilities(model, sample)
        worst = max(float((first - second).abs().max()) for first, second in zip(read, meant, strict=True))
        self._bound(worst, "transformers")
        tops = [
            (second[-1].gather(0, first[-1].topk(5).indices), first[-1].topk(5).values)
            for first, second in zip(exact, read, strict=True)
        ]
        return {"parity": worst, "top5_difference": max(float((found - wanted).abs().max()) for found, wanted in tops)}

    def _bound(self, worst: float, reader: str) -> None:
        if worst > self.parity:
            raise StageFailed(
                f"the export is not the model: {reader} differs by {worst:.4f} nats, more than {self.parity}",
                mend="report the checkpoint's config.json, or raise parity if the model computes in low precision",
            )


def _validation(tokens: Tokens) -> Any:
    import numpy as np

    path = tokens.path / "validation.bin"
    return np.fromfile(path, dtype=np.dtype(tokens.info()["dtype"]).newbyteorder("<"))


def _size(folder: Path) -> int:
    """Bytes of the weights."""
    return sum(path.stat().st_size for pattern in ("*.safetensors", "*.gguf") for path in folder.glob(pattern))
