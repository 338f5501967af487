"""Processes below a keeper: what is started here ends, with all that it started, when this process closes it or dies."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra import keeper
from infra.ray_environment import away, for_client, for_ray
from infra.shipped import pack, place_of

OBJECT_STORE_BYTES = 80 * 2**20
"""Just above Ray's least: data travels through the store, never through Ray's."""
LONGEST_FOLDER = 40
"""Characters that Ray's folder may have: it adds up to 64 for its sockets, whose names end at 104 on macOS."""
CLOSE_SECONDS = 60.0
"""That a keeper may take to end what it keeps, which has 11 s on a machine that has nothing else to do: who kills it leaves that behind."""
START_SECONDS = (100.0, 300.0)
"""That each try may take: Ray is ready in 4 to 11 s on two idle cores, Ray Serve in 10 to 20; now and then it never is."""


class Kept:
    """`command` below a keeper, silent: what it prints goes to the end of `log`.

    With a `folder`, that is where it works, and the folder is removed at the end. With a `channel`, the command inherits
    it and ends when it is closed; without one it is asked to end by SIGTERM.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path | None = None,
        channel: socket.socket | None = None,
    ) -> None:
        passed = () if channel is None else (channel.fileno(),)
        above = [sys.executable, "-I", "-S", keeper.__file__, *map(str, passed or (keeper.NO_CHANNEL,))]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*above, str(folder or ""), *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
                pass_fds=passed,
                cwd=folder,
                env=environment,
            )

    def close(self) -> None:
        """End it, and wait until each of its processes has ended. A second call does nothing."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class RayHost(Kept):
    """The module `module` as Ray's driver, to which lines of JSON go through `channel`.

    `settings` are those of its cluster, for infra.ray_host.start; with an `address` it joins the one that is there.
    `log` is what it and Ray print, for as long as it lives.
    """

    def __init__(self, module: str, *, cpus: int, gpus: int, memory_gib: float, address: str = "") -> None:
        base = tempfile.gettempdir()
        folder = Path(tempfile.mkdtemp(prefix="cm-", dir=base if len(base) <= LONGEST_FOLDER - 16 else "/tmp"))
        self.log = folder / "host.log"
        self.settings: dict[str, Any] = {
            "address": address,
            "cpus": cpus,
            "gpus": gpus,
            "memory": int(memory_gib * 2**30),
            # Ray opens its folder to every user of the machine; the one above it stays closed.
            "folder": f"{folder}/r",
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        if address:
            self.settings |= {"code": f"{folder}/code.zip", "driver": away(place_of(Path.cwd()))}
            self._pack(folder)
        self.channel, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-P", "-m", module, str(theirs.fileno())]
            environment = for_client() if address else for_ray(cpus)
            super().__init__(words, log=self.log, environment=environment, folder=folder, channel=theirs)

    def _pack(self, folder: Path) -> None:
        try:
            pack(folder / "code.zip")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def answer(self, seconds: float) -> dict[str, Any]:
        """The first thing that it says: that it is ready, or what was `lost`, and whether to try `again`."""
        found = b""
        self.channel.settimeout(seconds)
        try:
            while not found.endswith(b"\n"):
                part = self.channel.recv(1)
                if not part:
                    raise ConnectionError
                found += part
        except TimeoutError:
            return {"lost": f"not ready within {seconds:.0f} s", "again": True}
        except OSError:
            return {"lost": "its host process died", "again": True}
        self.channel.settimeout(None)
        said: dict[str, Any] = json.loads(found)
        return said

    def send(self, message: dict[str, Any]) -> None:
        """Send one line. To a host that has gone it does nothing: whoever reads the channel learns of its end."""
        with contextlib.suppress(OSError):
            self.channel.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Shut Ray down, and wait until each of its processes has ended."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        super().close()
        self.channel.close()


def begun(start: Callable[[], RayHost]) -> tuple[RayHost, dict[str, Any]]:
    """The host that `start` starts, and its first answer; one that is not ready, but may be another time, is started once more."""
    for last, seconds in zip((False, True), START_SECONDS, strict=True):
        host = start()
        try:
            answer = host.answer(seconds)
        except BaseException:  # who stops now leaves nothing behind
            host.close()
            raise
        if last or not answer.get("again"):
            break
        host.close()
    return host, answer
