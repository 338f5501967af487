"""The stage that `corpusmill doctor --deep` runs on Ray."""

from __future__ import annotations

from pipeline import Artifact, Context, Stage


class Probe(Stage[Artifact]):
    """Write one word."""

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "word").write_text("well")
