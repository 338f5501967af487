"""A real S3 server (moto's), on loopback unless told otherwise, and the environment that leads to it."""

from __future__ import annotations

import http.client
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer


class S3:
    """A running server. Its environment is all that a client, in this process or another, needs to find it."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "loopback-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.address = (host, port)

    def bucket(self, name: str = "") -> str:
        """The URL of a fresh bucket."""
        name = name or f"b{uuid.uuid4().hex[:16]}"
        asking = http.client.HTTPConnection(*self.address)
        asking.request("PUT", f"/{name}")
        assert asking.getresponse().status == 200
        return f"s3://{name}"

    def stop(self) -> None:
        """Refuse every connection from now on."""
        self._server.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse every connection meanwhile, though nobody else gets the port; what it held is still there afterwards."""
        with socket.socket() as kept:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.stop()
            kept.bind(self.address)
            yield
            self._server = ThreadedMotoServer(*self.address, verbose=False)
            self._server.start()
