"""How a model card writes what the records say: as markdown that nothing in a record can break, and fit for strangers' eyes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pipeline.elsewhere import kept

UNKNOWN = "unknown"
LONGEST = 160
_HUB = re.compile(r"(?:hf://|https://huggingface\.co/)(datasets/|spaces/)?([\w.-]+/[\w.-]+)(?:[@/].*)?")
_SECRET = re.compile("secret|password|passwd|credential|api_?key|auth|access_?key", re.I)
_WORD = re.compile(r"[\w.+:-]{1,40}")
_PRIVATE = re.compile(r"localhost|[\d.]+|\[.*\]|.*\.(local|lan|internal|intranet|corp|home|localdomain)")


def plain(text: object) -> str:
    """One line without control characters, cut where it is long; ``unknown`` where it is empty."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return (line if len(line) <= LONGEST else line[: LONGEST - 1] + "…") or UNKNOWN


def cell(text: object) -> str:
    """`text` inside a table or a sentence: shown as it is, never read as markup."""
    return re.sub(r"([\\`*\[\]|<>~$#]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", plain(text))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """A table in markdown, its cells escaped."""
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    lines = [header, rule, *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hub(address: str) -> tuple[str, str] | None:
    """``("dataset", "owner/name")`` or ``("model", …)`` for an address on the Hugging Face Hub."""
    found = _HUB.fullmatch(address)
    if not found or found[1] == "spaces/":
        return None
    return ("dataset" if found[1] else "model"), found[2]


def public(address: str) -> str:
    """The address where strangers know it: of a package, the Hub or a public server. Else what kind of place it is."""
    scheme, separator, _ = address.partition("://")
    if not separator:
        local = re.match(r"[~./\\]|[A-Za-z]:[\\/]|file:", address) or (
            "/" in address and not re.match(r"\w+:", address)
        )
        return "a local file or folder" if local else address
    if scheme == "hf":
        return kept(address)
    if scheme == "https":
        try:
            parts = urlsplit(address)
            known = (
                parts.port is None and "." in (parts.hostname or "") and not _PRIVATE.fullmatch(parts.hostname or "")
            )
        except ValueError:
            known = False
        return kept(address) if known else "a private server"
    return "a local file or folder" if scheme == "file" else f"an object store ({scheme})"


def setting(name: str, value: object) -> str:
    """A setting that says how a model was made: a number, a switch or one word; empty for what may be a path or a secret."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else f"{value:g}"
    if isinstance(value, str) and _WORD.fullmatch(value) and not _SECRET.search(name):
        return value
    return ""
