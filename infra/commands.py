"""The command group `corpusmill infra`: manifests for machines elsewhere, and what runs on Modal."""

from __future__ import annotations

import contextlib
import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli_options import DagName, Dials

infra = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@infra.callback()
def _group() -> None:
    """Run on machines elsewhere: manifests for clusters and clouds, GPUs on Modal."""


class Form(StrEnum):
    """What can be rendered."""

    kuberay = "kuberay"
    skypilot = "skypilot"
    dockerfile = "dockerfile"


Names = list[str] | None


@infra.command()
def render(
    form: Annotated[Form, typer.Argument(metavar="kuberay|skypilot|dockerfile", help="which manifest")],
    dag: DagName,
    dials: Dials = None,
    store: Annotated[str, typer.Option(envvar="CORPUSMILL_STORE", help="s3://bucket/prefix")] = "",
    image: Annotated[str, typer.Option(help="the image that a cluster pulls")] = "corpusmill:latest",
    gpu: Annotated[
        str, typer.Option(metavar="TYPE", help="type of GPU, for example H100; else what the stages ask for")
    ] = "",
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of one machine; else what the stages ask for")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="cores of one machine; else what the stages ask for")] = None,
    memory: Annotated[int | None, typer.Option(metavar="GIB", min=1, help="memory of one machine")] = None,
    workers: Annotated[int, typer.Option(min=0, help="machines beside the head; they have the GPUs then")] = 0,
    spot: Annotated[bool, typer.Option("--spot", help="machines that may be taken away, for less")] = False,
    cloud: Annotated[Names, typer.Option(metavar="CLOUD[/REGION]", help="where it may run; may be given again")] = None,
    select: Annotated[Names, typer.Option(metavar="LABEL=VALUE", help="nodes of a cluster that have the GPUs")] = None,
    secret: Annotated[Names, typer.Option(metavar="NAME", help="a secret by name, never with its value")] = None,
    env: Annotated[Names, typer.Option(metavar="NAME=VALUE", help="a variable that all may read")] = None,
    torch_index: Annotated[
        str, typer.Option(metavar="URL", help="a further package index, for other builds of torch")
    ] = "",
    minutes: Annotated[int, typer.Option(min=0, help="a cluster's job ends after so many; 0: when it is done")] = 0,
    max_cost: Annotated[float | None, typer.Option(metavar="DOLLARS", min=0, help="as of corpusmill run")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="a file instead of standard output")] = None,
) -> None:
    """Write a RayJob for KubeRay, a task for SkyPilot, or a Dockerfile with its .dockerignore, all of the same run."""
    from infra.rendered import Wishes, described, rendered, write

    wishes = Wishes(
        store=store, image=image, gpu=gpu, gpus=gpus, cpus=cpus, memory_gib=memory, workers=workers, spot=spot,
        clouds=cloud or [], select=select or [], secrets=secret or [], variables=env or [], torch_index=torch_index,
        minutes=minutes, max_cost=max_cost,
    )  # fmt: skip
    found, warnings = described(form.value, dag, dials or [], wishes)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    files = rendered(form.value, found)
    print("\n".join(write(files, out)) if out else files[""].rstrip("\n"))


with contextlib.suppress(ModuleNotFoundError):  # what it needs is asked for when it runs
    infra.add_typer(importlib.import_module("infra.modal_commands").modal, name="modal")
