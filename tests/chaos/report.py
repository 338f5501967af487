"""Where the kills hit, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.manifest import Manifest

IDLE = "between stages"
LIVE_SHARE = 0.8


@dataclass
class Report:
    """Every kill as (stage that was at work, how it came), and the cost of what was made in the end."""

    seed: int
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    missed: int = 0
    wall: float = 0.0
    repeated: float = 0.0

    def hit(self, stages: Mapping[str, float], how: str, place: str) -> None:
        """Count one kill, given the seconds since the last commit of each stage at work; the first by name stands for all."""
        self.hits[min(stages, default=IDLE), how] += 1
        self.places[place] += 1
        self.repeated += max(stages.values(), default=0.0)

    def ended(self, made: list[Manifest]) -> None:
        """Count a case that came to its end."""
        self.cases += 1
        self.wall += sum(manifest.cost.wall_seconds for manifest in made)

    @property
    def kills(self) -> int:
        """How many there were."""
        return self.hits.total()

    @property
    def live(self) -> float:
        """The share of kills that hit a stage at work."""
        return 1 - sum(count for (stage, _), count in self.hits.items() if stage == IDLE) / max(self.kills, 1)

    def lines(self) -> list[str]:
        """The histogram, stage by manner, and the sums."""
        hows = sorted({how for _, how in self.hits})
        stages = sorted({stage for stage, _ in self.hits})
        width = max((len(how) for how in hows), default=0)
        rows = [f"{'':{width}}  " + "  ".join(f"{stage:>10}" for stage in stages) + "       all"]
        for how in hows:
            counts = [self.hits[stage, how] for stage in stages]
            cells = "  ".join(
                f"{count or '·':>{max(10, len(stage))}}" for stage, count in zip(stages, counts, strict=True)
            )
            rows.append(f"{how:{width}}  {cells}  {sum(counts):>8}")
        totals = [sum(self.hits[stage, how] for how in hows) for stage in stages]
        cells = "  ".join(f"{total:>{max(10, len(stage))}}" for stage, total in zip(stages, totals, strict=True))
        rows.append(f"{'all':{width}}  {cells}  {self.kills:>8}")
        where = ", ".join(f"{count} on {place}" for place, count in sorted(self.places.items()))
        return [
            *rows, "",
            f"{self.kills} kills in {self.cases} cases ({where}), seed {self.seed}; {self.missed} draws met nothing",
            f"{self.live:.0%} inside live work; every case ended in the digests of the undisturbed run and left no process",
            f"done again: {self.repeated:.1f} s since the last commits, of the {self.wall:.1f} s that the artifacts cost",
        ]  # fmt: skip
