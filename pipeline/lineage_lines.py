"""A lineage as people and machines read it: tables for the terminal, a flowchart that GitHub draws, and JSON with stable fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pipeline.counted import MEASURES, PAIRS
from pipeline.ledger_lines import indented
from pipeline.lineage import Amount, Hop, held, sources
from pipeline.manifest import SourceRecord
from pipeline.tables import figure, style, table

SHORT = 12
"""Hex digits of a digest that are shown."""
SHOWN = 12
"""Sources of one hop that are told one by one."""
NONE = "–"
UNCOUNTED = "nothing is on record of its sources: it was made before they were counted, or by a stage that names none"


def made_of(hops: Mapping[str, Hop], ends: Collection[str], colour: bool) -> list[str]:
    """What each of `ends` holds, source by source, then how it was made: every hop with what it holds."""
    known, lines = sources(hops), []
    for place in ends:
        hop = hops[place]
        lines += [style(title(hop), "bold", colour), ""]
        lines += [*indented(_of_sources(hop, known, colour) or [UNCOUNTED]), ""]
    return [*lines, style("made by", "bold", colour), "", *_hops(hops, None, colour)]


def made_from(hops: Mapping[str, Hop], starts: Collection[str], colour: bool) -> list[str]:
    """What was made from `starts`, and how much each holds of their sources."""
    rest = [hop for place, hop in hops.items() if place not in starts]
    names = {origin for place in starts for origins in hops[place].origins.values() for origin in origins}
    head = [style(title(hops[place]), "bold", colour) for place in starts]
    count = f"{len(rest)} artifact{'s' * (len(rest) != 1)} made from it" if rest else "nothing was made from it"
    return [*head, "", count, "", *_hops({hop.place: hop for hop in rest}, names, colour, hops)]


def title(hop: Hop) -> str:
    """A hop in one line: label, kind, the beginning of its digest."""
    return " · ".join(part for part in (hop.label, hop.kind, hop.digest[:SHORT]) if part)


def share(amount: Amount) -> str:
    """``61.2 %``; a dash where nobody knows."""
    return NONE if amount.share is None else f"{amount.share:.1%}".replace("%", " %")


def count(value: float | None) -> str:
    """A figure, or a dash."""
    return NONE if value is None else figure(value)


def taken(amount: Amount) -> str:
    """The figure that the share is of, with its word, and the pairs beside it: ``4,551 tokens``, ``120 chats and 17 pairs``."""
    told = [f"{figure(value)} {what[:-1] if value == 1 else what}" for what, value in _known(amount)]
    return " and ".join([*told[:1], *(one for one in told[1:] if PAIRS[:-1] in one)])


def _known(amount: Amount) -> Iterator[tuple[str, float]]:
    return ((what, value) for what in MEASURES if (value := getattr(amount, what)) is not None)


def record_of(name: str, origins: Collection[str], known: Mapping[str, SourceRecord]) -> SourceRecord:
    """What is on record of a name: its own record, or of one that stands for others, those and their licences."""
    if name in known:
        return known[name]
    licences = dict.fromkeys(known[one].licence for one in origins if one in known and known[one].licence)
    of = ", ".join(one for one in origins if one != name)
    return SourceRecord(at=f"of {of}" if of else "", licence=", ".join(licences))


def _of_sources(hop: Hop, known: Mapping[str, SourceRecord], colour: bool) -> list[str]:
    """A row for each source; below one that stands for others a row for each of them that has none of its own."""
    rows, shown = [], measures(hop.amounts.values())
    for name, amount in hop.amounts.items():
        figures = [*(count(getattr(amount, what)) for what in shown), share(amount)]
        rows.append([name or repr(name), *figures, *_about(record_of(name, hop.origins[name], known))])
        others = [one for one in hop.origins[name] if one in known and one not in hop.amounts]
        rows += [[f"  {one}", *[""] * (len(shown) + 1), *_about(known[one])] for one in others]
    header = ["source", *shown, "share", "licence", "revision", "from"]
    return table(header, rows, right=range(1, len(shown) + 2), colour=colour) if rows else []


def measures(amounts: Iterable[Amount]) -> list[str]:
    """The columns of a table of amounts; pairs where there are any."""
    return ["documents", "tokens", "chats", *([PAIRS] if any(one.pairs is not None for one in amounts) else [])]


def _about(record: SourceRecord) -> list[str]:
    return [record.licence or NONE, record.revision[:SHORT], record.at]


def _hops(
    hops: Mapping[str, Hop], names: Collection[str] | None, colour: bool, labels: Mapping[str, Hop] | None = None
) -> list[str]:
    """Each hop with its inputs, and below it what it holds: of all sources, or of `names`."""
    lines = []
    called = labels or hops
    for hop in hops.values():
        above = ", ".join(called[place].label for place in hop.above if place in called)
        lines.append(style(title(hop), "cyan", colour) + (f"  ← {above}" if above else ""))
        lines += [f"    {style('gap', 'red', colour)}: {hop.gap}"] if hop.gap else []
        amounts = hop.amounts if names is None else held(hop, names)
        wide = max((len(name) for name in list(amounts)[:SHOWN]), default=0)
        for name, amount in list(amounts.items())[:SHOWN]:
            licence = hop.manifest.sources[name].licence if hop.manifest and name in hop.manifest.sources else ""
            lines.append(
                f"    {name or repr(name):<{wide}}  {share(amount):>7}  {taken(amount):<20}  {licence}".rstrip()
            )
        lines += [f"    … and {len(amounts) - SHOWN} more"] if len(amounts) > SHOWN else []
    return lines


def as_json(hops: Mapping[str, Hop], targets: Collection[str], down: bool) -> dict[str, Any]:
    """``targets`` (places), ``direction``, ``hops`` in order and ``sources`` by name. Fields are added, never renamed."""
    return {
        "direction": "down" if down else "up",
        "targets": list(targets),
        "hops": [
            {
                "place": hop.place,
                "label": hop.label,
                "kind": hop.kind,
                "digest": hop.digest,
                "above": list(hop.above),
                "inputs": hop.inputs,
                "amounts": {
                    name: {**amount._asdict(), "origins": list(hop.origins[name])}
                    for name, amount in hop.amounts.items()
                },
                "gap": hop.gap,
            }
            for hop in hops.values()
        ],
        "sources": {name: record.model_dump() for name, record in sources(hops).items()},
    }


def mermaid(hops: Mapping[str, Hop], targets: Collection[str] = ()) -> str:
    """A flowchart from the sources, with their licences, through every artifact; what it is about, `targets`, has a thick edge."""
    ids = {place: f"a{number}" for number, place in enumerate(hops)}
    lines = ["flowchart LR"]
    read: dict[str, str] = {}
    for place, hop in hops.items():
        for name, record in hop.manifest.sources.items() if hop.manifest else ():
            if name not in read:
                read[name] = f"s{len(read)}"
                lines.append(f'    {read[name]}(["{_label(name, record.licence)}"])')
            lines.append(f"    {read[name]} --> {ids[place]}")
        largest = [f"{name} {share(amount)}" for name, amount in list(hop.amounts.items())[:3] if amount.share]
        figures = " · ".join(largest) + (" · …" if len(hop.amounts) > 3 else "")
        lines.append(f'    {ids[place]}["{_label(hop.label, hop.kind or hop.gap, hop.digest[:SHORT], figures)}"]')
        lines += [f"    {ids[above]} --> {ids[place]}" for above in hop.above if above in ids]
    if targets:
        lines += ["    classDef target stroke-width:3px", f"    class {','.join(ids[one] for one in targets)} target"]
    return "\n".join(lines)


def _label(*lines: str) -> str:
    """Text that Mermaid draws as it is, whatever stands in it."""
    escaped = [
        "".join(one if one.isalnum() or one in " ·…–-_.,:%+=/()" else f"#{ord(one)};" for one in line)
        for line in lines
        if line
    ]
    return "<br/>".join(escaped)  # fmt: skip
