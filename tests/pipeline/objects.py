"""What the tests of object stores share."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator

from pipeline.files import open_root
from pipeline.object_files import ObjectFiles


def files(url: str) -> ObjectFiles:
    """The files of an object store."""
    opened = open_root(url)
    assert isinstance(opened, ObjectFiles)
    return opened


@contextlib.contextmanager
def renewed(files: ObjectFiles, lease: str) -> Iterator[None]:
    """Whoever looks at `lease` through `files` finds it renewed by another machine since the last look, however busy this one is."""
    read, counts = files.read, itertools.count()

    def look(name: str) -> bytes:
        if name == lease:
            said = {"holder": "x", "count": next(counts), "process": ["another boot", "pid:[1]", 1, "1"]}
            files.replace(lease, json.dumps(said).encode())
        return read(name)

    files.read = look  # type: ignore[method-assign]
    look(lease)
    yield
    files.read = read  # type: ignore[method-assign]
    files.remove(lease)


class Gate:
    """A way to a server that can be shut: connections that are open break, new ones are refused."""

    def __init__(self, host: str, port: int) -> None:
        self._server, self._pipes, self._lock = (host, port), list[socket.socket](), threading.Lock()
        self._keeps = socket.socket()  # never listens: while the door is shut, nobody else is given its port
        self._keeps.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._keeps.bind(("127.0.0.1", 0))
        self.port = self._keeps.getsockname()[1]
        self.open()

    def _serve(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = door.accept()
                outside = socket.create_connection(self._server)
                with self._lock:
                    if door is not self._door:  # it was shut while this one came in
                        inside.close()
                        return outside.close()
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
        with self._lock:
            ends, self._pipes, self._door = [self._door, *self._pipes], [], None
        for end in filter(None, ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def open(self) -> None:
        """Let all through again, at the same address."""
        self._door: socket.socket | None = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        threading.Thread(target=self._serve, args=[self._door], daemon=True).start()
