"""Classes and functions as settings: named by path and settings, with the version of their package, or counted as code."""

from __future__ import annotations

import datetime
import subprocess
import sys
from fractions import Fraction
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import pytest
import yaml

from pipeline import Context, Dag, DagError, Field, KeyFault, Stage
from pipeline.canonical import key, settings
from pipeline.code import code_of, explain_drift
from pipeline.executor import Inline
from pipeline.job import Job
from pipeline.plan import plan
from pipeline.run import run
from pipeline.store import Store
from pipeline.wire import opened, sent
from tests.pipeline.projects import Write
from tests.pipeline.toys import Join, Say, Words


class Applies(Stage[Words]):
    """Writes what a function that its settings name returns."""

    function: Any = Field(description="a class or function, or functools.partial of one")

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "made.txt").write_text(repr(self.function()))


class Dated(Stage[Words]):
    """Holds a date in a field of any type."""

    when: Any = Field(description="anything")


LINE = partial(numpy.linspace, start=0, stop=1, num=3)


def test_a_class_is_named_by_its_path_and_a_partial_by_its_settings_too() -> None:
    assert settings(Applies(function=Fraction)) == {"function": {"$class": "fractions:Fraction"}}
    told = settings(Applies(function=LINE))["function"]
    assert told == {"$class": "numpy:linspace", "settings": {"start": 0, "stop": 1, "num": 3}}
    assert key(Applies(function=partial(numpy.linspace, num=3.0, stop=1, start=0)), {}) == key(
        Applies(function=LINE), {}
    )
    others = [Fraction, partial(Fraction), numpy.linspace, partial(numpy.linspace, start=0, stop=1, num=4), LINE]
    assert len({key(Applies(function=one), {}) for one in others}) == len(others)


def test_the_version_of_its_package_is_recorded() -> None:
    found = {name.lower(): at for name, at in code_of(Applies(function=yaml.SafeLoader)).packages.items()}
    assert found["pyyaml"] == metadata.version("PyYAML")
    assert code_of(Applies(function=(1, {"a": LINE}))).packages == code_of(Applies(function=LINE)).packages
    assert code_of(Applies(function=Fraction)).digest == code_of(Applies(function=LINE)).digest
    assert code_of(Applies(function=Fraction)).packages.keys() == code_of(Applies(function=1)).packages.keys()


def test_the_promise_of_a_stage_is_no_part_of_its_code() -> None:
    stage = Applies(function=1)
    before = code_of(stage)
    assert stage.out and code_of(stage) == before and stage.out.kind() == "Words"


def test_it_runs_is_cached_and_a_changed_setting_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    outcome = run(Dag(Applies(function=LINE)), store, name="x", dials={}, executor=Inline)
    assert (outcome.data("applies") / "made.txt").read_text() == repr(numpy.linspace(0, 1, 3))
    assert outcome.manifests["applies"].code.packages["numpy"] == numpy.__version__
    assert plan(Dag(Applies(function=LINE)), store).complete

    def reason(function: Any) -> str:
        return plan(Dag(Applies(function=function)), store).entries["applies"].reason

    assert reason(partial(numpy.linspace, start=0, stop=1, num=4)) == "function.settings.num 3 → 4"
    assert reason(partial(numpy.arange, start=0, stop=1, num=3)) == "function numpy:linspace → numpy:arange"


def test_a_worker_of_its_own_finds_it_by_name(tmp_path: Path, project: Write) -> None:
    mine = "def double(word): return word * 2\n"
    project("mine", mine=mine + "class Mine: pass\n")
    import mine as own  # type: ignore[import-not-found]

    stage = Applies(function=partial(own.double, word="ab"))
    job = Job.of(stage, [], run="r", store=str(tmp_path / "store"))
    code = (
        "import sys; from pipeline.job import Job; Job.model_validate_json(sys.argv[1]).execute([], executor='inline')"
    )
    subprocess.run([sys.executable, "-c", code, job.model_dump_json()], cwd=tmp_path, check=True)
    (made,) = Store(str(tmp_path / "store")).of_stage("applies")
    assert (tmp_path / "store" / "applies" / made.key / made.attempt / "data" / "made.txt").read_text() == "'abab'"
    assert made.key == key(stage, {}) and made.code.digest == job.code


