"""The commands `lineage` and `impact`: readable in a pipe, stable for machines, one error for a mistake, nothing heavy imported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import Dag
from pipeline.lineage import above
from pipeline.lineage_html import page
from pipeline.lineage_lines import as_json, made_of, mermaid
from pipeline.store import Store, place_of
from tests.pipeline.test_cli import corpusmill, heavy_imports
from tests.pipeline.test_ledger import execute, told
from tests.pipeline.test_lineage import Read, crown, learnt, made
from tests.pipeline.toys import Say


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which the dag was run once, its tuned model the champion."""
    home = tmp_path_factory.mktemp("home")
    execute(home / "store", learnt(), "mine")
    crown(Store(str(home / "store")), made(home / "store", "tuned"), "1")
    return home


def test_lineage_tells_sources_with_figures_shares_and_licences_then_every_hop(home: Path) -> None:
    shown = told(home, "lineage", "mine.py-mine@champion")
    assert re.search(r"mixed +6 +60 +– +60\.0 % +MIT +of talk", shown), shown
    assert re.search(r"^ +talk +MIT +1 +raw/talk$", shown, re.MULTILINE), "what it began as, with its own licence"
    assert re.search(r"asked +– +– +8 +100\.0 % +MIT +1 +raw/asked", shown)
    assert re.search(
        r"^pack · Words · [0-9a-f]{12}  ← tales, rename\n    mixed +60\.0 %  60 tokens\n", shown, re.MULTILINE
    )
    assert max(map(len, shown.splitlines())) <= 100 and "\x1b" not in shown


def test_down_tells_what_was_made_from_it_and_how_much_of_it_is_in_there(home: Path) -> None:
    shown = told(home, "lineage", "talk", "--down")
    assert "5 artifacts made from it" in shown and "asked" not in shown.partition("made from it")[2].replace(
        "← asked", ""
    )
    assert re.search(r"^tuned · Model · \w+  ← base\n    mixed +60\.0 %  60 tokens$", shown, re.MULTILINE), shown


def test_a_run_is_told_by_all_that_it_ended_with(home: Path) -> None:
    (run,) = (line.split()[0] for line in told(home, "runs").splitlines()[1:])
    found = json.loads(told(home, "lineage", run, "--json"))
    assert [place.partition("/")[0] for place in found["targets"]] == ["learn", "upper"]
    page, drawn = told(home, "lineage", run, "--html"), told(home, "lineage", run, "--mermaid")
    ends = re.search(r"const ends = (\[.*?\])", page)
    assert ends and json.loads(ends[1]) == found["targets"], "each is a button at the top"
    assert all(f'data-name="{place}"' in page for place in found["targets"])
    marked = re.search(r"class (a\d+),(a\d+) target", drawn)
    assert marked and all(re.search(rf'{one}\["(tuned|upper)<br/>', drawn) for one in marked.groups())


def test_json_has_stable_fields(home: Path) -> None:
    found = json.loads(told(home, "lineage", "base", "--json"))
    assert set(found) == {"direction", "targets", "hops", "sources"} and found["direction"] == "up"
    assert set(found["hops"][0]) == {"place", "label", "kind", "digest", "above", "inputs", "amounts", "gap"}
    amount = {"documents": 6, "tokens": 60, "chats": None, "pairs": None, "share": 0.6, "origins": ["talk"]}
    assert found["hops"][-1]["amounts"]["mixed"] == amount
    assert found["sources"]["talk"] == {"at": "raw/talk", "licence": "MIT", "revision": "1"}


def test_the_flowchart_runs_from_the_sources_and_escapes_what_it_shows(tmp_path: Path, home: Path) -> None:
    lines = told(home, "lineage", "base", "--mermaid").splitlines()
    assert lines[0] == "flowchart LR" and '    s0(["tales<br/>MIT"])' in lines
    ids = {re.match(r" +(\w+)[(\[]", line)[1] for line in lines if "<br/>" in line}  # type: ignore[index]
    arrows = [line.split() for line in lines if "-->" in line]
    assert {end for arrow in arrows for end in (arrow[0], arrow[2])} == ids
    odd = 'a "b" <c> `d` #1 [e];\n%%'
    execute(tmp_path, Dag(Read(name=odd)))
    drawn = mermaid(above(Store(str(tmp_path)), made(tmp_path, "read"))).splitlines()
    assert (
        len(drawn) == 4
        and drawn[1].count('"') == 2
        and not set("<>`[];#") & set(re.sub(r"<br/>|#\d+;", "", drawn[1])[8:-3])
    )


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    execute(tmp_path, Dag(Read(name="<script>alert(1)</script>")))
    one = made(tmp_path, "read")
    text = page("a <title>", above(Store(str(tmp_path)), one), [place_of(one)])
    assert "\\u003cscript>alert(1)" in text and "<script>alert" not in text and "a &lt;title&gt;" in text
    assert "http" not in text


def test_what_nobody_counted_is_said_to_be_unknown(tmp_path: Path) -> None:
    execute(tmp_path, Dag(Say()))
    hops = above(Store(str(tmp_path)), made(tmp_path, "say"))
    assert "nothing is on record of its sources" in "\n".join(made_of(hops, list(hops), False))
    assert as_json(hops, list(hops), False)["sources"] == {}


def test_impact_tells_models_first_and_what_rebuilding_takes(home: Path) -> None:
    shown = told(home, "impact", "--drop", "source=talk")
    rows = shown.splitlines()
    assert rows[0] == "talk · MIT · raw/talk" and rows[2].split()[:3] == ["artifact", "kind", "digest"]
    assert re.match(r"base +Model +[0-9a-f]{12} +6 +60 +– +60\.0 % +\d", rows[3]), shown
    assert "mine.py-mine@1 champion, mine" in rows[4] and "goes" in shown
    assert re.search(r"6 artifacts hold it, 2 of them models; 4 would be rebuilt: about .* dollars unknown", rows[-1])
    found = json.loads(told(home, "impact", "--drop", "source=talk", "--drop", "source=asked", "--json"))
    assert set(found) == {"dropped", "touched", "rebuild"} and list(found["dropped"]) == ["asked", "talk"]
    assert found["rebuild"]["dollars"] is None and found["rebuild"]["seconds"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lineage", "nothing-here"], "nothing in .* is called 'nothing-here'"),
        (["lineage", "mine.py-mine@7"], "mine.py-mine has no version '7'"),
        (["lineage", "base", "--json", "--html"], "printed in one form"),
        (["impact", "--drop", "source=tallk"], "did you mean 'talk'"),
        (["impact", "--drop", "licence=MIT"], "'licence=MIT' is nothing that can be dropped"),
    ],
)
def test_a_mistake_is_one_error_with_what_mends_it(home: Path, words: list[str], said: str) -> None:
    done = corpusmill(home, *words)
    assert done.returncode == 2 and done.stdout == "" and re.search(said, done.stderr), done.stderr
    assert "  → " in done.stderr and "Traceback" not in done.stderr


def test_neither_command_imports_anything_heavy(home: Path) -> None:
    assert heavy_imports(home, "lineage", "mine.py-mine") == []
    assert heavy_imports(home, "impact", "--drop", "source=talk") == []
