"""The page of a graph: complete in itself, and safe whatever the names in it are."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.lineage_html import document
from pipeline.lineage_nodes import Detail, flat
from pipeline.lineage_svg import Node

HOSTILE = "</script><!--<script>alert('x')</script>{{data}}\u2028"


def embedded(page: str) -> dict[str, Any]:
    """The data that the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_whatever_stands_in_it_comes_back_as_data_and_ends_no_script() -> None:
    detail = Detail(HOSTILE, inputs=[("documents", HOSTILE)], settings=[("rule", HOSTILE)], sources=[[HOSTILE, "12"]])
    plain = document("t", [Node("n", "n")], [], {"n": Detail("n")})
    page = document(HOSTILE, [Node(HOSTILE, HOSTILE)], [], {HOSTILE: detail}, targets=[HOSTILE])
    assert page.count("<script") == plain.count("<script") and page.count("</script") == plain.count("</script")
    [(name, told)] = embedded(page).items()
    assert name.rstrip() == HOSTILE.rstrip() and told["settings"][0][1].rstrip() == HOSTILE.rstrip()


def test_it_fetches_nothing() -> None:
    page = document("t", [Node("a", "a"), Node("b", "b")], [("a", "b")], {"a": Detail("a"), "b": Detail("b")})
    assert not re.search(r"(?:src|href)=|@import|url\((?!#)|http", page)


def test_links_lead_below_the_server_or_where_mlflow_usually_is() -> None:
    details = {"a": Detail("a", link="#/experiments/1/runs/2")}
    assert '"http://127.0.0.1:5000/"' in document("t", [Node("a", "a")], [], details)
    page = document("t", [Node("a", "a")], [], details, server="https://mlflow.example/team")
    assert '"https://mlflow.example/team/"' in page and embedded(page)["a"]["link"] == "#/experiments/1/runs/2"


def test_settings_are_told_flat_and_without_inputs() -> None:
    settings = {
        "documents": {"$input": "documents"},
        "rules": {"$": "Rules", "shortest": 50},
        "names": ["a"],
        "none": {},
    }
    assert dict(flat(settings)) == {"rules": "Rules", "rules.shortest": "50", "names": '["a"]', "none": "{}"}
