"""What Modal lets a function ask for. Its client checks none of it: a wrong name would wait for a machine that never comes.

Everything here is known without the network and without Modal's package, so that a plan can be checked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from infra.modal_names import TRY
from pipeline.errors import UsageError
from pipeline.messages import nearest
from pipeline.resources import Resources

SOURCE = "Modal's guides on GPUs, resources, timeouts and retries, read in 2026-11"

MOST_GPUS: Mapping[str, int] = {
    "T4": 8, "L4": 8, "A10": 4, "A10G": 4, "L40S": 8, "A100": 8, "A100-40GB": 8, "A100-80GB": 8, "RTX-PRO-6000": 8,
    "H100": 8, "H100!": 8, "H200": 8, "B200": 8, "B200+": 8,
}  # fmt: skip
"""The types of GPU, and how many of one a container can have. Capitals do not count."""

MOST_MINUTES = 24 * 60
MOST_RETRIES = 10
LEAST_CPUS, MOST_CPUS = 0.125, 64.0
LEAST_GIB, MOST_GIB = 0.125, 336.0


def check(label: str, asked: Resources) -> None:
    """Raise UsageError where Modal gives no machine like the one that the stage `label` asks for."""
    _check_gpu(label, asked.gpu, asked.gpus)
    _within(label, "cpus", asked.cpus, LEAST_CPUS, MOST_CPUS, "CPU cores")
    _within(label, "memory_gib", asked.memory_gib, LEAST_GIB, MOST_GIB, "GiB of memory")
    if asked.minutes > MOST_MINUTES:
        raise UsageError(
            f"stage {label!r} may take {asked.minutes:g} minutes, and one try on Modal takes {MOST_MINUTES} at most",
            mend="minutes=0 sets no limit: its tries are then chained, each going on from the last commit",
        )
    if asked.retries > MOST_RETRIES:
        raise UsageError(
            f"stage {label!r} may be tried again {asked.retries} times, and Modal allows {MOST_RETRIES}",
            mend=f"give it Resources(retries={MOST_RETRIES}); a run that is started again goes on from its commits",
        )


def _check_gpu(label: str, gpu: str, count: int) -> None:
    if not gpu:
        if count:
            raise UsageError(
                f"stage {label!r} asks for {count} GPUs of no type, and Modal rents them by type",
                mend=f"name one: Resources(gpus={count}, gpu='H100')",
            )
        return
    if gpu.upper() not in MOST_GPUS:
        guess = nearest(gpu.upper(), list(MOST_GPUS))
        hint = f"did you mean {guess!r}?" if guess else f"it has: {', '.join(MOST_GPUS)}"
        number = " (the number goes into gpus=)" if ":" in gpu else ""
        raise UsageError(
            f"stage {label!r}: Modal has no GPU {gpu!r}{number}; {hint}", mend="mend gpu= of its resources"
        )
    most = MOST_GPUS[gpu.upper()]
    if count > most:
        raise UsageError(
            f"stage {label!r} asks for {count} GPUs of type {gpu}, and a container on Modal has {most} at most",
            mend=f"give it gpus={most}, or another type",
        )


def _within(label: str, name: str, value: float, least: float, most: float, unit: str) -> None:
    if value and not least <= value <= most:
        raise UsageError(
            f"stage {label!r} asks for {value:g} {unit}, and Modal gives {least:g} to {most:g}",
            mend=f"give it another {name}= in its resources",
        )


def gpu_of(asked: Resources) -> str | None:
    """The GPUs that a stage asks for, as Modal writes them: ``H100:8``; None for none."""
    return (f"{asked.gpu.upper()}:{asked.gpus}" if asked.gpus > 1 else asked.gpu.upper()) or None


def longest() -> int:
    """Seconds that one try may take at most. Raises UsageError for a setting that is none."""
    said = os.environ.get(TRY, "")
    if not said:
        return MOST_MINUTES * 60
    if not said.isdecimal() or not 1 <= int(said) <= MOST_MINUTES * 60:
        raise UsageError(f"{TRY}={said} is no number of seconds up to {MOST_MINUTES * 60}", mend=f"unset {TRY}")
    return int(said)


def handed_over(seconds: float) -> float:
    """After how much of a try that takes `seconds` its job is handed over, at its next commit, to another machine."""
    return seconds - min(600, seconds / 2)
