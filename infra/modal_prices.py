"""What Modal charges this workspace, asked of its billing API and kept here, so that plans, which ask no network, are made with it.

The API answers with a map from names to dollars, and says of it: an hour of one unit, for what computes. The names are in no
part of Modal's client. Those below were read from what workspaces were answered in 2026-08 to 2026-10, as their owners have
published it; a name that is not among them is shown, and counts for nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping
from decimal import Decimal

from infra.modal_faults import check_installed, explained
from pipeline.errors import CorpusmillError, UsageError
from pipeline.prices import told_file

GPUS: Mapping[str, str] = {
    "t4": "T4", "l4": "L4", "a10g": "A10", "l40s": "L40S", "a100_40gb": "A100-40GB", "a100_80gb": "A100-80GB",
    "rtx6000": "RTX-PRO-6000", "h100": "H100", "h200": "H200", "b200": "B200",
}  # fmt: skip
"""What ends ``gpu_hour_cost_…``, and the type of GPU that is asked for by another name."""
RENT: Mapping[str, str] = {"cpu_hour_cost": "core_dollars_per_hour", "mem_gib_hour_cost": "gib_dollars_per_hour"}
"""Of containers; those that end in ``_sandbox`` are Modal's sandboxes, which cost thrice as much and which nothing here starts."""
FRESH_SECONDS = 24 * 3600


def asked() -> tuple[str, Mapping[str, Decimal]]:
    """The name of the workspace, and its rates by Modal's own names for them."""
    check_installed()
    import modal

    with explained("could not tell its rates"):
        workspace = modal.Workspace.from_context()
        if not hasattr(workspace.billing, "rates"):
            raise UsageError("this client of Modal cannot ask for rates", mend="pip install 'modal>=1.5.4'")
        rates = dict(workspace.billing.rates())
        return str(workspace.name or "this workspace"), rates


def written(workspace: str, rates: Mapping[str, Decimal]) -> str:
    """The rates as a price file, dated and with their source; what is not known as comments."""
    gpus = {GPUS[end]: rate for key, rate in rates.items() if (end := key.removeprefix("gpu_hour_cost_")) in GPUS}
    place = {RENT[key]: rate for key, rate in rates.items() if key in RENT}
    others = [key for key in rates if key not in RENT and key.removeprefix("gpu_hour_cost_") not in GPUS]
    lines = [f'source = "what Modal charges {workspace}, asked on {time.strftime("%Y-%m-%d")}"', ""]
    for name, rate in gpus.items():
        lines += [f'[gpu."{name}"]', f"dollars_per_hour = {rate}", 'on = "modal"', ""]
    if place:
        lines += ["[place.modal]", *(f"{name} = {rate}" for name, rate in place.items()), ""]
    return "\n".join([*lines, *(f"# {key} = {rates[key]}" for key in sorted(others))]).rstrip() + "\n"


def keep(workspace: str, rates: Mapping[str, Decimal]) -> str:
    """Keep the rates for plans to come; the text that is kept. Nothing is where no rate is known by its name."""
    text, file = written(workspace, rates), told_file()
    if "dollars_per_hour" in text:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    return text


def refresh() -> None:
    """Ask again where what is kept is a day old. Called where Modal is spoken to anyway; no run fails or waits for it long."""
    with contextlib.suppress(OSError):
        if time.time() - told_file().stat().st_mtime < FRESH_SECONDS:
            return
    with contextlib.suppress(
        OSError, CorpusmillError
    ):  # a token may be forbidden to ask; the prices that are known remain
        keep(*asked())
