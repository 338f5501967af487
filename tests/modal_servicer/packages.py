"""What an image's commands would install, found among the packages of the tests: a container sees these and no others.

Simulated: nothing is downloaded. A package that the tests lack, or have at a version that the image does not want, fails the build.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import modal
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.modal_servicer.room import libraries
from tests.modal_servicer.state import Unmodelled

TOOLS = frozenset({"pip", "wheel", "uv"})
"""What Modal's base images bring beside Python. The tests may lack them, all but pip."""
FLAGS = ("--upgrade", "--compile-bytecode")
VALUED = ("--python", "--constraints")


def client(builder: str) -> frozenset[str]:
    """What Modal mounts into each container for its own client."""
    listed = Path(modal.__file__).with_name("builder") / f"{builder}.txt"
    names = (Requirement(line).name for line in listed.read_text(encoding="utf-8").splitlines() if line.strip())
    return frozenset(map(canonicalize_name, (*names, "modal", "synchronicity")))


def wanted(commands: Collection[str]) -> list[Requirement]:
    """The requirements of all `pip install` among the commands of an image. Raises Unmodelled for an option not known here."""
    found = []
    for line in commands:
        _, install, rest = line.partition("pip install ")
        words = iter(shlex.split(rest.replace("$(command -v python)", "python"))) if install else iter(())
        for word in words:
            if word in VALUED:
                next(words)
            elif word.startswith("-") and word not in FLAGS:
                raise Unmodelled(f"an image made with pip install {word}")
            elif word not in FLAGS:
                found.append(Requirement(word))
    return found


def installed(requirements: Collection[Requirement]) -> frozenset[str]:
    """The names of what `requirements` need, all that they need included. Raises ValueError for what the tests do not have."""
    found, left = set[tuple[str, str]](), [(one, extra) for one in requirements for extra in ("", *one.extras)]
    while left:
        requirement, extra = left.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            there = _distribution(name)
        except metadata.PackageNotFoundError:
            if name in TOOLS:
                continue
            raise ValueError(f"no version of {requirement} is to be had") from None
        if not requirement.specifier.contains(there.version, prereleases=True):
            raise ValueError(f"{requirement} does not go with {name} {there.version}")
        needs = (Requirement(one) for one in there.requires or ())
        for need in needs:
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                left += [(need, each) for each in ("", *need.extras)]
    return frozenset(name for name, _ in found)


@lru_cache
def seen(commands: tuple[str, ...], builder: str) -> dict[str, Path]:
    """What lies at the top of site-packages in a container of an image with these commands: names, and where each really is.

    A directory that several packages share, as `google`, is there with all that is in it.
    """
    names = installed(wanted(commands)) | client(builder) | TOOLS
    return {path: whole for name in sorted(names) for path, whole in _files(name)}


def _distribution(name: str) -> metadata.Distribution:
    """The package where packages are installed: Ray puts a folder of its own before them, with others of the same names."""
    for there in metadata.distributions(name=name, path=[str(path) for path in libraries()]):
        return there
    raise metadata.PackageNotFoundError(name)


def _files(name: str) -> Iterator[tuple[str, Path]]:
    try:
        there = _distribution(name)
    except metadata.PackageNotFoundError:
        return
    for file in there.files or ():
        if file.parts[0] != "..":  # a command, which lies elsewhere
            yield file.parts[0], Path(str(there.locate_file(file.parts[0])))
