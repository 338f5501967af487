"""Filter: keeps the documents that pass rules of language and quality, and tells of each dropped one which rule and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Documents

Rule = Literal["language", "contacts", "profanity", "repetition", "quality", "c4"]


class Filter(Stage[Documents]):
    """Pass every document through `rules` until one drops it; ``dropped/`` beside the shards has id, rule, reason and a glimpse of each.

    The defaults are those of the papers, meant for web pages (Gopher: https://arxiv.org/abs/2112.11446, C4:
    https://jmlr.org/papers/v21/20-074.html); talk and tales want looser ones. C4 also takes lines out of what it keeps.
    Raises StageFailed, with the counts by reason, when nothing is left.
    """

    shows = ("documents_in", "documents_kept")

    documents: Documents
    rules: tuple[Rule, ...] = Field(
        default=("language", "quality", "repetition", "c4"), description="the rules, in the order they are asked"
    )
    language: str = Field(default="en", description="ISO 639 code that the language rule wants")
    language_score: float = Field(default=0.65, ge=0, le=1, description="least score of that language")
    language_characters: int = Field(
        default=1000, gt=0, description="characters from the start that the language rule reads"
    )
    max_profanity: float = Field(default=0.0, ge=0, le=1, description="share of words that may be profane")
    repetition_scale: float = Field(
        default=1.0, gt=0, description="factor on all of Gopher's limits of repetition; above 1 is looser"
    )
    min_words: int = Field(default=50, ge=0, description="fewest words of a document (Gopher)")
    max_words: int = Field(default=100_000, gt=0, description="most words of a document (Gopher)")
    min_word_length: float = Field(default=3, ge=0, description="least mean length of a word in characters (Gopher)")
    max_word_length: float = Field(
        default=10, gt=0, description="greatest mean length of a word in characters (Gopher)"
    )
    min_alpha_words: float = Field(
        default=0.8, ge=0, le=1, description="least share of words with a letter; marks count as words (Gopher)"
    )
    min_stop_words: int = Field(
        default=2, ge=0, description="how many of the, be, to, of, and, that, have, with must occur (Gopher)"
    )
    whole_sentences: bool = Field(
        default=True, description="take out lines that do not end in a mark that ends a sentence (C4)"
    )
    min_sentences: int = Field(default=5, ge=-1, description="fewest sentences of a document; -1 asks for none (C4)")
    min_words_per_line: int = Field(default=3, ge=-1, description="take out lines with fewer words; -1 takes none (C4)")
    no_curly_brackets: bool = Field(default=True, description="drop documents that hold a curly bracket (C4)")

    @field_validator("rules")
    @classmethod
    def _distinct(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if not rules or len(set(rules)) < len(rules):
            raise ValueError("name at least one rule, and each once")
        return rules

    def run(self, out: Documents, ctx: Context) -> None:
        """Judge shard by shard; a shard keeps its number and order."""
        from stages.text.origins import from_sources

        shards = [[number, str(path)] for number, path in enumerate(self.documents.shards())]
        reasons: Counter[str] = Counter()
        total = kept = 0
        judged = ctx.map(self._shard, shards)
        for counts in judged:
            total, kept = total + counts["in"], kept + counts["kept"]
            reasons.update(counts["dropped"])
        ctx.log(documents_in=total, documents_kept=kept, documents_dropped=total - kept)
        ctx.log(**{f"dropped.{reason}": count for reason, count in sorted(reasons.items())})
        ctx.log(**from_sources("documents", [counts["from"] for counts in judged]))
        if not kept:
            why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "the input is empty"
            raise StageFailed(
                f"none of {total} documents passed the filter: {why}",
                mend="loosen the rule that drops most, or look at the source",
            )

    def _shard(self, item: list[Any], folder: Path) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from stages.kinds import write_shard
        from stages.text.origins import by_source
        from stages.text.rules import judge
        from stages.text.shards import table

        number, path = item
        verdict, kept, dropped = judge(self), [], []
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            text, rule, reason = verdict(row["text"])
            if rule:
                dropped.append({"id": row["id"], "rule": rule, "reason": reason, "text": row["text"][:200]})
            else:
                kept.append({**row, "text": text})
        write_shard(folder / f"part-{number:05d}.parquet", table(kept))
        schema = pa.schema([(name, pa.string()) for name in ("id", "rule", "reason", "text")])
        write_shard(folder / "dropped" / f"part-{number:05d}.parquet", pa.Table.from_pylist(dropped, schema=schema))
        reasons = Counter(f"{row['rule']}.{row['reason']}" for row in dropped)
        origins = by_source(row["source"] for row in kept)
        return {"in": len(rows), "kept": len(kept), "dropped": dict(sorted(reasons.items())), "from": origins}
