"""An entry of the plan: what it says of one stage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.forecast import FREE, Forecast
from pipeline.manifest import Cost, Manifest

PlanState = Literal["cached", "run", "drift", "depends"]


class Entry(BaseModel):
    """What the plan says of one stage. `manifest` is the attempt in force (cached only), `last` the newest earlier one.

    `accepts` is the digest of today's code where this plan declares the attempt good for it; a `forced` stage runs though
    it is cached. `paid` tells that it has a price, or rents GPUs that have one, known or not. `place` is where it runs,
    `away` that this is on another machine; `stays` says why it does not go there with the others. `share` of its work is
    still to be done, less `done` seconds that are committed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    stage: str
    state: PlanState
    reason: str
    key: str | None = None
    manifest: Manifest | None = None
    last: Manifest | None = None
    forecast: Forecast = FREE
    accepts: str = ""
    dropped: bool = False
    forced: bool = False
    paid: bool = False
    share: float = 1.0
    done: float = 0.0
    place: str = ""
    away: bool = False
    stays: str = ""

    @property
    def last_cost(self) -> Cost | None:
        """What the newest earlier attempt cost; None where there was none."""
        return self.last.cost if self.last else None

    @property
    def expected_seconds(self) -> float | None:
        """Wall seconds to expect now: none for a cached stage; None is unknown."""
        return self.forecast.seconds

    @property
    def made(self) -> Manifest | None:
        """The attempt in force, else the newest under this label."""
        return self.manifest or (self.last if self.last and self.last.label == self.label else None)
