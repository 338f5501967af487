"""Everything Corpusmill raises on purpose.

::

    CorpusmillError
    ├── UsageError      the command line or a dial is wrong
    ├── DagError        the dag cannot be drawn: cycle, duplicate label, wrong kind, bad setting
    ├── KeyFault        a setting has no stable form to hash
    ├── StoreError      the store cannot be read or written
    ├── SourceError     something outside the store is missing or not what was pinned
    ├── StageFailed     a stage could not make its artifact
    └── DecisionNeeded  going on would cost more than was agreed to: a person decides
        └── Stopped     a stage was asked to stop, and did at a commit

A message says what is wrong and where; ``mend`` is the command or the edit that puts it right.
"""

from __future__ import annotations

import errno

AGAIN = "run the same command again; what was committed is kept"
"""The mend of what a person is not to blame for."""


class CorpusmillError(Exception):
    """A mistake or a misfortune that is told to the person in one line, never as a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.mend}" if self.mend else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.mend))


def no_space(fault: BaseException) -> bool:
    """Whether `fault` says that a disk or a quota is full."""
    return isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)


def _rebuild(cls: type[CorpusmillError], message: str, mend: str) -> CorpusmillError:
    return cls(message, mend=mend)


class UsageError(CorpusmillError):
    """The command line, a dial or a configured value is wrong; nothing was started."""

    exit_code = 2


class DagError(CorpusmillError):
    """The dag cannot be drawn: a cycle, two equal labels, a wrong kind of artifact, a bad setting."""

    exit_code = 2


class KeyFault(CorpusmillError):
    """A setting has no stable form, so that no key can be made from it."""

    exit_code = 2


class StoreError(CorpusmillError):
    """The store cannot be reached, read or written."""


class SourceError(CorpusmillError):
    """Something outside the store is missing, or is not what its pin says."""


class StageFailed(CorpusmillError):
    """A stage could not make its artifact; what it had committed is kept for the next run."""


class DecisionNeeded(CorpusmillError):
    """Going on would run, keep or spend something that nobody has agreed to."""

    exit_code = 3


class Stopped(DecisionNeeded):
    """A stage was asked to stop, by a limit or a person, and did so at a commit: nothing is lost."""
