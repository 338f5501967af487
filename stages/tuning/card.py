"""A model card for a tuned checkpoint: what was done to it, by which settings, in the form that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(out: Path, title: str, text: str, settings: Mapping[str, object]) -> None:
    """Write README.md with front matter. It states settings and counts alone: no time, machine or path."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    front = "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- corpusmill\n---\n"
    body = f"{front}\n# {title}\n\n{text}\n\n| setting | value |\n| --- | --- |\n{rows}\n"
    (out / "README.md").write_text(body, encoding="utf-8")
