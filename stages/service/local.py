"""Runs the service on a loopback port in a thread of this process, for as long as a `with` block lasts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import StageFailed, UsageError

START_SECONDS, END_SECONDS = 60.0, 30.0
"""What a busy machine may take to begin and to end it: both take milliseconds where nothing else runs."""


def free_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket bound to `port` (0: any that is free). Raises UsageError where it is taken or `host` is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as fault:
        bound.close()
        reason = "is in use" if fault.errno in (48, 98) else f"cannot be used: {fault.strerror}"
        raise UsageError(
            f"{host}:{port} {reason}", mend="name another with --port, or --port 0 for a free one"
        ) from None
    except OverflowError:
        bound.close()
        raise UsageError(f"{port} is not a port", mend="name one between 1 and 65535, or 0 for a free one") from None
    return bound


@contextmanager
def serving(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve the ASGI `app` while the block runs; gives the URL once it takes requests, and leaves no thread behind."""
    import uvicorn

    bound = free_socket(host, port)
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="service", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    try:
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not server.started:
            raise StageFailed(f"the service did not start on its loopback port within {START_SECONDS:.0f} s")
        yield f"http://{host}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=END_SECONDS)
        bound.close()
