"""Counts by source: summed over shards, largest first, and bounded."""

from stages.text.origins import MOST, OTHERS, by_source, from_sources


def test_shards_add_up_and_the_largest_comes_first() -> None:
    shards = [by_source(["a", "b", None]), by_source(["b"])]
    assert shards[0] == {"": 1, "a": 1, "b": 1}
    assert list(from_sources("documents", shards).items()) == [
        ("from.b.documents", 2),
        ("from..documents", 1),
        ("from.a.documents", 1),
    ]


def test_a_column_of_addresses_fills_no_record() -> None:
    found = from_sources("documents", [by_source(f"site-{number}" for number in range(MOST + 50))])
    assert len(found) == MOST + 1 and found[f"from.{OTHERS}.documents"] == 50
