"""Where each stage of a dag runs: as --place says, else as its own resources do, else where the whole run does.

Of a run that goes to other machines, a stage that belongs to this one (`Stage.stays`) is left here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pipeline.dag import Dag
from pipeline.errors import UsageError
from pipeline.executor import Executor

HERE = "ray"
"""Where stages run of which nobody said anything: on this machine."""
OF_THIS_MACHINE = ("", "inline", HERE)


class Places:
    """The executors by place. Each is made once, and only when something is put there."""

    def __init__(self, make: Callable[[str], Executor]) -> None:
        self._make = make
        self.made: dict[str, Executor] = {}

    def __call__(self, place: str) -> Executor:
        if place not in self.made:
            self.made[place] = self._make(place)
        return self.made[place]

    def away(self, place: str) -> bool:
        """Whether what is put there runs on other machines than this one."""
        return place not in OF_THIS_MACHINE and self(place).remote


def _nowhere(place: str) -> Executor:
    raise UsageError(f"nobody said what runs at {place!r}", mend="give `places` to run()")


ALL_HERE = Places(_nowhere)
"""Of who puts no stage anywhere."""


@dataclass(frozen=True)
class Put:
    """Where a stage runs, whether that is on another machine, and why it stays here where the others go."""

    place: str = ""
    away: bool = False
    stays: str = ""


def put(dag: Dag, places: Places, on: str = "", chosen: Collection[str] = ()) -> dict[str, Put]:
    """Where each stage of `dag` runs, given the place `on` of the whole run and what is `chosen` as LABEL=PLACE.

    Raises UsageError for a place that is none, DagError for a label that is not there.
    """
    said = _chosen(dag, chosen)
    found = {}
    for label, stage in dag.stages.items():
        place, stays = said.get(label) or checked(stage.resources.on), ""
        if not place:
            place = checked(on)
            stays = stage.stays() if places.away(place) else ""
        found[label] = Put(HERE, stays=stays) if stays else Put(place, places.away(place))
    return found


def placed(dag: Dag, where: Mapping[str, Put]) -> Dag:
    """The same dag, the resources of each stage saying where it runs: nothing of that is identity."""
    other = copy.copy(dag)
    other.stages = {}
    for label, stage in dag.stages.items():
        resources = stage.resources.model_copy(update={"on": where[label].place})
        other.stages[label] = stage.model_copy(update={"resources": resources})
    return other


def checked(place: str) -> str:
    """The place, if its name can be one: NAME or NAME://ADDRESS. Raises UsageError."""
    if place and not re.fullmatch(r"[\w.-]+(://[^\s/].*)?", place):
        raise UsageError(f"{place!r} is no place", mend="write ray, inline, modal, or ray://HOST:10001")
    return place


def _chosen(dag: Dag, words: Collection[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for word in words:
        name, _, place = word.partition("=")
        if not name or not place:
            raise UsageError(f"--place {word!r} is not LABEL=PLACE", mend=f"the labels are: {', '.join(dag.stages)}")
        label = dag.find(name).label
        if said.setdefault(label, checked(place)) != place:
            raise UsageError(f"{label} is put to both {said[label]} and {place}", mend="give one --place for it")
    return said
