"""Writes plain values as YAML that people read: block style, strings quoted only where they must be, long text as a block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z/.~][A-Za-z0-9_./@+~-]*(?:[ :][A-Za-z0-9_./@+~-]+)*")
_TAKEN = re.compile(r"(?i)null|~|true|false|yes|no|on|off|y|n|\.nan|[-+.]?\.?(?:inf|\d.*)|<<|\.")

Value = Mapping[str, "Value"] | Sequence["Value"] | str | int | None


def dump(value: Value) -> str:
    """`value` as one YAML document."""
    return "".join(f"{line}\n" for line in _block(value))


def _block(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _entry(f"{_text(name)}:", inner, "  ")
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for inner in value:
            lines = list(_block(inner))
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
    else:
        yield _scalar(value)


def _entry(head: str, value: Value, indent: str) -> Iterator[str]:
    if isinstance(value, str) and _is_text(value):
        yield f"{head} |"
        yield from (f"{indent}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    elif isinstance(value, Mapping | Sequence) and value and not isinstance(value, str):
        yield head
        yield from (f"{indent}{line}" for line in _block(value))
    else:
        yield f"{head} {_scalar(value)}"


def _is_text(value: str) -> bool:
    """Whether a literal block gives these lines back as they are."""
    body = value.removesuffix("\n")
    return (
        value.endswith("\n")
        and bool(body)
        and body == body.strip("\n")
        and body[0] not in " \t"
        and all(line.isprintable() for line in body.split("\n"))
    )


def _scalar(value: Value) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    """Bare where no reader takes it for anything but this string; else as JSON, which is YAML."""
    plain = _PLAIN.fullmatch(value) and not _TAKEN.fullmatch(value) and ": " not in value and not value.endswith(":")
    return value if plain else "".join(map(_letter, json.dumps(value, ensure_ascii=False)))


def _letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if ord(letter) < 1 << 16 else f"\\U{ord(letter):08x}"
