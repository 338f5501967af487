"""The front matter of a model card: what model hubs read. JSON is YAML, so that every value is written as JSON writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.artifact import MODEL
from pipeline.card_facts import Facts, scores
from pipeline.card_words import hub, plain

HUB_LICENCES = (
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0",
    "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "llama2", "llama3",
    "llama3.1", "llama3.2", "llama3.3", "gemma",
)  # fmt: skip
"""Identifiers that the Hub takes as `license`; any other goes into `license_name`."""
YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off")
LONGEST = 60


def front_matter(facts: Facts) -> str:
    """Between two lines of dashes: licence, library, what it was made of and with, scores."""
    made = facts.made
    bases = [name for kind, name in _on_hub(facts, models=True) if kind == "model"]
    datasets = [name for kind, name in _on_hub(facts, models=False) if kind == "dataset"]
    gguf = facts.gguf
    told: dict[str, Any] = {
        **licence(facts.licences),
        "library_name": "gguf" if gguf else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["corpusmill", *(["gguf"] if gguf else []), *dict.fromkeys(one.stage for one in facts.chain)],
        **({"base_model": bases} if bases and not made.origin else {}),
        **({"datasets": datasets} if datasets else {}),
        **({"model-index": [_index(facts)]} if facts.reports else {}),
    }
    return "\n".join(["---", *yaml(told), "---"])


def licence(found: Iterable[str]) -> dict[str, str]:
    """The Hub's identifier where all sources agree on one that it knows, else `other` with the names of all."""
    names = list(dict.fromkeys(re.sub("-(only|or-later)$", "", one.strip().lower()) for one in found)) or [""]
    if len(names) == 1 and names[0] in HUB_LICENCES:
        return {"license": names[0]}
    slugs = sorted(re.sub(r"[^a-z0-9.]+", "-", name).strip("-.") or "unknown" for name in names)
    joined = "-and-".join(slugs)
    return {"license": "other", "license_name": joined if len(joined) <= LONGEST else "several"}


def _on_hub(facts: Facts, *, models: bool) -> list[tuple[str, str]]:
    """What was adopted or read from the Hub, each once."""
    adopted = [one for one in facts.manifests if one.origin and (one.kind == MODEL) is models]
    places = [one.origin.get("from", "") for one in adopted]
    places += [] if models else [one.at for records in facts.sources.values() for one in records]
    return list(dict.fromkeys(found for place in places if (found := hub(place))))


def _index(facts: Facts) -> dict[str, Any]:
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": plain(report.label), "type": report.stage},
            "metrics": [{"type": one.name, "value": one.value, "name": one.name.replace("_", " ")} for one in found],
        }
        for report in facts.reports
        if (found := scores(report))
    ]
    return {"name": plain(facts.made.label), "results": results}


def yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of block YAML for mappings, lists and scalars."""
    if isinstance(value, Mapping):
        return [line for name, one in value.items() for line in _entry(f"{indent}{_scalar(name)}:", one, indent)]
    lines = []
    for one in value:
        if isinstance(one, Mapping):
            first, *rest = yaml(one, f"{indent}  ")
            lines += [f"{indent}- {first.strip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(one)}")
    return lines


def _entry(name: str, value: Any, indent: str) -> list[str]:
    if not isinstance(value, (Mapping, list)):
        return [f"{name} {_scalar(value)}"]
    return [name, *yaml(value, indent if isinstance(value, list) else f"{indent}  ")]


def _scalar(value: Any) -> str:
    bare = isinstance(value, str) and re.fullmatch("[a-z][a-z_-]+", value) and value not in YAML_WORDS
    return str(value) if bare else json.dumps(value)
