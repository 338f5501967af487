"""What quickstart tells at its end, from manifests and reports alone: so a cached run tells the same."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from typing import Any

from pipeline.outcome import Outcome
from pipeline.tables import figure, size, table

SCORES = (
    ("pretraining (4-shot)", "evaluate-base"),
    ("SFT", "evaluate-sft"),
    ("DPO", "evaluate-dpo"),
    ("quantization", "evaluate-small"),
)


def summary(outcome: Outcome) -> list[str]:
    """The lines: data, model, held-out accuracy after each step, the served model's answers, what to do next."""
    return [
        "",
        *_data(outcome),
        "",
        *_model(outcome),
        "",
        *_scores(outcome),
        "",
        *_answers(outcome),
        "",
        *_next(outcome),
    ]


def _data(outcome: Outcome) -> list[str]:
    rows = []
    for source in ("pages", "tales", "talk"):
        metrics = outcome.manifests[f"filter-{source}"].metrics
        dropped = {name.partition(".")[2]: count for name, count in metrics.items() if name.startswith("dropped.")}
        worst = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
        why = ", ".join(f"{name} {figure(count)}" for name, count in worst)
        rows.append([source, figure(metrics["documents_in"]), figure(metrics["documents_kept"]), why])
    unique = outcome.manifests["dedup"].metrics
    total = sum(outcome.manifests[f"filter-{source}"].metrics["documents_in"] for source in ("pages", "tales", "talk"))
    duplicates = f"exact duplicates {figure(unique['exact_duplicates'])}, near {figure(unique['near_duplicates'])}"
    head = f"documents: {figure(total)} in → {figure(unique['documents_in'])} kept → {figure(unique['documents_unique'])} unique"
    return [
        head,
        *_indented(table(["source", "in", "kept", "most dropped for"], rows, right=(1, 2))),
        f"  {duplicates}",
    ]


def _model(outcome: Outcome) -> list[str]:
    tokens, base = outcome.manifests["encode"].metrics, outcome.manifests["pretrain"].metrics
    small, served = outcome.manifests["quantize"].metrics, outcome.manifests["serve"].metrics
    form = outcome.manifests["quantize"].settings["format"]
    lost = small["bits_per_byte"] - small["bits_per_byte_before"]
    return [
        f"model: {figure(base['parameters'])} parameters, pretrained on {figure(base['tokens'])} tokens "
        f"({figure(tokens['train_tokens'])} in the corpus): {base['bits_per_byte']:.3f} bits per byte on validation text",
        f"  served as GGUF {form}: {size(served['bytes'])}, {figure(served['tokens_per_second'])} tokens/s to one client; "
        f"quantization cost {lost:+.4f} bits per byte, KL {figure(small['kl'])}",
    ]


def _scores(outcome: Outcome) -> list[str]:
    reports = {name: _json(outcome, label, "report.json") for name, label in SCORES}
    categories = list(reports["SFT"]["categories"])
    rows = []
    for name, report in reports.items():
        whole = report["accuracy"]
        rows.append([name, _interval(whole), *(_interval(report["categories"][category]) for category in categories)])
    commonest = [f"{reports['SFT']['categories'][category]['majority']:.2f}" for category in categories]
    rows.append(["(always the commonest answer)", "", *commonest])
    lines = table(["held-out answers after", "all", *categories], rows)
    return ["exact answers to held-out questions, with 95% intervals", *_indented(lines)]


def _interval(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _answers(outcome: Outcome) -> list[str]:
    lines = ["what the served model answers"]
    for row in _json(outcome, "serve", "smoke.json")["answers"]:
        mark = "✓" if row["right"] else f"✗ (right: {row['expected']})"
        note = "  [held out]" if row["held_out"] else ""
        lines += [f"  {row['question']}{note}", f"    {row['answer']}  {mark}"]
    return lines


def _next(outcome: Outcome) -> list[str]:
    here = os.path.relpath(sys.argv[0])
    command = "corpusmill" if shutil.which("corpusmill") else sys.argv[0] if here.startswith("..") else here
    where = "" if outcome.store.url == os.path.abspath(".corpusmill") else f" --store {shlex.quote(outcome.store.url)}"
    rows = [
        [f"{command} chat{where}", "talk to the model here"],
        [f"{command} serve{where}", "an OpenAI-compatible service on 127.0.0.1"],
        [f"{command} ui{where}", "the run and its lineage in MLflow"],
    ]
    return table(["next", ""], rows)


def _json(outcome: Outcome, label: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outcome.data(label) / name).read_text(encoding="utf-8"))
    return found


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
