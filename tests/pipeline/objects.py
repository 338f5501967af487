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
        self._held = socket.socket()  # bound and deaf, for as long as this is: nobody else is given the port meanwhile
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = self._held.getsockname()[1]
        self.open()

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
            self._close(end)

    def _close(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def shut(self) -> None:
        """Let nothing through."""
        self._close(self._door)
        self._porter.join()  # whom it has let in by now is among the pipes
        for end in self._pipes:
            self._close(end)
        self._pipes.clear()

    def open(self) -> None:
        """Let all through, at the same address as ever."""
        self._door = socket.create_server(("127.0.0.1", self.port))
        self._porter = threading.Thread(target=self._serve, args=[self._door], daemon=True)
        self._porter.start()
