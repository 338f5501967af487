"""What Modal charges this workspace, asked of its billing API and written as the price file that plans are made with."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from infra.modal_faults import check_installed, explained
from infra.modal_limits import MOST_GPUS
from pipeline.errors import UsageError

MARK = "# Modal's rates for this workspace"


def asked() -> Mapping[str, Decimal]:
    """The rates by Modal's own names for them, in dollars an hour."""
    check_installed()
    import modal

    with explained("could not tell its rates"):
        return dict(modal.Workspace.from_context().billing.rates())


def written(rates: Mapping[str, Decimal]) -> str:
    """The rates as a price file: of each type of GPU that is known, of a core and of a GiB of memory; the others as comments."""
    types = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in MOST_GPUS if name[-1] not in "!+"}
    gpus, place, others = dict[str, Decimal](), dict[str, Decimal](), list[str]()
    for key, rate in sorted(rates.items()):
        words = key.lower()
        kind = next((kind for kind in ("gpu", "cpu", "mem") if kind in words), "")
        bare = re.sub(r"[^a-z0-9]", "", re.sub(r"gpu|hour|cost|price|rate|per|usd|dollars", "", words))
        if "hour" not in words or "sandbox" in words or "nonpreempt" in words:
            others.append(f"# {key} = {rate}")
        elif kind == "gpu" and bare in types:
            gpus[types[bare]] = rate
        elif kind == "cpu" and bare in ("cpu", "cpucore"):
            place["core_dollars_per_hour"] = rate
        elif kind == "mem" and bare in ("mem", "memory", "memgib", "memorygib", "memgb", "memorygb"):
            place["gib_dollars_per_hour"] = rate
        else:
            others.append(f"# {key} = {rate}")
    lines = [f"{MARK}, asked on {time.strftime('%Y-%m-%d')}", ""]
    for name, rate in gpus.items():
        lines += [f'[gpu."{name}"]', f"dollars_per_hour = {rate}", ""]
    if place:
        lines += ["[place.modal]", *(f"{name} = {rate}" for name, rate in place.items()), ""]
    return "\n".join([*lines, *others]).rstrip() + "\n"


def write(text: str, file: Path) -> None:
    """Write the price file. Raises UsageError where a person's own is there."""
    if file.exists() and not file.read_text(encoding="utf-8").startswith(MARK):
        raise UsageError(f"{file} holds prices of your own", mend="copy what you want of these into it")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
