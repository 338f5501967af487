"""The room of a container: a root of its own in which only the interpreter, the declared files and volumes exist.

Simulated: Modal would run the image that was declared; here the interpreter is the one that runs the tests, and so are those of
its packages that the image names (packages.py).
Everything else is apart: the file system below `/root`, `/tmp` and each mount, the processes, the environment.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/dev", "/sys")
LIBRARIES = "libraries"
SEEN = f"{LIBRARIES}/seen"
"""In a room: the packages of the tests, and links to those of them that the image has. The latter is what Python finds."""
OWN = ("root", "tmp", "run", "proc", "var/tmp", "__modal/volumes", SEEN)
SHOWN = ("/dev/shm", "cm-*")
"""Folders that a test makes in order to be told what a job did: all else of the shared memory is a container's own."""
APART = (
    *("unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))),
    *("--mount", "--pid", "--fork", "--kill-child=KILL"),
)
ENTRY = ("-m", "modal._container_entrypoint")


@lru_cache
def why_not() -> str:
    """Why this machine can give a container no room of its own; empty where it can."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return "rooms of their own need Linux and the command unshare"
    done = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    return f"rooms of their own need mount and PID namespaces: {done.stderr.strip()}" if done.returncode else ""


def libraries() -> list[Path]:
    """Where the packages of the interpreter are."""
    return [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def interpreter() -> list[Path]:
    """What Python needs to run as it does here: its installation, this environment, packages that a .pth file adds."""
    needed = [Path(sys.base_prefix), Path(sys.prefix), *libraries()]
    covered = [Path(one) for one in SYSTEM]
    kept: list[Path] = []
    for path in needed:
        if not any(path.is_relative_to(other) for other in (*covered, *kept)):
            kept.append(path)
    return kept


def furnish(root: Path, directory: str, packages: dict[str, Path]) -> None:
    """Make the empty directories of a room, its working directory, and links: those that this system has in place of some, and
    those to `packages`, by their names at the top of a library."""
    for name in (*OWN, directory.lstrip("/")):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in SYSTEM:
        here, there = Path(name), root / name[1:]
        if here.is_symlink():
            there.symlink_to(os.readlink(here))
        elif here.is_dir():
            there.mkdir()
    for path in interpreter():
        (root / path.relative_to("/")).mkdir(parents=True, exist_ok=True)
    for number, library in enumerate(libraries()):
        (root / LIBRARIES / str(number)).mkdir(parents=True)
        for name, path in packages.items():
            if path.parent == library:
                (root / SEEN / name).symlink_to(f"/{LIBRARIES}/{number}/{name}")


def command(root: Path, volumes: dict[str, tuple[Path, bool]], directory: str) -> list[str]:
    """The command that runs the entry point in the room; `volumes` maps a path in it to a directory, and says if read-only."""
    lines = list(_mounts(root, volumes))
    python = [sys.executable, *ENTRY]
    lines.append(
        f"exec chroot {shlex.quote(str(root))} /usr/bin/env -u PWD -C {shlex.quote(directory)} {shlex.join(python)}"
    )
    return [*APART, "sh", "-ec", "\n".join(lines)]


def _mounts(root: Path, volumes: dict[str, tuple[Path, bool]]) -> Iterator[str]:
    for name in SYSTEM:
        if Path(name).is_dir() and not Path(name).is_symlink():
            recursive = "--rbind" if name in ("/dev", "/sys") else "--bind"
            yield shlex.join(["mount", recursive, name, str(root / name[1:])])
    memory, shown = SHOWN
    yield shlex.join(["mount", "-t", "tmpfs", "tmpfs", str(root / memory[1:])])
    for path in Path(memory).glob(shown):
        here, there = shlex.quote(str(path)), shlex.quote(str(root / path.relative_to("/")))
        yield f"mkdir {there}; mount --bind {here} {there} || test ! -d {here}"  # its test may have just ended
    for path in interpreter():  # writable: byte code is compiled once, not at every start
        yield shlex.join(["mount", "--bind", str(path), str(root / path.relative_to("/"))])
    for number, path in enumerate(libraries()):
        yield shlex.join(["mount", "--bind", str(path), str(root / LIBRARIES / str(number))])
        yield shlex.join(["mount", "--bind", str(root / SEEN), str(root / path.relative_to("/"))])
    yield shlex.join(["mount", "-t", "proc", "proc", str(root / "proc")])
    for inside, (outside, read_only) in volumes.items():
        target = str(root / inside.lstrip("/"))
        yield shlex.join(["mkdir", "-p", target])
        yield shlex.join(["mount", "--bind", str(outside), target])
        if read_only:
            yield shlex.join(["mount", "-o", "remount,bind,ro", target])
