"""The options of `python -m stages.train`, each within its bounds; they bear the names and defaults of the stage Pretrain."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Where to read and write, and every setting of the training."""

    tokens: Path
    out: Path
    tokenizer: Path | None = None
    depth: int = 4
    width: int = 0
    tied: bool = True
    sequence: int = 128
    steps: int = 400
    batch: int = 16
    micro_batch: int = 0
    rate: float = 3e-3
    warmup: int = 20
    decay: float = 0.4
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    threads: int = 2
    precision: str = "float32"
    checkpoint_every: int = 100
    evaluate_tokens: int = 65_536
    device: str = "auto"
    sample: int = 0

    def identity(self) -> dict[str, object]:
        """What the weights depend on: a training goes on only with the same."""
        left_out = ("tokens", "out", "tokenizer", "checkpoint_every", "evaluate_tokens", "device", "sample")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}


def read(words: Sequence[str]) -> Options:
    """The options that the command line gives; argparse ends the process with 2 for one that is out of bounds."""
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__, allow_abbrev=False)
    parser.add_argument("--tokens", type=Path, required=True, help="folder of packed tokens")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the model")
    parser.add_argument("--tokenizer", type=Path, help="folder with the tokenizer.json that the tokens were made with")
    for name, kind, told in BOUNDED:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=getattr(Options, name), help=f"{told}; %(default)s"
        )
    parser.add_argument("--untied", dest="tied", action="store_false", help="embedding and output are two matrices")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=Options.precision, help="of products")
    parser.add_argument("--device", default=Options.device, choices=("auto", "cpu", "cuda"), help="auto: a GPU if any")
    return Options(**vars(parser.parse_args(words)))


def _whole(least: int, most: int = 1 << 40, multiple: int = 1) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most or value % multiple:
            by = f", a multiple of {multiple}" if multiple > 1 else ""
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}{by}")
        return value

    return number


def _real(least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most or (above and value == least):  # what is no number is in no bounds
            raise argparse.ArgumentTypeError(f"{text} is not {'above' if above else 'from'} {least:g} to {most:g}")
        return value

    return number


BOUNDED: tuple[tuple[str, Callable[[str], int | float], str], ...] = (
    ("depth", _whole(1, 1000), "blocks"),
    ("width", _whole(0, 1 << 16, 64), "size of the residual stream; 0: 48 a block, up to a multiple of 64"),
    ("sequence", _whole(8, 1 << 20), "tokens seen at once"),
    ("steps", _whole(1), "updates"),
    ("batch", _whole(1, 1 << 20), "sequences in one update"),
    ("micro_batch", _whole(0, 1 << 20), "sequences computed at once; 0: all"),
    ("rate", _real(0, 1, above=True), "peak learning rate"),
    ("warmup", _whole(0), "updates in which the rate climbs"),
    ("decay", _real(0, 1), "last share of the updates, in which it falls"),
    ("weight_decay", _real(0, 100), "AdamW's"),
    ("clip", _real(0, 1e9, above=True), "largest norm of a gradient"),
    ("seed", _whole(0, (1 << 63) - 1), "first weights and order of the data"),
    ("threads", _whole(1, 1024), "CPU threads"),
    ("checkpoint_every", _whole(0), "updates between checkpoints; 0: none"),
    ("evaluate_tokens", _whole(2), "validation tokens scored at the end"),
    ("sample", _whole(0, 1 << 16), "tokens to generate at the end"),
)
