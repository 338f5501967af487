"""What the stages that would run take and cost at each place: here, on each type of GPU that is for rent, on a person's own.

Compared are the stages that declare work for a GPU, or ask for one; all others stay where they are. What nobody knows is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.dag import Dag
from pipeline.entry import Entry
from pipeline.forecast import Forecast, forecast, known_sum
from pipeline.machine import machine
from pipeline.moving import HERE
from pipeline.plan import Plan
from pipeline.prices import Gpu, prices
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.tables import dollars, duration, table

RESERVED_GIB = 1.0
"""Of a GPU's memory, for the CUDA context, the workspaces of its libraries, and what the allocator cannot use."""


class StageOffer(BaseModel):
    """One stage at one place: what to expect, and the GiB of memory that it needs there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: Forecast
    needs_gib: float | None = None


class Offer(BaseModel):
    """All compared stages at one place: a type of GPU and where it is to be had, or this machine (`gpu` empty)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: str
    place: str
    has_gib: float | None
    stages: dict[str, StageOffer]

    @property
    def called(self) -> str:
        """The place as a person reads it."""
        return " on ".join(filter(None, [self.gpu, self.place]))

    @property
    def seconds(self) -> float | None:
        """Stage time of all of them; None where a part is unknown."""
        return known_sum([one.expected.seconds for one in self.stages.values()])

    @property
    def dollars(self) -> float | None:
        """What all of them cost; None where a part is unknown."""
        return known_sum([one.expected.dollars for one in self.stages.values()])

    @property
    def fits(self) -> bool | None:
        """Whether each of them has the memory it needs; None where that is not known of one, and none is known not to."""
        known = [
            None if None in (one.needs_gib, self.has_gib) else not self._lacks(one) for one in self.stages.values()
        ]
        return False if False in known else None if None in known else True

    def _lacks(self, one: StageOffer) -> bool:
        return (one.needs_gib or 0) > (self.has_gib or 0)

    @property
    def room(self) -> str:
        """Whether they fit, in words: of what does not, how much it needs."""
        if self.fits is not False:
            unknown = [label for label, one in self.stages.items() if None in (one.needs_gib, self.has_gib)]
            return "yes" if self.fits else f"unknown of {', '.join(unknown)}"
        label, most = max(self.stages.items(), key=lambda pair: pair[1].needs_gib or 0)
        return f"no: {label} needs {most.needs_gib:,.0f} of {self.has_gib:,.0f} GiB"

    def as_json(self) -> dict[str, Any]:
        """The offer for machines, its sums included."""
        sums = {"seconds": self.seconds, "dollars": self.dollars, "fits": self.fits}
        return {**self.model_dump(), **sums}


def offers(plan: Plan, dag: Dag, store: Store) -> list[Offer]:
    """This machine first, then every type of GPU of which something is known."""
    compared = {entry.label: dag.stages[entry.label] for entry in plan.waiting if computes(dag.stages[entry.label])}
    there: list[tuple[str, Gpu | None]] = [("", None), *prices().gpu.items()]
    made = {label: _Known(stage, plan, dag, store) for label, stage in compared.items()}
    return [_offer(name, gpu, made) for name, gpu in there] if made else []


def computes(stage: Stage[Any]) -> bool:
    """Whether a stage could use a GPU: it declares its work, or asks for one."""
    return stage.flops() is not None or stage.resources.gpus > 0


def _offer(name: str, gpu: Gpu | None, stages: Mapping[str, _Known]) -> Offer:
    place = gpu.on if gpu else HERE
    has = (
        gpu.memory_gib if gpu else None if any(one.on_gpu_here for one in stages.values()) else machine()["memory_gib"]
    )
    return Offer(
        gpu=name, place=place, has_gib=has, stages={label: one.at(name, place) for label, one in stages.items()}
    )


class _Known:
    """A stage, and what its forecast rests on wherever it runs."""

    def __init__(self, stage: Stage[Any], plan: Plan, dag: Dag, store: Store) -> None:
        self.stage, self.entry = stage, plan.entries[stage.label]
        self.earlier = store.of_stage(stage.stage_name())
        made = {at: plan.entries[one.producer.label].made for at, one in stage.inputs().items() if one.producer}
        self.sizes = {at: one.size if one else None for at, one in made.items()}

    @property
    def on_gpu_here(self) -> bool:
        """Whether it runs on a GPU of this machine, of which nobody knows the type."""
        return self.stage.resources.gpus > 0 and not self.entry.away

    def at(self, gpu: str, place: str) -> StageOffer:
        """The stage on as many of these GPUs as it asks for, or without any."""
        asked, needs = self.stage.resources, self.stage.gpu_memory()
        if gpu:
            there: dict[str, Any] = {"gpu": gpu, "gpus": max(asked.gpus, 1), "on": place, "dollars_per_hour": None}
        elif self.entry.away:
            there = {"gpu": "", "gpus": 0, "on": "", "dollars_per_hour": None}
        else:
            there = {}
        stage = self.stage.model_copy(update={"resources": asked.model_copy(update=there)})
        expected = forecast(stage, self.earlier, self.sizes, self.entry.share, self.entry.done)
        return StageOffer(
            expected=expected, needs_gib=None if needs is None else needs / 2**30 + (RESERVED_GIB if gpu else 0)
        )


def offer_lines(found: Sequence[Offer], plan: Plan, colour: bool) -> list[str]:
    """The offers as one table, and what it rests on."""
    if not found:
        return ["nothing that would run declares work for a GPU, or asks for one: there is nothing to compare"]
    rows = [[one.called, duration(one.seconds), dollars(one.dollars), one.room] for one in found]
    labels = list(found[0].stages)
    rest = [entry for entry in plan.waiting if entry.label not in labels]
    return [
        *table(["place", "expected", "dollars", "fits"], rows, right=(1, 2), colour=colour),
        f"compared: {', '.join(labels)}{_rest(rest)}",
        *_basis(found),
    ]


def _rest(rest: Sequence[Entry]) -> str:
    if not rest:
        return ""
    known = [entry.forecast.seconds for entry in rest if entry.forecast.seconds is not None]
    takes = f"about {duration(sum(known))}" if known else "time unknown"
    unknown = f" and {len(rest) - len(known)} of unknown time" if 0 < len(known) < len(rest) else ""
    who = "1 other stays where it is" if len(rest) == 1 else f"{len(rest)} others stay where they are"
    return f"; {who} ({takes}{unknown})"


def _basis(found: Iterable[Offer]) -> list[str]:
    expected = [one.expected.basis for offer in found for one in offer.stages.values()]
    lines = [f"dollars: {prices().source}, and your own price file"]
    if any(basis.startswith("declared work") for basis in expected):
        lines.append(
            "where no run on such a GPU is on record, the declared work at the share of its peak in bfloat16 that the stage expects"
        )
    return lines
