"""What the tests of manifests share: a small dag of one's own, and the command that renders it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from infra.commands import infra
from pipeline.errors import CorpusmillError

DAG = '''"""words: two stages, of which the second trains."""

from helpers.text import WORDS
from pipeline import Artifact, Context, Dag, Field, Resources, Stage


class Say(Stage[Artifact]):
    """Write some words."""

    words: str = Field(default=WORDS, description="the words")

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "words.txt").write_text(self.words)


class Learn(Stage[Artifact]):
    """Learn them."""

    text: Artifact
    longer: int = Field(default=1, description="letters")

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "model").write_text("learnt")


def words(*, longer: int = 1) -> Dag:
    """Say, then Learn."""
    needs = Resources(gpus=2, gpu="H100", cpus=8, memory_gib=64)
    return Dag(Learn(text=Say().out, longer=longer, resources=needs))
'''

Render = Callable[..., str]


def own_dag(folder: Path) -> str:
    """A dag of one's own in `folder`, beside files that are nobody's business; its name. The one before is forgotten."""
    for module in ("words", "helpers", "helpers.text"):
        sys.modules.pop(module, None)
    sys.path[:] = [path for path in sys.path if not Path(path, "words.py").exists()]
    (folder / "helpers").mkdir()
    (folder / "words.py").write_text(DAG, encoding="utf-8")
    (folder / "helpers" / "text.py").write_text('WORDS = "a tale"\n', encoding="utf-8")
    (folder / "helpers" / "__init__.py").write_text("", encoding="utf-8")
    (folder / ".env").write_text("HF_TOKEN=hf_planted\n", encoding="utf-8")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "hidden.py").write_text("", encoding="utf-8")
    (folder / "notes.txt").write_text("not for others", encoding="utf-8")
    return f"{folder}/words.py:words"


def render(*words: str) -> str:
    """What the command prints. Raises the CorpusmillError that the command line would tell."""
    done = CliRunner().invoke(infra, ["render", *words], env={**os.environ, "COLUMNS": "140"})
    if isinstance(done.exception, CorpusmillError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def document(text: str) -> dict[str, Any]:
    """The one YAML document that was rendered."""
    found: dict[str, Any] = yaml.safe_load(text)
    return found
