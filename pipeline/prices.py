"""What a machine costs by the hour, how fast its GPU is at best and what fits into it: a dated table, over it what a place has
told of its prices (``modal-rates.toml``, kept beside the next), and over both a person's own file.

That file is the one that CORPUSMILL_PRICES names, else ``corpusmill/prices.toml`` below the folder of the user's settings
(XDG_CONFIG_HOME, by default ``~/.config``)::

    [gpu.H100]
    dollars_per_hour = 2.10   # of one GPU
    flops = 989e12            # its peak in bfloat16, without sparsity
    memory_gib = 79           # what a process can have of it
    on = "ray://box:10001"    # where such a GPU is to be had, as --on says it

    [cpu]
    dollars_per_hour = 0.05   # of one core of this machine; nothing is priced on CPUs unless this says so

    [place.modal]
    core_dollars_per_hour = 0.047   # of one core there
    gib_dollars_per_hour = 0.008    # of one GiB of memory there
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError
from pipeline.resources import Resources

SOURCE = "Modal's list prices of 2026-05"


class Gpu(BaseModel):
    """One type of GPU: dollars an hour, peak floating-point operations a second in bfloat16, without sparsity; GiB of memory
    that a process can have; the place where it is to be had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dollars_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    on: str = ""


class Cpu(BaseModel):
    """What one CPU core costs an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dollars_per_hour: float = Field(ge=0, allow_inf_nan=False)


class Rent(BaseModel):
    """What is paid by the hour at a place besides GPUs: for each core, and each GiB of memory, that a stage holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    core_dollars_per_hour: float = Field(default=0, ge=0, allow_inf_nan=False)
    gib_dollars_per_hour: float = Field(default=0, ge=0, allow_inf_nan=False)

    def of(self, resources: Resources) -> float:
        """Dollars an hour of the cores and the memory that are asked for."""
        return self.core_dollars_per_hour * resources.cpus + self.gib_dollars_per_hour * resources.memory_gib


class Prices(BaseModel):
    """All that is known of prices. A type of GPU that is not in it has none; `place` is by the kind of place, as in modal.

    `source` says where those of the places come from, and of when they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = SOURCE
    gpu: dict[str, Gpu] = {}
    cpu: Cpu | None = None
    place: dict[str, Rent] = {}


def _modal(dollars_per_hour: float, flops: float, memory_gib: float) -> Gpu:
    return Gpu(dollars_per_hour=dollars_per_hour, flops=flops, memory_gib=memory_gib, on="modal")


LISTED = Prices(
    gpu={
        "T4": _modal(0.5904, 65e12, 14),  # has no bfloat16: half precision
        "L4": _modal(0.7992, 121e12, 22),
        "A10": _modal(1.1016, 125e12, 22),
        "L40S": _modal(1.9512, 362e12, 44),
        "A100-40GB": _modal(2.0988, 312e12, 39),
        "A100-80GB": _modal(2.4984, 312e12, 79),
        "H100": _modal(3.9492, 989e12, 79),
        "H200": _modal(4.5396, 989e12, 139),
        "B200": _modal(6.2496, 2250e12, 178),
    },
    place={"modal": Rent(core_dollars_per_hour=0.04716, gib_dollars_per_hour=0.007992)},
)
"""Prices: `SOURCE`, where a stage may be preempted and no region is asked for. Speeds: NVIDIA's data sheets, dense.

Memory: the capacity that torch tells on such a GPU, whole GiB; ECC and the driver keep the rest of what is sold.
"""


def own_file() -> Path:
    """The file that overrides the table, whether it exists or not."""
    named = os.environ.get("CORPUSMILL_PRICES")
    return Path(named).expanduser() if named else _settings() / "prices.toml"


def told_file() -> Path:
    """Where what Modal charges is kept, from when it was asked last; it may not be there."""
    return _settings() / "modal-rates.toml"


def _settings() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "corpusmill"


@cache
def prices() -> Prices:
    """The table with what was told over it, and the person's own file over both. Raises UsageError for one that cannot be read."""
    known, file = LISTED, own_file()
    if told_file().is_file():
        known = _over(known, _read(told_file(), "ask again: corpusmill infra modal prices; or remove it"))
    if file.is_file():
        known = _over(known, _read(file, "mend it or move it away"))
    elif os.environ.get("CORPUSMILL_PRICES"):
        raise UsageError(f"the price file {file} is not there", mend="mend or unset CORPUSMILL_PRICES")
    return known


def _read(file: Path, mend: str) -> Prices:
    import tomllib

    try:
        return Prices.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise UsageError(f"the price file {file} cannot be read: {fault}", mend=mend) from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"the price file {file}: {where}: {first['msg']}", mend="see pipeline/prices.py") from None


def _over(known: Prices, own: Prices) -> Prices:
    """What is `own`, and what is known besides."""
    merged = {_form(name): gpu for name, gpu in known.gpu.items()}
    for name, gpu in own.gpu.items():
        merged[_form(name)] = Gpu(**{**_given(merged.get(_form(name))), **_given(gpu)})
    rents = {name: Rent(**{**_given(known.place.get(name)), **_given(rent)}) for name, rent in own.place.items()}
    source = own.source if "source" in own.model_fields_set else known.source
    return Prices(source=source, gpu=merged, cpu=own.cpu or known.cpu, place={**known.place, **rents})


def _form(name: str) -> str:
    """The name of a type of GPU as it is looked for: capitals do not count."""
    return name.upper()


def _given(record: Gpu | Rent | None) -> dict[str, Any]:
    return record.model_dump(exclude_unset=True) if record else {}


def hourly(resources: Resources) -> float | None:
    """Dollars an hour of what a stage holds where it is put: its own price, else that of its GPUs, cores and memory; None
    where nobody knows it."""
    if resources.dollars_per_hour is not None:
        return resources.dollars_per_hour
    known = prices()
    rent = known.place.get(resources.on.partition("://")[0])
    if resources.gpus:
        gpu = known.gpu.get(_form(resources.gpu))
        if gpu is None or gpu.dollars_per_hour is None:
            return None
        return gpu.dollars_per_hour * resources.gpus + (rent.of(resources) if rent else 0)
    if rent:
        return rent.of(resources)
    return known.cpu.dollars_per_hour * resources.cpus if known.cpu else None


def core(resources: Resources) -> float:
    """Dollars an hour of one CPU that a stage holds, for those that its shards hold beyond; 0 where there is no price, and beside
    GPUs: a machine with GPUs is paid for whole."""
    price = hourly(resources)
    return 0.0 if price is None or resources.gpus else price / (resources.cpus or 1)


def peak_flops(resources: Resources) -> float | None:
    """Floating-point operations a second of the GPUs that a stage names, at best; None without a type that is known."""
    gpu = prices().gpu.get(_form(resources.gpu))
    return None if gpu is None or gpu.flops is None else gpu.flops * resources.gpus


def priced(resources: Resources) -> Resources:
    """The same with the price an hour that is known here, for a machine that knows nothing of prices."""
    price = hourly(resources)
    return resources if price is None else resources.model_copy(update={"dollars_per_hour": price})
