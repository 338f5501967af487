"""The picture of a dag: every edge leads down, boxes keep apart, and no text can break out of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations

from pipeline.lineage_layout import layout
from pipeline.lineage_svg import COLOURS, Node, drawing

CHAIN = ["pages", "tales", "dedup", "tokenizer", "tokens", "base", "facts", "sft", "small", "evaluate"]
EDGES = [
    ("pages", "dedup"), ("tales", "dedup"), ("dedup", "tokenizer"), ("dedup", "tokens"), ("tokenizer", "tokens"),
    ("tokens", "base"), ("tokenizer", "base"), ("base", "sft"), ("facts", "sft"), ("sft", "small"), ("tokens", "small"),
    ("small", "evaluate"), ("facts", "evaluate"),
]  # fmt: skip


def test_every_edge_leads_down_and_no_two_boxes_share_a_place() -> None:
    drawn = layout(CHAIN, EDGES)
    assert set(drawn.places) == set(CHAIN) and set(drawn.bends) == set(EDGES)
    assert all(drawn.places[start][1] < drawn.places[end][1] for start, end in EDGES)
    for (one, level), (other, same) in combinations(drawn.places.values(), 2):
        assert level != same or abs(one - other) >= 1
    assert min(column for column, _ in drawn.places.values()) >= 0


def test_a_long_edge_bends_once_on_every_layer_that_it_passes() -> None:
    drawn = layout(CHAIN, EDGES)
    passed = drawn.places["small"][1] - drawn.places["tokens"][1] - 1
    assert [level for _, level in drawn.bends["tokens", "small"]] == [
        drawn.places["tokens"][1] + 1 + step for step in range(passed)
    ]


def test_a_source_stands_just_above_the_first_that_reads_it() -> None:
    places = layout(CHAIN, EDGES).places
    assert places["facts"][1] == places["sft"][1] - 1


def test_two_chains_side_by_side_are_drawn_without_crossing() -> None:
    places = layout(["a", "b", "b2", "a2", "end"], [("a", "a2"), ("b", "b2"), ("a2", "end"), ("b2", "end")]).places
    assert (places["a"][0] < places["b"][0]) == (places["a2"][0] < places["b2"][0])


def test_a_circle_an_unknown_name_and_nothing_at_all_are_drawn_all_the_same() -> None:
    assert set(layout(["a", "b"], [("a", "b"), ("b", "a"), ("a", "a"), ("a", "gone")]).places) == {"a", "b"}
    assert ElementTree.fromstring(drawing([], [])).tag.endswith("svg")


def test_a_box_holds_label_state_and_figures_in_its_states_colour() -> None:
    picture = drawing([Node("x", "dedup", "failed", "1.5 min", "documents 12"), Node("y", "next", "run")], [("x", "y")])
    tree = ElementTree.fromstring(picture)
    group = next(each for each in tree.iter() if each.get("data-name") == "x")
    assert "".join(group.itertext()).count("failed · 1.5 min") == 2, "the title, and the line"
    assert any(each.get("fill") == COLOURS["failed"][0] for each in group)
    assert [each.get("data-to") for each in tree.iter() if each.get("class") == "edge"] == ["y"]


def test_text_stays_text_and_what_a_box_cannot_hold_is_in_its_title() -> None:
    hostile = '<script>alert("x")</script>' + "long" * 10
    tree = ElementTree.fromstring(drawing([Node(hostile, hostile, hostile, hostile, hostile)], [(hostile, hostile)]))
    assert not [each for each in tree.iter() if each.tag.endswith("script")]
    assert any(hostile in (each.text or "") for each in tree.iter() if each.tag.endswith("title"))


def test_the_same_dag_gives_the_same_picture() -> None:
    nodes = [Node(name, name) for name in CHAIN]
    assert drawing(nodes, EDGES) == drawing(nodes, list(EDGES))


def test_a_figure_is_never_cut_off_for_a_long_name() -> None:
    picture = drawing([Node("x", "dpo", metric="preference_accuracy_of_heldout 0.8611")], [])
    assert ">preference_accur… 0.8611<" in picture
