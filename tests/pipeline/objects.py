"""What the tests of object stores share."""

from __future__ import annotations

import contextlib
import socket
import threading

from pipeline.files import open_root
from pipeline.object_files import ObjectFiles


def files(url: str) -> ObjectFiles:
    """The files of an object store."""
    opened = open_root(url)
    assert isinstance(opened, ObjectFiles)
    return opened


class Gate:
    """A way to a server that can be shut: connections that are open break, new ones are refused."""

    def __init__(self, host: str, port: int) -> None:
        self._server, self._pipes = (host, port), list[socket.socket]()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._serve, args=[self._door], daemon=True).start()

    def _serve(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = door.accept()
                outside = socket.create_connection(self._server)
                self._pipes += [inside, outside]
                for one, other in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._pour, args=[one, other], daemon=True).start()

    def _pour(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def shut(self) -> None:
        """Let nothing through."""
        for end in (self._door, *self._pipes):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pipes.clear()

    def open(self) -> None:
        """Let all through again, at the same address."""
        self._door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=[self._door], daemon=True).start()
