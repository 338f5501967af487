"""What a person asks of a run beyond its dag: which part of it, what to build again or keep, how much it may cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UsageError

CONFIRM_ABOVE_MINUTES = 10.0
CONFIRM_MOVE_GIB = 10.0


class Request(BaseModel):
    """Labels as they are written on the command line. Raises UsageError (through `check`) for what contradicts itself.

    `only` builds one stage from existing inputs, even if cached; `start` builds one again and, below it, what its bytes
    change; `until` nothing below one; `rebuild` again; `accept` declares what drifted good for today's code.
    Drift that takes more than `confirm_above` minutes, a run above `max_cost` dollars, and one that moves more than
    `confirm_move` GiB between places, are not begun. `on` is the place
    of the whole run (empty: that of the executor it is given), `place` is LABEL=PLACE for some of its stages.
    With `detach`, its place drives it, and this process only begins it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    only: str = ""
    start: str = ""
    until: str = ""
    rebuild: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    why: str = ""
    confirm_above: float = CONFIRM_ABOVE_MINUTES
    max_cost: float | None = None
    confirm_move: float = CONFIRM_MOVE_GIB
    on: str = ""
    place: tuple[str, ...] = ()
    detach: bool = False

    def check(self) -> Request:
        """This request, if it can be meant."""
        if self.only and (self.start or self.until or self.rebuild or self.accept):
            raise UsageError(
                "--only goes with no other choice of stages", mend="--only builds its one stage again as it is"
            )
        if both := set(self.rebuild) & set(self.accept):
            raise UsageError(
                f"{min(both)} is both to be rebuilt and accepted", mend="give one of --rebuild and --accept"
            )
        if self.why and not self.accept:
            raise UsageError(
                "--why says why something is accepted", mend="give --accept LABEL with it, or leave it out"
            )
        return self
