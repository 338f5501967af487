"""What is wrong with a store, as the one error that a person reads: what it is, where, and the mend."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StoreError, no_space
from pipeline.manifest import SCHEMA

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
_BROKEN = (errno.EIO, errno.ESTALE, errno.EROFS, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT)


class Unsound(Exception):
    """A file, named in full, is not what its manifest says: missing, altered, or not of the artifact at all."""


def explained(fault: OSError, store: str) -> StoreError:
    """The fault of a file system operation below the root `store`."""
    place = f": {fault.filename2 or fault.filename}" if fault.filename else ""
    if no_space(fault):
        return StoreError(
            f"no space left on the disk of {store}",
            mend="free some space and run the same command again; what was committed is kept",
        )
    if fault.errno in _DENIED:
        what = f"the store {store} refuses access ({fault.strerror}){place}"
        return StoreError(what, mend="change the permissions there, or give another store with --store")
    if fault.errno in _IN_THE_WAY:
        what = f"the store {store} holds something that is in the way ({fault.strerror}){place}"
        return StoreError(what, mend="move that away, or give another store with --store")
    return StoreError(
        f"the store {store} cannot be used ({fault.strerror or fault}){place}",
        mend="see that its disk is there and sound, then run the same command again",
    )


def of_store(fault: BaseException, root: Path) -> bool:
    """Whether a fault that a stage ran into is one of the disk below `root`, rather than a bug of the stage."""
    if not isinstance(fault, OSError):
        return False
    below = bool(fault.filename) and Path(str(fault.filename)).is_relative_to(root)
    return no_space(fault) or fault.errno in _BROKEN or (below and fault.errno in _DENIED)


@contextmanager
def explaining(store: str, *, reading: bool = False) -> Iterator[None]:
    """Raise what the operating system says in the block as a StoreError; what is not there to be read, as FileNotFoundError."""
    try:
        yield
    except OSError as fault:
        if reading and isinstance(fault, FileNotFoundError | NotADirectoryError):
            raise FileNotFoundError(fault.errno, fault.strerror, fault.filename) from fault
        raise explained(fault, store) from fault


def unreadable(where: str, text: bytes) -> StoreError:
    """Why a manifest cannot be read: it is of a newer schema, or not whole."""
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        written = int(json.loads(text).get("schema_version", 0))
        if written > SCHEMA:
            return StoreError(
                f"{where} is a manifest of schema {written}, and this corpusmill reads schemas up to {SCHEMA}",
                mend="upgrade corpusmill: the store was written by a newer one",
            )
    return StoreError(
        f"{where} is truncated or damaged: it is no manifest",
        mend="see what else is wrong with corpusmill verify; delete its directory to build that artifact again",
    )
