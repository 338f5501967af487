"""Reads the fenced blocks of a page: ``python NAME`` is a file of that name, ``sh`` is commands, anything else is for reading."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its words after the fence, and what stands in it."""

    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str:
        """The name under which the reader is to save it; empty where it is no file."""
        return self.words[1] if len(self.words) == 2 and self.words[0] in ("python", "jsonl") else ""

    @property
    def commands(self) -> list[str]:
        """Its commands, where the page means them to be run in the reader's own folder."""
        lines = self.text.splitlines() if self.words == ("sh",) else []
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(tuple(words.split()), text) for words, text in FENCE.findall(page.read_text(encoding="utf-8"))]


def follow(page: Path, folder: Path, environment: dict[str, str]) -> list[str]:
    """Do in `folder` what the page says: save its files, run its commands. Returns what each command printed.

    Raises AssertionError with the output of the first command that does not end with 0.
    """
    search = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"
    printed = []
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        for command in block.commands:
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder,
                env={**environment, "PATH": search, "COLUMNS": "120"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=900,
            )
            assert done.returncode == 0, f"{page.name}: {command} ended with {done.returncode}:\n{done.stdout}"
            printed.append(done.stdout)
    return printed
