"""A model card, from the records alone: the README.md of a Model, in the form that model hubs read.

It names no machine, path or person; what is not on record it calls unknown. The same records give the same card.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline import counted
from pipeline.card_facts import Facts, gather, scores
from pipeline.card_front import front_matter
from pipeline.card_use import use
from pipeline.card_words import UNKNOWN, cell, plain, public, setting, table
from pipeline.lineage import Amount
from pipeline.lineage_lines import measures
from pipeline.manifest import Cost, Manifest
from pipeline.spent import total
from pipeline.store import Store
from pipeline.tables import dollars, duration, figure, size

DIGITS = 12
"""Hex digits of a digest or key that are shown where it stands beside others."""


def card(store: Store, made: Manifest) -> str:
    """The card of a model: what it is, its data, training, scores, cost and lineage, and how to use it."""
    facts = gather(store, made)
    sections = {
        "Data": _data(facts),
        "Training": "\n\n".join(_training(one) for one in facts.chain),
        "Scores": _scores(facts),
        "Cost": _cost(facts),
        "Lineage": _lineage(facts),
        "How to use it": use(facts),
    }
    body = [f"## {name}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join([front_matter(facts), f"# {cell(made.label)}", _what(facts), *body]) + "\n"


def _what(facts: Facts) -> str:
    made = facts.made
    day = time.strftime("%Y-%m-%d", time.gmtime(made.created))
    weight = f"{len(made.files):,} files, {size(made.size)}"
    if made.origin:
        said = f"A language model made elsewhere ({cell(public(made.origin.get('from', '')))}), adopted on {day}: {weight}."
        original = next((name for name in made.files if name.startswith("README.")), "")
        return f"{said} What its author says of it stands in [{original}]({original})." if original else said
    count = next((one.metrics["parameters"] for one in facts.chain[::-1] if "parameters" in one.metrics), None)
    stages = " → ".join(f"`{one.stage}`" for one in facts.chain)
    parameters = f"{count:,.0f} parameters" if count else "a number of parameters that is not on record"
    return f"A language model of {parameters}, made with Corpusmill on {day} ({stages}): {weight}."


def _data(facts: Facts) -> str:
    hop = facts.hop
    origins = {name: hop.origins.get(name, (name,)) for name in hop.amounts}
    told = {one for names in origins.values() for one in names}
    shown = measures(hop.amounts.values())
    rows = [_source(facts, name, origins[name], amount, shown) for name, amount in hop.amounts.items()]
    rows += [_source(facts, name, (name,), Amount(), shown) for name in facts.sources if name not in told]
    counts = ["conversations" if what == "chats" else what for what in shown]
    header = ["source", "from", "licence", "revision", *counts, "share"]
    gap = f"\n\n{facts.missing} of the artifacts above it are not on record any more." if facts.missing else ""
    share = "The share is of tokens where they were counted, else of conversations, else of pairs, else of documents."
    return (
        f"{table(header, rows, right=range(4, len(header)))}\n\n{share}" if rows else f"Its sources are {UNKNOWN}."
    ) + gap


def _source(facts: Facts, name: str, origins: tuple[str, ...], amount: Amount, shown: Sequence[str]) -> list[str]:
    records = [record for origin in origins for record in facts.sources.get(origin, [])]
    where, licence, revision = (
        ", ".join(dict.fromkeys(read(record) or UNKNOWN for record in records))
        for read in (lambda one: public(one.at), lambda one: one.licence, lambda one: _short(one.revision))
    )
    found = [getattr(amount, what) for what in shown]
    counts = [UNKNOWN if one is None else f"{one:,.0f}" for one in found]
    return [name, where, licence, revision, *counts, UNKNOWN if amount.share is None else f"{amount.share:.1%}"]


def _short(revision: str) -> str:
    return revision[:DIGITS] if len(revision) == 64 else revision


def _training(made: Manifest) -> str:
    told = {name: setting(name, value) for name, value in made.settings.items()}
    rows = [[name, value] for name, value in told.items() if value and name != "digest"]
    head = f"### {cell(made.label)} (`{made.source.rpartition(':')[2]}`)"
    ended = ", ".join(f"{cell(name)} {figure(value)}" for name, value in counted.plain(made.metrics).items())
    if made.origin:
        return f"{head}\n\nMade elsewhere: how it was trained is {UNKNOWN} here."
    told_settings = table(["setting", "value"], rows) if rows else "It has no settings of its own."
    return f"{head}\n\n{told_settings}\n\nIt ended with: {ended or UNKNOWN}."


def _scores(facts: Facts) -> str:
    rows = [
        [report.label, one.name, figure(one.value), _interval(one.low, one.high), report.digest[:DIGITS]]
        for report in facts.reports
        for one in scores(report)
    ]
    header = ["report", "metric", "value", "interval", "digest"]
    return table(header, rows, right=(2,)) if rows else "No Report on this model is on record."


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{figure(low)} to {figure(high)}"


def _cost(facts: Facts) -> str:
    made = facts.made
    rows = [[f"this stage ({made.label})", *_amounts(made.cost)]]
    rows.append(["it and all that it was made from, each once", *_amounts(total(one.cost for one in facts.manifests))])
    if made.lost:
        rows.append(["of this stage, lost to failures and kills", *_amounts(made.lost)])
    gap = f"\n\nThat of {facts.missing} artifacts above it is {UNKNOWN}." if facts.missing else ""
    return table(["what", "time", "CPU time", "GPU time", "dollars"], rows, right=(1, 2, 3, 4)) + gap


def _amounts(cost: Cost) -> list[str]:
    return [duration(cost.wall_seconds), duration(cost.cpu_seconds), duration(cost.gpu_seconds), dollars(cost.dollars)]


def _lineage(facts: Facts) -> str:
    made, number = facts.made, {place: f"n{index}" for index, place in enumerate(facts.hops)}
    lines = [f"- content digest `{made.digest}`", f"- key `{made.key}` of the stage `{made.stage}`"]
    lines += [f"- code digest `{made.code.digest}`"] if made.code.digest else []
    graph = ["```mermaid", "flowchart TD"]
    for place, hop in facts.hops.items():
        name = [plain(hop.label), hop.digest[:DIGITS], *([] if hop.manifest else ["not on record"])]
        graph.append(f'  {number[place]}["{"<br>".join(_node(one) for one in name)}"]')
        graph += [f"  {number[one]} --> {number[place]}" for one in hop.above if one in number]
    return "\n".join([*lines, "", *graph, "```"])


def _node(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " -_." else " " for letter in text)
