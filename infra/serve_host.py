"""The host of a service on Ray Serve: starts a private cluster, wraps the ASGI app, says when it answers, ends with its socket."""

from __future__ import annotations

import faulthandler
import json
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from ray import serve

from infra.ray_start import start

REQUEST_SECONDS = 600.0


def deploy(folder: str, host: str, port: int, replicas: int) -> None:
    """Run the service of `folder` on Ray Serve; returns when each replica has its model loaded."""

    def build() -> Any:
        from stages.service.launch import app_of

        return app_of(Path(folder))

    # replicas ask for no CPU of Ray's: the engine's threads are bounded by service.json, and the app itself refuses what is
    # too much, so Serve's own limit on requests in flight stands above the app's
    logging = {"log_level": "ERROR", "enable_access_log": False}
    deployment = serve.deployment(
        name="chat",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=2,
        logging_config=logging,
    )(serve.ingress(build)())
    options = {"host": host, "port": port, "request_timeout_s": REQUEST_SECONDS}
    serve.start(proxy_location="HeadOnly", http_options=options, logging_config=logging)
    serve.run(deployment.bind(), name="corpusmill", route_prefix="/", logging_config=logging)


def main() -> None:
    """Serve as the first line of the socket (the first argument) says, until the other side closes it."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    with channel.makefile("rb") as lines:
        settings = json.loads(lines.readline())
        faulthandler.dump_traceback_later(settings["seconds"] * 0.9)  # the log says where it hung
        begun = False
        try:
            start(settings["ray"])
            begun = True
            deploy(settings["folder"], settings["host"], settings["port"], settings["replicas"])
            answer: dict[str, Any] = {"ready": True}
        except Exception as fault:  # whatever keeps it from starting is told in the driver's words
            traceback.print_exc()
            answer = {"lost": _last_line(fault), "again": not begun}
        faulthandler.cancel_dump_traceback_later()
        channel.sendall(json.dumps(answer).encode() + b"\n")
        lines.read()
    serve.shutdown()  # type: ignore[no-untyped-call]


def _last_line(fault: Exception) -> str:
    """The innermost message of a fault that Ray wraps in traces."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[-1] if lines else repr(fault)


if __name__ == "__main__":
    main()
