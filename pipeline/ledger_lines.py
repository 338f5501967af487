"""The ledger as a person reads it: a table of runs, one run, one artifact, what differs between two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.compare import Differences
from pipeline.counted import plain
from pipeline.ledger import Account, StageAccount
from pipeline.manifest import Cost
from pipeline.tables import brief, dollars, duration, figure, moment, size, style, table

COLOURS = {
    "done": "green", "finished": "green", "cached": "green", "running": "cyan", "waiting": "cyan", "stopped": "yellow",
    "detached": "cyan",
    "failed": "red", "killed": "red", "skipped": "dim", "not begun": "dim",
}  # fmt: skip
NONE = "–"
SHOWN_FILES = 12


def runs_table(accounts: Sequence[Account], colour: bool) -> list[str]:
    """One line for each run: what was run, when, how it ended, what it took, cost, lost, and waited for machines it held."""
    rows, priced, idle = [], any(one.priced is not None for one in accounts), _waited(accounts)
    for one in accounts:
        states = [stage.state for stage in one.stages.values()]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        asked = " ".join([one.dag, *(f"{name}={value}" for name, value in one.dials.items()), one.part]).strip()
        money = [_money(one.cost, one.priced)] if priced else []
        rows.append(
            [
                one.run, moment(one.started), style(one.ended, COLOURS[one.ended], colour), duration(one.seconds),
                duration(one.cost.cpu_seconds), *money, brief(one.lost, NONE), *([brief(one.idle, NONE)] if idle else []),
                ", ".join(counts), asked,
            ]
        )  # fmt: skip
    measures = ["took", "CPU", *(["dollars"] if priced else []), "lost", *(["idle"] if idle else [])]
    header = ["run", "began", "ended", *measures, "stages", "dag"]
    return table(header, rows, right=range(3, 3 + len(measures)), colour=colour)


def run_lines(one: Account, colour: bool) -> list[str]:
    """A run: what was asked, then its stages with what was planned and expected, and what came of it."""
    dials = " ".join(f"{name}={value}" for name, value in one.dials.items())
    lines = [
        *pairs(
            {
                "run": one.run,
                "dag": " ".join(part for part in (one.dag, dials, one.part) if part),
                "began": f"{moment(one.started)} on {one.executor}",
                "ended": f"{style(one.ended, COLOURS[one.ended], colour)} {_after(one)}",
                "cost": cost_line(one.cost, one.priced),
                "lost": cost_line(one.lost) if one.lost else "",
                "idle": cost_line(one.idle) if one.idle.wall_seconds else "",
                "driver": cost_line(one.driver) if one.driver.wall_seconds else "",
            }
        ),
        "",
    ]
    idle = _waited(one.stages.values())
    rows = [
        [
            label, style(stage.state, COLOURS.get(stage.state, "dim"), colour),
            duration(stage.cost.wall_seconds) if stage.cost.wall_seconds else NONE,
            duration(stage.expected_seconds) if stage.cost.wall_seconds else NONE,
            duration(stage.cost.cpu_seconds) if stage.cost.wall_seconds else NONE,
            _money(stage.cost), brief(stage.lost, NONE), *([brief(stage.idle, NONE)] if idle else []),
            stage.fault.splitlines()[0] if stage.fault else stage.reason,
        ]
        for label, stage in one.stages.items()
    ]  # fmt: skip
    header = ["stage", "state", "took", "forecast", "CPU", "dollars", "lost", *(["idle"] if idle else []), "why"]
    return [*lines, *table(header, rows, right=range(2, len(header) - 1), colour=colour)]


def _after(one: Account) -> str:
    """After how long it ended; of a run that nobody follows, when it was last heard of, and who asks where it is."""
    if one.ended != "detached":
        return f"after {duration(one.seconds)}"
    return f"and last heard of {moment(one.started + one.seconds)}: corpusmill attach {one.run} asks what became of it"


def artifact_lines(shown: dict[str, Any], cost: Cost, lost: Cost, idle: Cost) -> list[str]:
    """An artifact: all that its manifest says, who keeps it, what was made from it."""
    files = shown["files"]
    lines = pairs(
        {
            "artifact": f"{shown['label']} · {shown['kind']}",
            "place": shown["place"],
            "digest": shown["digest"],
            "made": f"{moment(shown['created'])} by {shown['source']}, run {shown['run'] or NONE} on {shown['executor']}",
            "kept": "; ".join(shown["kept"]),
            "dropped": shown["dropped"],
            "accepted": "; ".join(map(_accepted, shown["accepted"])),
            "origin": _flat(shown["origin"]),
            "read": "; ".join(f"{name}: {_flat(one)}" for name, one in shown["sources"].items()),
            "extended": f"from {shown['extended_from']}" if shown["extended_from"] else "",
            "can go on": f"with more {shown['extends']}, from {shown['resume_at']:g}" if shown["resume"] else "",
            "work": f"{figure(shown['flops'])} floating-point operations" if shown["flops"] else "",
            "cost": cost_line(cost),
            "lost": cost_line(lost) if lost else "",
            "idle": cost_line(idle) if idle.wall_seconds else "",
            "machine": _flat({**shown["machine"], **shown["environment"]}),
            "asked for": _flat({name: value for name, value in shown["resources"].items() if value}),
            "metrics": _flat({name: figure(value) for name, value in plain(shown["metrics"]).items()}),
            "packages": _flat(shown["code"]["packages"]),
            "code": f"{shown['code']['digest'][:16]}, {len(shown['code']['definitions'])} definitions",
        }
    )  # fmt: skip
    lines += ["", "settings", *indented(_settings(shown["settings"]))]
    inputs = [
        [place, one["label"], one["digest"][:16], f"{one['stage']}/{one['key'][:12]}"]
        for place, one in shown["inputs"].items()
    ]
    lines += ["", "inputs", *indented(table(["place", "label", "digest", "artifact"], inputs))] if inputs else []
    listed = [[name, size(one["size"]), one["sha256"][:16]] for name, one in list(files.items())[:SHOWN_FILES]]
    lines += ["", f"files ({len(files)}, {size(sum(one['size'] for one in files.values()))})"]
    lines += indented(table(["name", "size", "sha256"], listed, right=(1,)))
    lines += [f"  … and {len(files) - SHOWN_FILES} more"] if len(files) > SHOWN_FILES else []
    lines += ["", "made from it", *indented(shown["made_from_it"])] if shown["made_from_it"] else []
    return lines


def difference_lines(found: Differences) -> list[str]:
    """Section by section what differs, as ``place  before → after``."""
    if not found:
        return ["no difference in anything that is recorded"]
    lines = []
    for section, rows in found.items():
        lines += ["", section]
        for place, (old, new) in rows.items():
            if section.endswith("code"):
                lines.append(f"  {place} {'changed' if old and new else 'added' if new else 'removed'}")
            else:
                lines.append(f"  {place}  {_value(place, old)} → {_value(place, new)}".replace("   ", "  "))
    return lines[1:]


def cost_line(cost: Cost, priced: float | None = None) -> str:
    """A cost in one line: wall, CPU, GPU where there was one, memory, dollars as far as they are known."""
    parts = [duration(cost.wall_seconds)] if cost.wall_seconds or not cost.cpu_seconds else []
    parts += [f"{duration(cost.cpu_seconds)} of CPU"] if cost.cpu_seconds else []
    parts += [f"{duration(cost.gpu_seconds)} of GPU"] if cost.gpu_seconds else []
    parts += [f"{duration(cost.beyond_cpu_seconds)} of CPUs beyond its own"] if cost.beyond_cpu_seconds >= 0.05 else []
    parts += [f"{size(cost.peak_bytes)} of memory at most"] if cost.peak_bytes else []
    money = _money(cost, priced)
    return ", ".join([*parts, "dollars unknown" if money == dollars(None) else money])


def pairs(rows: dict[str, str]) -> list[str]:
    """Names and values in two columns; a name without a value is left out."""
    wide = max(len(name) for name in rows)
    return [f"{name:<{wide}}  {value}" for name, value in rows.items() if value]


def indented(lines: Iterable[str]) -> list[str]:
    """The lines, two spaces in."""
    return [f"  {line}" for line in lines]


def _accepted(word: dict[str, Any]) -> str:
    return f"{moment(word['when'])} by {word['who']} for code {word['code'][:12]} {word['why']}".rstrip()


def _settings(settings: dict[str, Any]) -> list[str]:
    plain = {name: value for name, value in settings.items() if not (isinstance(value, dict) and "$input" in value)}
    return (
        pairs({name: str(value) if value not in ("", None) else repr(value) for name, value in plain.items()})
        if plain
        else ["none"]
    )


def _flat(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _value(place: str, value: Any) -> str:
    if value is None:
        return "none"
    if place.endswith("seconds") and isinstance(value, (int, float)):
        return f"{value:.3g} s" if value < 10 else duration(value)
    if place.endswith("bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 60 else text[:24] + "…"


def _money(cost: Cost, priced: float | None = None) -> str:
    if cost.dollars is None and priced is not None:
        return f"≥ {dollars(priced)}"
    return dollars(cost.dollars) if cost else NONE


def _waited(accounts: Iterable[Account | StageAccount]) -> bool:
    """Whether a machine was held for a while that did not work yet: on one's own there is none such."""
    return any(one.idle.wall_seconds >= 0.05 for one in accounts)
