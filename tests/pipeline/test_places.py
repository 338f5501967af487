"""Where each stage runs: what is said of it alone goes before its resources, and those before the place of the whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Dag, DagError, Resources, UsageError
from pipeline.accounts import plan_lines
from pipeline.canonical import key_of, settings
from pipeline.executor import Executor, Inline
from pipeline.places import Places, Put, placed, put
from pipeline.request import Request
from pipeline.run import run
from pipeline.selection import select
from pipeline.store import Store
from stages.collect import Collect
from stages.kinds import Model
from stages.serve import Serve
from stages.sources import Source
from tests.executors.far import Far, installed
from tests.pipeline.toys import Say, Upper


class Reads(Say):
    """Says words as if it read them from a file of this machine."""

    def stays(self) -> str:
        return "it reads files of this machine"


def made(place: str) -> Executor:
    kind, _, _ = place.partition("://")
    return {"far": Far, "inline": Inline}[kind]()


PLACES = Places(made)


def chain(**resources: Resources) -> Dag:
    """say → upper → last."""
    say = Reads(label="say", **_given(resources, "say"))
    upper = Upper(words=say.out, **_given(resources, "upper"))
    return Dag(Upper(words=upper.out, label="last", **_given(resources, "last")))


def _given(resources: dict[str, Resources], label: str) -> dict[str, Resources]:
    return {"resources": resources[label]} if label in resources else {}


def test_what_is_said_of_a_stage_goes_before_its_resources_and_those_before_the_whole_run() -> None:
    dag = chain(upper=Resources(on="far"), last=Resources(on="far"))
    found = put(dag, PLACES, "inline", ["last=ray"])
    assert {label: one.place for label, one in found.items()} == {"say": "inline", "upper": "far", "last": "ray"}
    assert [one.away for one in found.values()] == [False, True, False]
    assert placed(dag, found).stages["last"].resources.on == "ray" and dag.stages["last"].resources.on == "far"


def test_of_a_run_elsewhere_what_reads_this_machine_stays_here_and_says_why() -> None:
    found = put(chain(), PLACES, "far")
    assert found == {
        "say": Put("ray", stays="it reads files of this machine"), "upper": Put("far", True), "last": Put("far", True),
    }  # fmt: skip
    assert put(chain(), PLACES, "far", ["say=far"])["say"] == Put("far", True), "who names it means it"
    assert put(chain(), PLACES, "inline")["say"] == Put("inline"), "here anyway"


def test_the_stages_know_what_belongs_to_this_machine() -> None:
    assert Collect(source="pages").stays() == "it reads files of this machine"
    assert Collect(source=Source(at="pypi:some-package==1.0/data.txt")).stays() == ""
    assert Serve(model=Model(producer=Say())).stays() == "the machine that will serve it is the one to ask"


def test_a_place_is_no_part_of_what_a_stage_is(tmp_path: Path) -> None:
    dag = chain()
    elsewhere = placed(dag, put(dag, PLACES, "far"))
    for label, stage in elsewhere.stages.items():
        other = dag.stages[label]
        assert stage.resources != other.resources and settings(stage) == settings(other)
        assert key_of(label, settings(stage), {}) == key_of(label, settings(other), {})
    run(dag, Store(str(tmp_path)), name="toys", dials={}, executor=Inline)
    assert select(dag, Store(str(tmp_path)), Request(on="far"), PLACES)[1].complete, "made here, it is there for all"


@pytest.mark.parametrize(
    ("on", "chosen", "message"),
    [
        ("far", ["lsat=far"], "no stage is labelled 'lsat'; did you mean 'last'?"),
        ("far", ["last"], "--place 'last' is not LABEL=PLACE\n.*the labels are: say, upper, last"),
        ("far", ["=far"], "is not LABEL=PLACE"),
        ("far", ["last=far", "last=inline"], "last is put to both far and inline"),
        ("far", ["last=far://"], "'far://' is no place"),
        ("no such thing", [], "'no such thing' is no place"),
    ],
)
def test_a_place_that_is_none_is_one_clear_error(on: str, chosen: list[str], message: str) -> None:
    with pytest.raises((UsageError, DagError), match=message) as raised:
        put(chain(), PLACES, on, chosen)
    assert raised.value.exit_code == 2


def test_this_process_has_no_address() -> None:
    with pytest.raises(UsageError, match="inline is this process, and has no address: 'inline://x'"):
        Inline(address="inline://x")


def test_a_part_of_a_dag_may_be_placed_by_a_label_that_is_not_in_it(tmp_path: Path) -> None:
    _, planned = select(chain(), Store(str(tmp_path)), Request(until="upper", place=("last=far",)), PLACES)
    assert list(planned.entries) == ["say", "upper"]


def test_the_plan_shows_places_where_there_are_several_and_why_one_stays(tmp_path: Path) -> None:
    _, planned = select(chain(), Store(str(tmp_path)), Request(on="far"), PLACES)
    head, first, second, *_ = plan_lines(planned, colour=False)
    assert head.split() == ["stage", "state", "place", "last", "expected", "why"]
    assert first.split()[:3] == ["say", "run", "ray"] and second.split()[:3] == ["upper", "run", "far"]
    assert first.endswith("never built; stays here: it reads files of this machine")
    rows = planned.as_json()["stages"]
    assert [(row["place"], row["stays"]) for row in rows[:2]] == [
        ("ray", "it reads files of this machine"),
        ("far", ""),
    ]
    _, planned = select(chain(), Store(str(tmp_path)), Request(on="inline"), PLACES)
    assert "place" not in plan_lines(planned, colour=False)[0]


DAG = """
from pipeline import Dag, Resources
from tests.pipeline.test_places import chain

def near() -> Dag:
    return chain(upper=Resources(on="far"))

def wrong() -> Dag:
    return chain(upper=Resources(gpu="Z80", on="far"))
"""


def corpusmill(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (home / "own.py").write_text(DAG)
    if not (home / "far-1.0.dist-info").exists():
        installed(home)
    path = os.pathsep.join([str(home), os.environ["PYTHONPATH"]])
    env = {**os.environ, "CORPUSMILL_STORE": str(home / "store"), "PYTHONPATH": path}
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_an_executor_refuses_what_it_cannot_have_when_it_is_planned(tmp_path: Path) -> None:
    refused = corpusmill(tmp_path, "plan", f"{tmp_path}/own.py:wrong")
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("error: stage 'upper' asks for a Z80, of which there are none far away\n  → ")
    moved = corpusmill(tmp_path, "plan", f"{tmp_path}/own.py:wrong", "--place", "upper=ray", "--json")
    assert moved.returncode == 0 and [row["place"] for row in json.loads(moved.stdout)["stages"]] == ["ray"] * 3


def test_the_command_line_places_a_run_and_its_stages(tmp_path: Path) -> None:
    done = corpusmill(
        tmp_path, "run", f"{tmp_path}/own.py:near", "--on", "inline", "--place", "last=far://x", "--tracker", "none"
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines()[1:4]] == ["inline", "far", "far://x"]
    records = {path.parts[-4]: json.loads(path.read_text()) for path in tmp_path.glob("store/*/*/*/manifest.json")}
    assert records["reads"]["executor"] == "inline" and records["upper"]["executor"] == "far"


def test_a_store_of_this_machine_is_refused_to_who_does_not_carry_it(tmp_path: Path) -> None:
    refused = corpusmill(tmp_path, "plan", f"{tmp_path}/own.py:near", "--place", "last=ray://nowhere:1")
    assert (
        refused.returncode == 2
        and "is a folder of this machine, and the executor 'ray' works on others" in refused.stderr
    )
