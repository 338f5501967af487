"""Dedup: keeps one document of every cluster of duplicates, exact ones first, then near ones by MinHash and exact Jaccard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Documents


class Dedup(Stage[Documents]):
    """Keep one document of every cluster of near-duplicates (MinHash LSH, then exact Jaccard on each candidate pair).

    Of a cluster the longest text stays, of equally long ones that with the smallest id: which documents stay depends neither on
    the order of the inputs nor on their shards. Those that stay keep their order and their shard. ``dropped/`` beside the shards
    names for each dropped document the one kept in its place, how (exact or near) and their similarity.
    """

    shows = ("documents_in", "exact_duplicates", "near_duplicates", "documents_unique")

    documents: Documents | tuple[Documents, ...]
    threshold: float = Field(
        default=0.8, gt=0, lt=1, description="Jaccard similarity from which on two documents are the same"
    )
    ngram: int = Field(default=5, gt=0, description="words of a shingle; similarity is of the sets of shingles")
    bands: int = Field(default=18, gt=0, description="LSH bands; bands × rows is the number of permutations")
    rows: int = Field(
        default=6, gt=0, description="hash values a band compares; more rows or fewer bands make fewer candidates"
    )
    seed: int = Field(default=1, ge=0, description="of datasketch's permutations")

    def run(self, out: Documents, ctx: Context) -> None:
        """Signatures shard by shard into scratch, one judgement over all of them, then the shards again without what it drops."""
        from stages.text.duplicates import judge
        from stages.text.origins import from_sources

        shards = [str(path) for given in self._given() for path in given.shards()]
        sizes = ctx.map(
            self._sign, [[number, path] for number, path in enumerate(shards)], into=ctx.scratch, name="sign"
        )
        if not sum(sizes):
            raise StageFailed("there are no documents to deduplicate", mend="look at the stages that make its inputs")
        judgement = judge([ctx.scratch / f"sign-{number:05d}" for number in range(len(shards))], self)
        items = [[number, path, judgement.dropped.get(number, {})] for number, path in enumerate(shards)]
        kept = ctx.map(self._keep, items, name="keep")
        ctx.log(
            documents_in=sum(sizes),
            exact_duplicates=judgement.exact,
            near_duplicates=judgement.near,
            documents_unique=sum(sum(counts.values()) for counts in kept),
            pairs_compared=judgement.pairs,
        )
        ctx.log(**from_sources("documents", kept))

    def _given(self) -> tuple[Documents, ...]:
        return self.documents if isinstance(self.documents, tuple) else (self.documents,)

    def _sign(self, item: list[Any], folder: Path) -> int:
        from stages.text.duplicates import sign

        number, path = item
        return sign(
            path, folder / f"sign-{number:05d}", ngram=self.ngram, permutations=self.bands * self.rows, seed=self.seed
        )

    def _keep(self, item: list[Any], folder: Path) -> dict[str, int]:
        """Write what stays of a shard; return how many documents of each source that is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from stages.kinds import DOCUMENT_COLUMNS, write_shard
        from stages.text.origins import by_source

        number, path, dropped = item
        table = pq.read_table(path, columns=list(DOCUMENT_COLUMNS))
        stays = [str(row) not in dropped for row in range(table.num_rows)]
        unique = table.filter(pa.array(stays, pa.bool_()))
        write_shard(folder / f"part-{number:05d}.parquet", unique)
        ids = table["id"].to_pylist()
        schema = pa.schema(
            [("id", pa.string()), ("kept_id", pa.string()), ("how", pa.string()), ("similarity", pa.float64())]
        )
        rows = [
            {"id": ids[int(row)], **dict(zip(("kept_id", "how", "similarity"), why, strict=True))}
            for row, why in dropped.items()
        ]
        write_shard(folder / "dropped" / f"part-{number:05d}.parquet", pa.Table.from_pylist(rows, schema=schema))
        return by_source(unique["source"].to_pylist())
