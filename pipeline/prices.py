"""What a machine costs by the hour, and how fast its GPU is at best: a dated table, which a person's own file overrides.

The file is the one that CORPUSMILL_PRICES names, else ``corpusmill/prices.toml`` below the folder of the user's settings
(XDG_CONFIG_HOME, by default ``~/.config``)::

    [gpu.H100]
    dollars_per_hour = 2.10   # of one GPU
    flops = 989e12            # its peak in bfloat16, without sparsity

    [cpu]
    dollars_per_hour = 0.05   # of one core; nothing is priced on CPUs unless this says so
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError
from pipeline.resources import Resources

SOURCE = "Modal's list prices of 2026-05 for one GPU"


class Gpu(BaseModel):
    """One type of GPU: dollars an hour, and peak floating-point operations a second in bfloat16, without sparsity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dollars_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Cpu(BaseModel):
    """What one CPU core costs an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dollars_per_hour: float = Field(ge=0, allow_inf_nan=False)


class Prices(BaseModel):
    """All that is known of prices. A type of GPU that is not in it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: dict[str, Gpu] = {}
    cpu: Cpu | None = None


LISTED = Prices(
    gpu={
        "T4": Gpu(dollars_per_hour=0.5904, flops=65e12),  # has no bfloat16: half precision
        "L4": Gpu(dollars_per_hour=0.7992, flops=121e12),
        "A10": Gpu(dollars_per_hour=1.1016, flops=125e12),
        "L40S": Gpu(dollars_per_hour=1.9512, flops=362e12),
        "A100-40GB": Gpu(dollars_per_hour=2.0988, flops=312e12),
        "A100-80GB": Gpu(dollars_per_hour=2.4984, flops=312e12),
        "H100": Gpu(dollars_per_hour=3.9492, flops=989e12),
        "H200": Gpu(dollars_per_hour=4.5396, flops=989e12),
        "B200": Gpu(dollars_per_hour=6.2496, flops=2250e12),
    }
)
"""Prices: `SOURCE`. Speeds: NVIDIA's data sheets, dense."""


def place() -> Path:
    """The file that overrides the table, whether it exists or not."""
    named = os.environ.get("CORPUSMILL_PRICES")
    if named:
        return Path(named).expanduser()
    settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(settings).expanduser() / "corpusmill" / "prices.toml"


@cache
def prices() -> Prices:
    """The table with the person's own file over it. Raises UsageError for a file that cannot be read."""
    file = place()
    if not file.is_file():
        if os.environ.get("CORPUSMILL_PRICES"):
            raise UsageError(f"the price file {file} is not there", mend="mend or unset CORPUSMILL_PRICES")
        return LISTED
    import tomllib

    try:
        own = Prices.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise UsageError(f"the price file {file} cannot be read: {fault}", mend="mend it or move it away") from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"the price file {file}: {where}: {first['msg']}", mend="see pipeline/prices.py") from None
    merged = {_form(name): gpu for name, gpu in LISTED.gpu.items()}
    for name, gpu in own.gpu.items():
        merged[_form(name)] = Gpu(**{**_said(merged.get(_form(name))), **_said(gpu)})
    return Prices(gpu=merged, cpu=own.cpu)


def _form(name: str) -> str:
    """The name of a type of GPU as it is looked for: capitals do not count."""
    return name.upper()


def _said(gpu: Gpu | None) -> dict[str, float]:
    return gpu.model_dump(exclude_none=True) if gpu else {}


def hourly(resources: Resources) -> float | None:
    """Dollars an hour of what a stage holds: its own price, else that of its GPUs or cores; None where nobody knows it."""
    if resources.dollars_per_hour:
        return resources.dollars_per_hour
    known = prices()
    if resources.gpu:
        gpu = known.gpu.get(_form(resources.gpu))
        return None if gpu is None or gpu.dollars_per_hour is None else gpu.dollars_per_hour * max(1, resources.gpus)
    return known.cpu.dollars_per_hour * resources.cpus if known.cpu and not resources.gpus else None


def peak_flops(resources: Resources) -> float | None:
    """Floating-point operations a second of the GPUs that a stage names, at best; None without a type that is known."""
    gpu = prices().gpu.get(_form(resources.gpu))
    return None if gpu is None or gpu.flops is None else gpu.flops * max(1, resources.gpus)


def priced(resources: Resources) -> Resources:
    """The same with the price an hour that is known here, for a machine that knows nothing of prices."""
    price = hourly(resources)
    return resources if price is None else resources.model_copy(update={"dollars_per_hour": price})
