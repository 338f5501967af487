"""The commands `corpusmill serve` (the OpenAI-compatible service, on Ray Serve) and `corpusmill chat` (a talk in the terminal)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ModelName = Annotated[
    str,
    typer.Argument(metavar="[MODEL]", help="a folder, a stage's label or a dag's name; the newest service if left out"),
]
StoreRoot = Annotated[str, typer.Option("--store", envvar="CORPUSMILL_STORE", help="root of all artifacts")]


def serve(
    model: ModelName = "",
    store: StoreRoot = ".corpusmill",
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; there is no password: think before you open it")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="port; 0 for any that is free")] = 8000,
    replicas: Annotated[int, typer.Option("--replicas", min=1, max=64, help="copies of the model on Ray Serve")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray/--no-ray", help="on Ray Serve, or in this process alone (one copy)")
    ] = True,
    on: Annotated[
        str, typer.Option("--on", metavar="PLACE", help="here, or modal: deployed, there only while asked")
    ] = "here",
    public: Annotated[
        bool, typer.Option("--public", help="on Modal: answer whoever asks, without a proxy token")
    ] = False,
) -> None:
    """Answer OpenAI's chat API over HTTP: here until Ctrl-C, or on Modal until it is stopped."""
    from infra.served import find
    from stages.service.launch import read_launch
    from stages.service.local import free_socket

    folder = find(model, store, _tell)
    if on != "here":
        return _on_modal(folder, on, public)
    name = read_launch(folder).name
    with free_socket(host, port) as probe:
        chosen = int(probe.getsockname()[1])
    if ray:
        _on_ray(folder, name, host, chosen, replicas)
    else:
        _in_process(folder, name, host, chosen)
    print("stopped", flush=True)


def _on_ray(folder: Path, name: str, host: str, port: int, replicas: int) -> None:
    from infra.serve_cluster import ServeCluster

    with ServeCluster(folder, host, port, replicas) as cluster:
        _ready(name, host, port)
        try:
            cluster.wait()
        except KeyboardInterrupt:
            print(flush=True)


def _on_modal(folder: Path, on: str, public: bool) -> None:
    if on != "modal":
        raise UsageError(f"a model cannot be served on {on!r}", mend="write --on here, or --on modal")
    from infra.modal_serving import app_name, serve
    from stages.service.launch import read_launch

    url, name = serve(folder, _tell, public=public), read_launch(folder).name
    print(f"{name} answers at {url}/v1, from the first question on; no container waits in between")
    if not public:
        print(
            "who asks sends the headers Modal-Key and Modal-Secret of a proxy token (modal.com/settings/proxy-auth-tokens)"
        )
    print(f"to stop it: corpusmill infra modal stop {app_name(name)}", flush=True)


def _in_process(folder: Path, name: str, host: str, port: int) -> None:
    import threading

    from stages.service.launch import app_of
    from stages.service.local import serving

    with serving(app_of(folder), host, port):
        _ready(name, host, port)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(flush=True)


def _ready(name: str, host: str, port: int) -> None:
    from infra.address import reachable, warn_if_open

    warn_if_open(host, "the model")
    print(f"{name} answers at http://{reachable(host)}:{port}/v1 (Ctrl-C stops it)", flush=True)


def chat(
    model: ModelName = "",
    store: StoreRoot = ".corpusmill",
    url: Annotated[
        str, typer.Option("--url", help="talk to a running service instead, for example http://127.0.0.1:8000")
    ] = "",
    once: Annotated[str, typer.Option("--once", metavar="QUESTION", help="ask this, print the answer, and leave")] = "",
    system: Annotated[str, typer.Option("--system", help="system message")] = "",
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=2, help="0 takes the likeliest token each time")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="longest answer, in tokens")] = 128,
) -> None:
    """Talk with a model: on a terminal, or line by line through a pipe."""
    from stages.service.chat import Chat, through_client, through_engine
    from stages.service.client import Client

    if url:
        client = Client(url)
        _talk(Chat(through_client(client, max_tokens, temperature), system=system), once, client.models()[0])
        return
    from infra.served import find
    from stages.service.launch import read_launch
    from stages.service.llama_cpp import open_engine

    folder = find(model, store, _tell)
    launch = read_launch(folder)
    with open_engine(folder, threads=launch.threads, context=launch.context, reuse=True) as engine:
        _talk(Chat(through_engine(engine, max_tokens, temperature), system=system), once, launch.name)


def _tell(line: str) -> None:
    print(f"({line})", file=sys.stderr, flush=True)


def _talk(talk: Chat, once: str, name: str) -> None:
    from stages.service.chat import HELP, typed_lines

    if once:
        talk.say(once)
        return
    if sys.stdin.isatty():
        print(f"{name}: {HELP}")
    talk.talk(typed_lines("> "), show=_tell)


if TYPE_CHECKING:
    from stages.service.chat import Chat
