"""What a stage is expected to take and to cost: from the last attempt like it, scaled by its declared work, else by the setting
along which it extends, else by the bytes of its inputs; a GPU stage that was never run, from its declared work and what the
GPU can do. What nobody knows is None."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.manifest import Cost, Manifest
from pipeline.prices import core, hourly, peak_flops
from pipeline.resources import Resources
from pipeline.spent import less
from pipeline.stage import Stage
from pipeline.tables import duration


class Forecast(BaseModel):
    """Wall seconds and dollars to expect, None where unknown, and what that rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float | None = None
    dollars: float | None = None
    basis: str = ""


FREE = Forecast(seconds=0.0, dollars=0.0, basis="cached")


def forecast(
    stage: Stage[Any],
    earlier: Sequence[Manifest],
    sizes: Mapping[str, int | None],
    share: float = 1.0,
    done: float = 0.0,
) -> Forecast:
    """What `stage` is expected to take, given earlier attempts (newest first) and the bytes of its inputs by place.

    `share` is the part of the work that is still to be done, where the stage goes on from what a shorter attempt kept; of
    that, `done` seconds are committed by sessions that were cut short.
    """
    work, alike = stage.flops(), reference(stage, earlier)
    if alike is not None:
        factor, why = _scale(stage, alike, work, sizes)
        before = worked(alike)
        seconds = max(before.wall_seconds * factor * share - done, 0.0)
        beyond = before.beyond_cpu_seconds * seconds / before.wall_seconds if before.wall_seconds else 0.0
        basis = f"last run{why}" + (f", {share:.0%} of it left" if share < 1 else "") + _less(done)
        return Forecast(seconds=seconds, dollars=_price(stage.resources, seconds, beyond), basis=basis)
    speed = peak_flops(stage.resources)
    expected = None if speed is None else stage.gpu_seconds(speed)
    if work is None or speed is None or not expected:
        return Forecast()
    seconds = max(expected * share - done, 0.0)
    basis = f"declared work at {work / expected / speed:.0%} of {stage.resources.gpu}'s peak{_less(done)}"
    return Forecast(seconds=seconds, dollars=_price(stage.resources, seconds), basis=basis)


def _less(done: float) -> str:
    return f", less {duration(done)} that are committed" if done else ""


def reference(stage: Stage[Any], earlier: Sequence[Manifest]) -> Manifest | None:
    """The attempt to go by: made here on machines of that kind, of the same label where there is one, whole, newest."""
    wanted = stage.resources.gpu.upper(), bool(stage.resources.gpus)
    alike = [
        made
        for made in earlier
        if not made.origin and (made.resources.get("gpu", "").upper(), bool(made.resources.get("gpus", 0))) == wanted
    ]
    return min(alike, key=lambda made: (bool(made.extended_from), made.label != stage.label), default=None)


def _scale(
    stage: Stage[Any], alike: Manifest, work: float | None, sizes: Mapping[str, int | None]
) -> tuple[float, str]:
    if work and alike.flops:
        factor, what = work / alike.flops, "work"
    elif before := alike.settings.get(stage.extends):
        factor, what = getattr(stage, stage.extends) / before, stage.extends
    else:
        now = [size for size in sizes.values() if size]
        then = [record.size for record in alike.inputs.values() if record.size]
        if not sizes or len(now) != len(sizes) or len(then) != len(alike.inputs):
            return 1.0, ""
        factor, what = sum(now) / sum(then), "input"
    return factor, "" if 0.95 < factor < 1.05 else f" × {factor:.2g} {what}"


def _price(resources: Resources, seconds: float, beyond: float = 0.0) -> float | None:
    price = hourly(resources)
    return None if price is None else (price * seconds + core(resources) * beyond) / 3600


def worked(made: Manifest) -> Cost:
    """What an attempt cost without what was lost and what was idle."""
    return less(less(made.cost, made.lost), made.idle)


def known_sum(parts: Sequence[float | None]) -> float | None:
    """The sum, or None where a part is unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def makespan(
    seconds: Mapping[str, float], parents: Mapping[str, Sequence[str]], cores: Mapping[str, float], machine: float
) -> float:
    """Wall seconds of a run, each stage starting once what it needs of `seconds` has ended and its cores are free."""
    waiting, running, ended = list(seconds), list[tuple[float, str]](), set[str]()
    free, now = machine, 0.0
    held = {label: min(cores[label], machine) for label in seconds}
    while waiting or running:
        for label in list(waiting):
            above = [parent for parent in parents[label] if parent in seconds]
            if held[label] <= free and ended.issuperset(above):
                waiting.remove(label)
                free -= held[label]
                heapq.heappush(running, (now + seconds[label], label))
        now, label = heapq.heappop(running)
        ended.add(label)
        free += held[label]
    return now