OWN = (
    "from pipeline import Artifact, Settings, Stage\n"
    "class Rule(Settings):\n    limit: int = 1\n    def holds(self): return True\n"
    "class Mine(Stage[Artifact]):\n    rule: Rule | object = Rule()\n    source: Artifact | None = None\n"
)
SPECIAL = "from mine import Rule\nfrom pipeline import Artifact\nfrom deep import help\n"
SPECIALS = {
    "a group of a class of its own": "class Special(Rule):\n    def holds(self): return {number}, help\n",
    "a class": "class Special:\n    def holds(self): return {number}, help\n",
    "a function": "def Special(): return {number}, help\n",
    "a partial": "def Special(word): return {number}, help\n",
    "a kind of input": "class Special(Artifact):\n    def read(self): return {number}, help\n",
}


@pytest.mark.parametrize("what", SPECIALS)
def test_what_a_setting_brings_of_ones_own_counts_as_code(what: str, project: Write) -> None:
    def drawn(number: int, deep: str = "def help(): pass\n") -> Stage[Any]:
        special = SPECIAL + SPECIALS[what].format(number=number) + "def spare(): return 0\n"
        stage = project("mine", mine=OWN, special=special + f"# {number}\n", deep=deep)
        from special import Special  # type: ignore[import-not-found]

        if what == "a kind of input":
            return stage(source=Special("x"))  # type: ignore[no-any-return]
        given = {"a class": Special, "a function": Special, "a partial": partial(Special, word="a")}
        return stage(rule=given.get(what) or Special())  # type: ignore[no-any-return]

    before = code_of(drawn(1))
    assert {"mine.py:Mine", "special.py:Special", "deep.py:help"} <= set(before.definitions)
    assert "special.py:spare" not in before.definitions
    assert explain_drift(before, code_of(drawn(2))) == "special.py:Special changed"
    assert explain_drift(before, code_of(drawn(1, deep="def help(): return 1\n"))) == "deep.py:help changed"
    assert key(drawn(1), {"source": "d"}) == key(drawn(2), {"source": "d"})


def test_a_value_that_would_arrive_as_another_is_refused() -> None:
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    with pytest.raises(
        KeyFault, match=r"dated.when would reach a worker as another value .*\n.*give the field when of Dated"
    ):
        sent(Dated(when=when))
    for value in (b"\xff", (1, [2.5]), {"a": {"b": None}}, Fraction, LINE, True, 10**200):
        back = Dated(**opened(sent(Dated(when=value)), {}))
        assert key(back, {}) == key(Dated(when=value), {})


@pytest.mark.parametrize("name", ["$class", "$partial", "$made", "$bytes", "$artifact"])
def test_data_that_looks_like_code_never_travels(name: str) -> None:
    for value in ({name: "os:system"}, [{name: "os:system", "with": {}}]):
        with pytest.raises(KeyFault, match=r"dated.when.* names that begin with \$ are kept"):
            sent(Dated(when=value))


class Table(Stage[Words]):
    """Takes inputs by name."""

    parts: dict[str, Any]


def test_two_inputs_never_share_a_place() -> None:
    one, two = Say(label="one").out, Say(label="two").out
    with pytest.raises(DagError, match="table has two inputs at parts.a.b"):
        Dag(Table(parts={"a.b": one, "a": {"b": two}}))
    with pytest.raises(DagError, match="table.parts.a/b names an input"):
        Dag(Table(parts={"a/b": one}))
    assert len(Dag(Join(parts=(one, two))).stages) == 3
