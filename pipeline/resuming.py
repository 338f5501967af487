"""The command that goes on with a run that was cut short: the same again, without what a person asked for and has.

What was built again by ``--rebuild`` or ``--from`` before the run ended is there: named once more, it would be paid for twice.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence


def command(words: Sequence[str], done: Collection[str] = (), begun: Collection[str] = ()) -> str:
    """The command line of `words`, in whose run the stages `done` got their artifacts, and those `begun` did not."""
    return shlex.join(["corpusmill", *_left(words, set(map(_form, done)), [label for label in begun if label])])


def _left(words: Sequence[str], done: Collection[str], begun: Sequence[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        option, given, label = word.partition("=")
        if option not in ("--rebuild", "--from"):
            yield word
            continue
        label = label if given else next(rest, "")
        if _form(label) in done:
            if option == "--rebuild":
                continue
            label = begun[0] if len(begun) == 1 else label  # of several, none is above all that is left
        yield from (f"{option}={label}",) if given else (option, label)


def _form(label: str) -> str:
    """A label as `Dag.find` compares it."""
    return label.lower().replace("_", "-")
