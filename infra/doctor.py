"""The command `corpusmill doctor`: looks at this machine, its packages, the store and who is told, and says what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import typer

from infra.finding import Finding, State
from pipeline.cli_options import DEFAULT_STORE, AsJson, StoreRoot

COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red"}

Check = Callable[[], Sequence[Finding]]


def doctor(
    store: StoreRoot = DEFAULT_STORE,
    deep: Annotated[bool, typer.Option("--deep", help="start Ray, torch and MLflow as well; half a minute")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, torch and CUDA, Ray, MLflow, the store, credentials, disk; say what to do about each."""
    from pipeline.tables import coloured

    found = list(examine(checks(store, deep)))
    failed = sum(one.state == "fail" for one in found)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [one._asdict() for one in found]}, indent=1))
    else:
        print("\n".join(lines(found, coloured(sys.stdout))))
    if failed:
        raise typer.Exit(1)


def checks(store: str, deep: bool) -> dict[str, Check]:
    """Every check by its name, in the order in which they are told."""
    from infra import doctor_machine, doctor_packages, doctor_places

    return {
        "python": doctor_machine.python,
        "packages": partial(doctor_packages.packages, store),
        "torch": partial(doctor_packages.torch, deep),
        "ray": partial(doctor_packages.ray, deep),
        "mlflow": partial(doctor_places.mlflow, store, deep),
        "store": partial(doctor_places.store, store),
        "credentials": partial(doctor_places.credentials, store),
        "machine": doctor_machine.room,
        "disk": partial(doctor_machine.disk, store),
        "ports": doctor_machine.ports,
        "clock": doctor_machine.clock,
    }


def examine(asked: dict[str, Check]) -> Iterator[Finding]:
    """What every check found; one that breaks is a failure of its own, and keeps no other from being told."""
    for name, check in asked.items():
        try:
            yield from check()
        except Exception as fault:  # whatever is wrong with this machine is what is asked for
            first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
            yield Finding(name, "fail", f"cannot be checked: {first}", getattr(fault, "mend", ""))


def lines(found: Sequence[Finding], colour: bool) -> list[str]:
    """A table; below each line that is not well, what to do; at the end, how many of each there are."""
    from pipeline.tables import style, table

    rows = [[one.check, style(one.state, COLOURS[one.state], colour), one.said] for one in found]
    head, *told = table(["check", "", "found"], rows, colour=colour)
    shown = [head]
    for one, line in zip(found, told, strict=True):
        shown.append(line)
        if one.state != "ok":
            whole = [] if line.endswith(one.said) else [f"  {one.said}"]  # a narrow terminal cut it
            shown += [*whole, *([f"  → {one.mend}"] if one.mend else [])]
    counts = {state: sum(one.state == state for one in found) for state in COLOURS}
    words = {"ok": "well", "warn": "to know", "fail": "to mend"}
    return [*shown, ", ".join(f"{count} {words[state]}" for state, count in counts.items() if count)]
