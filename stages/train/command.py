"""What `python -m stages.train` does: train, go on after a kill, write the model, generate; one line of JSON at the end."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stages.model.checkpoint import load, save
from stages.model.config import LlamaConfig, shape
from stages.model.generation import generate
from stages.model.llama import Llama
from stages.train.bytewise import Vocabulary
from stages.train.data import PackedTokens
from stages.train.figures import Stopwatch, about
from stages.train.loop import bits_per_byte, save_state, train
from stages.train.options import Options, read
from stages.train.recipe import Recipe

PROMPT = 32
"""Tokens of the validation split that a sample goes on from."""


def main(words: Sequence[str]) -> int:
    """Run the command; what is wrong is one line, and the status 1."""
    try:
        options = read(words)
        torch.set_num_threads(options.threads)
        with _alone(options.out):
            print(json.dumps(_figures(options)), flush=True)
    except (ValueError, KeyError, FloatingPointError, OSError, RuntimeError) as fault:
        first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        print(f"error: {first}", file=sys.stderr)
        return 1
    return 0


def _figures(options: Options) -> dict[str, Any]:
    device = _device(options.device)
    data, held_out = (PackedTokens(options.tokens, split) for split in ("train", "validation"))
    vocabulary = Vocabulary(options.tokenizer, data.vocab_size) if options.tokenizer else None
    _remember(options)
    model_folder = options.out / "model"
    if (model_folder / "config.json").exists():
        print("finished before", flush=True)
        model, told = load(model_folder).to(device), {}
    else:
        model, told = _trained(options, device, data, vocabulary)
        _write(model, model_folder, options.tokenizer)
    if held_out.tokens > 1:
        told["bits_per_byte"] = round(_score(options, model, held_out), 4)
    if options.sample and held_out.tokens > 1:
        _say(model, held_out, options.sample, vocabulary)
    return {**told, **about(device)}


def _device(asked: str) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def _trained(
    options: Options, device: torch.device, data: PackedTokens, vocabulary: Vocabulary | None
) -> tuple[Llama, dict[str, Any]]:
    model = Llama(_shape(options, data.vocab_size, vocabulary)).initialise(options.seed).to(device)
    resume = max(options.out.glob("step-*.pt"), default=None)
    if resume:
        print(f"going on from {resume.stem}", flush=True)
    watch = Stopwatch(model.config, options.batch * options.sequence, options.steps)
    train(
        model,
        data,
        _recipe(options),
        resume=resume,
        every=options.checkpoint_every,
        save=partial(_checkpoint, options.out),
        report=watch,
    )
    return model, watch.figures(device)


def _shape(options: Options, vocab_size: int, vocabulary: Vocabulary | None) -> LlamaConfig:
    ids: dict[str, Any] = vocabulary.ids() if vocabulary else {}
    return shape(
        options.depth, vocab_size=vocab_size, width=options.width, tied=options.tied, sequence=options.sequence, **ids
    )


def _recipe(options: Options) -> Recipe:
    return Recipe(
        steps=options.steps, batch=options.batch, sequence=options.sequence, rate=options.rate, warmup=options.warmup,
        decay=options.decay, weight_decay=options.weight_decay, clip=options.clip, seed=options.seed,
        precision=options.precision, micro_batch=options.micro_batch,
    )  # fmt: skip


def _checkpoint(out: Path, step: int, state: dict[str, Any]) -> None:
    """Keep the newest state alone; it is there, whole, before the one before it goes."""
    path = out / f"step-{step:08d}.pt"
    save_state(path, state)
    for old in out.glob("step-*.pt"):
        if old != path:
            old.unlink()


def _remember(options: Options) -> None:
    """Note the settings of a training that begins. Raises ValueError where the folder is that of another one."""
    path, now = options.out / "settings.json", json.loads(json.dumps(options.identity()))
    if path.exists() and (any(options.out.glob("step-*.pt")) or (options.out / "model").exists()):
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [f"{name} {before.get(name)} there, {now[name]} here" for name in now if before.get(name) != now[name]]
        if other:
            raise ValueError(f"{options.out} holds another training ({'; '.join(other)}): name another --out")
    _put(path, json.dumps(now, indent=1))


def _put(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _write(model: Llama, folder: Path, tokenizer: Path | None) -> None:
    """The checkpoint, with the tokenizer's files where there are any; it appears whole."""
    partial = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for path in sorted(tokenizer.iterdir()) if tokenizer else ():
        if path.is_file():
            shutil.copyfile(path, partial / path.name)
    save(model, partial)
    os.replace(partial, folder)


def _score(options: Options, model: Llama, held_out: PackedTokens) -> float:
    """Bits per byte of the validation split, as far as it is scored, by the bytes that its tokens have on average."""
    each = [1] * held_out.vocab_size
    per_token = bits_per_byte(model, held_out, options.sequence, each, options.evaluate_tokens, options.precision)
    return per_token * held_out.tokens / held_out.bytes


def _say(model: Llama, held_out: PackedTokens, count: int, vocabulary: Vocabulary | None) -> None:
    """Go on from the beginning of the validation split, likeliest token by likeliest token."""
    prompt = [int(one) for one in held_out.ids[: min(PROMPT, held_out.tokens)]]
    answer = generate(model, [prompt], count)[0]
    shown = [vocabulary.text(ids) if vocabulary else str(ids) for ids in (prompt, answer)]
    print(f"given:    {shown[0]!r}\ngoes on:  {shown[1]!r}", flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: a second process that trains into it is told. The lock dies with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process trains in {folder}") from None
        yield
