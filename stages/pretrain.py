"""Pretrains a Llama on packed tokens: on a CPU, the same settings and thread count give the same bytes, killed and resumed or not."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.devices import device
from stages.kinds import Model, Tokenizer, Tokens
from stages.threads import cpus_by_threads
from stages.work import Size, pretraining_memory

if TYPE_CHECKING:
    from stages.model import Llama, LlamaConfig
    from stages.train import PackedTokens, Progress, Recipe


class Pretrain(Stage[Model]):
    """Train a Llama from nothing; `depth` is the one dial of its size, and everything else follows unless set.

    More `steps` go on from where the rate of a shorter training began to fall, and end in the bytes of one long run.
    """

    extends = "steps"
    shows = ("bits_per_byte", "tokens_per_second", "parameters")

    tokens: Tokens
    tokenizer: Tokenizer
    depth: int = Field(default=4, ge=1, description="blocks; width, heads and the feed-forward's size follow from it")
    width: int = Field(
        default=0,
        ge=0,
        multiple_of=64,
        description="size of the residual stream; 0: 48 for each block, up to a multiple of 64",
    )
    tied: bool = Field(default=True, description="whether one matrix serves as embedding and as output")
    sequence: int = Field(default=128, ge=8, description="tokens that the model sees at once")
    steps: int = Field(default=400, ge=1, description="updates")
    batch: int = Field(default=16, ge=1, description="sequences in one update")
    micro_batch: int = Field(
        default=0,
        ge=0,
        description="sequences computed at once, 0: all of the batch; it changes sums in their last bits",
    )
    rate: float = Field(default=3e-3, gt=0, description="peak learning rate of AdamW")
    warmup: int = Field(default=20, ge=0, description="updates in which the rate climbs")
    decay: float = Field(default=0.4, ge=0, le=1, description="last share of the updates, in which the rate falls")
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW's decay of matrices")
    clip: float = Field(default=1.0, gt=0, description="largest norm of a gradient")
    seed: int = Field(default=0, ge=0, lt=1 << 63, description="first weights and order of the data")
    threads: int = Field(
        default=2, ge=1, description="CPU threads; part of the identity, for sums differ between counts"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of matrix products; weights stay in float32"
    )
    checkpoint_every: int = Field(
        default=100, ge=0, description="updates between checkpoints from which a killed run goes on; 0: none"
    )
    evaluate_every: int = Field(
        default=100, ge=0, description="updates between readings of validation bits per byte; 0: only at the end"
    )
    evaluate_tokens: int = Field(
        default=65_536, ge=2, description="validation tokens scored at the end; an eighth of them on the way"
    )

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def size(self) -> Size:
        """Of the model; the vocabulary where the stage that makes the tokenizer says it before it is made."""
        known = getattr(self.tokenizer.producer, "vocab_size", 0)
        return Size(self.depth, self.width, known if isinstance(known, int) else 0, self.tied)

    def flops(self) -> float:
        """Of the updates alone: readings of the validation split are small beside them."""
        return self.size().flops(self.steps * self.batch * self.sequence)

    def gpu_seconds(self, peak: float) -> float:
        parts = -(-self.batch // (self.micro_batch or self.batch))
        tokens = self.batch * self.sequence / parts
        return self.steps * parts * self.size().seconds(tokens, peak, low=self.precision == "bfloat16")

    def gpu_memory(self) -> float | None:
        if not self.size().vocabulary:
            return None
        return pretraining_memory(
            self.size(), sequence=self.sequence, batch=self.batch, micro_batch=self.micro_batch,
            low=self.precision == "bfloat16",
        )  # fmt: skip

    def continues_until(self) -> float:
        return self._recipe().settled()

    def run(self, out: Model, ctx: Context) -> None:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            self._train(out.path, ctx)
        finally:
            torch.set_num_threads(before)

    def _train(self, folder: Path, ctx: Context) -> None:

        from stages.model import Llama
        from stages.text.tokenizer import token_bytes
        from stages.train import PackedTokens, bits_per_byte, train

        data, held_out = (PackedTokens(self.tokens.path, split) for split in ("train", "validation"))
        config, recipe = self._config(data), self._recipe()
        model = Llama(config).initialise(self.seed).to(device(self.resources))
        if resume := _resume(ctx):
            ctx.note(f"going on from {resume.stem}")
        sizes = token_bytes(self.tokenizer.path)
        read = partial(bits_per_byte, model, held_out, self.sequence, sizes, precision=self.precision)
        told = _Teller(self, ctx, read if held_out.tokens > 1 else None)
        train(
            model,
            data,
            recipe,
            resume=resume,
            every=self.checkpoint_every,
            save=partial(_save, ctx),
            keep=partial(_keep, ctx),
            report=told,
        )
        score = read(most=self.evaluate_tokens) if held_out.tokens > 1 else None
        self._write(folder, model)
        ctx.log(
            step=None,
            **told.summary(),
            parameters=model.parameter_count(),
            tokens=self.steps * self.batch * self.sequence,
        )
        if score is not None:
            ctx.log(step=self.steps, bits_per_byte=score)

    def _config(self, data: PackedTokens) -> LlamaConfig:
        from stages.model import shape
        from stages.text.tokenizer import END, END_OF_TEXT, PAD, load_tokenizer, token_id

        engine = load_tokenizer(self.tokenizer.path)
        if engine.get_vocab_size() != data.vocab_size:
            raise StageFailed(
                f"the tokens were made with a vocabulary of {data.vocab_size}, the tokenizer has {engine.get_vocab_size()}",
                mend="give Pretrain the tokenizer that Encode had",
            )
        if data.tokens <= self.sequence:
            raise StageFailed(
                f"the training split has {data.tokens} tokens, too few for one sequence of {self.sequence}",
                mend="set a smaller sequence, or collect more",
            )
        boundary, end, pad = (token_id(engine, token) for token in (END_OF_TEXT, END, PAD))
        return shape(
            self.depth, vocab_size=data.vocab_size, width=self.width, tied=self.tied, sequence=self.sequence,
            bos=boundary, eos=(end, boundary), pad=pad,
        )  # fmt: skip

    def _recipe(self) -> Recipe:
        from stages.train.recipe import Recipe

        return Recipe(
            steps=self.steps, batch=self.batch, sequence=self.sequence, rate=self.rate, warmup=self.warmup, decay=self.decay,
            weight_decay=self.weight_decay, clip=self.clip, seed=self.seed, precision=self.precision, micro_batch=self.micro_batch,
        )  # fmt: skip

    def _write(self, folder: Path, model: Llama) -> None:
        from stages.model import save

        for path in sorted(self.tokenizer.path.iterdir()):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        save(model, folder)


def _resume(ctx: Context) -> Path | None:
    """The furthest state that there is: of this training, or of a shorter one; None where it begins."""
    saved = max(ctx.scratch.glob("step-*.pt"), default=None)
    earlier = ctx.earlier(beyond=int(saved.stem.removeprefix("step-")) if saved else 0)
    return next(earlier.path.glob("step-*.pt")) if earlier else saved


def _state_file(ctx: Context, step: int, state: dict[str, Any]) -> Path:
    from stages.train import save_state

    path = ctx.scratch / f"step-{step:08d}.pt"
    save_state(path, state)
    return path


def _save(ctx: Context, step: int, state: dict[str, Any]) -> None:
    """Commit the state under a name of its own, then drop the ones before it."""
    path = _state_file(ctx, step, state)
    ctx.commit(path)
    for old in ctx.scratch.glob("step-*.pt"):
        if old != path:
            old.unlink()


def _keep(ctx: Context, step: int, state: dict[str, Any]) -> None:
    ctx.keep(_state_file(ctx, step, state), at=step)


class _Teller:
    """Turns each update into progress (at most twice a second) and metrics (every tenth update and the readings)."""

    def __init__(self, stage: Pretrain, ctx: Context, read: Callable[..., float] | None) -> None:
        self.stage, self.ctx, self.read = stage, ctx, read
        self.last = 0.0
        self.progress: Progress | None = None

    def __call__(self, now: Progress) -> None:
        self.progress = now
        clock = time.monotonic()
        if clock - self.last >= 0.5 or now.step == self.stage.steps:
            self.last = clock
            self.ctx.progress(now.step, self.stage.steps, "steps")
        if now.step % 10 == 0 or now.step == self.stage.steps:
            self.ctx.log(step=now.step, loss=now.loss, rate=now.rate, tokens_per_second=now.tokens_per_second)
        every = self.stage.evaluate_every
        if every and now.step % every == 0 and now.step < self.stage.steps and self.read:
            some = max(2, self.stage.evaluate_tokens // 8)
            self.ctx.log(step=now.step, bits_per_byte=self.read(most=some))

    def summary(self) -> dict[str, float]:
        """Speed and loss of the last update; nothing where a resumed run had no update left."""
        return (
            {}
            if self.progress is None
            else {"loss": self.progress.loss, "tokens_per_second": self.progress.tokens_per_second}
        )
