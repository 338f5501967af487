"""Identity of real and of generated stages: how, where and by whom they are drawn is no matter; every setting and input is."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st

from dags.quickstart import quickstart
from pipeline import Artifact, Field, Resources, Settings, Stage
from pipeline.canonical import key, settings
from pipeline.code import code_of
from pipeline.digest import FileRecord, of_bytes, of_files
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.run import run
from pipeline.store import Store
from pipeline.wire import opened, sent
from tests.pipeline.toys import line

ROOT = Path(__file__).resolve().parents[2]


class Inner(Settings):
    rate: float = 0.5
    names: frozenset[str] = frozenset()
    weights: dict[str, float] = Field(default={}, description="by name")


class Outer(Settings):
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    place: Path = Path("a/b")


class Wide(Stage[Artifact]):
    """Every shape that a setting can have."""

    number: int = Field(default=1, description="whole")
    rate: float = Field(default=1.0, description="real")
    flag: bool = Field(default=False, description="yes or no")
    text: str | None = Field(default=None, description="text or nothing")
    mode: Literal["a", "b"] = Field(default="a", description="one of two")
    raw: bytes = Field(default=b"", description="bytes")
    place: Path = Field(default=Path("x"), description="a path")
    order: tuple[int, ...] = Field(default=(), description="in order")
    names: frozenset[str] = Field(default=frozenset(), description="in no order")
    table: dict[str, tuple[float, ...]] = Field(default={}, description="by name")
    group: Outer = Field(default=Outer(), description="a group in a group")
    anything: Any = Field(default=None, description="of any type")
    source: Artifact | None = Field(default=None, description="an input")


NAMES = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
REALS = st.floats(allow_nan=False, allow_infinity=False)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path(*parts))
INNERS = st.builds(
    Inner, rate=REALS, names=st.frozensets(NAMES, max_size=3), weights=st.dictionaries(NAMES, REALS, max_size=3)
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | REALS | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
WIDE = st.fixed_dictionaries(
    {},
    optional={
        "number": st.integers(),
        "rate": REALS,
        "flag": st.booleans(),
        "text": st.none() | st.text(st.characters(codec="utf-8"), max_size=4),
        "mode": st.sampled_from(["a", "b"]),
        "raw": st.binary(max_size=4),
        "place": PATHS,
        "order": st.lists(st.integers(), max_size=4).map(tuple),
        "names": st.frozensets(NAMES, max_size=4),
        "table": st.dictionaries(NAMES, st.lists(REALS, max_size=2).map(tuple), max_size=3),
        "group": st.builds(Outer, inner=INNERS, several=st.lists(INNERS, max_size=2).map(tuple), place=PATHS),
        "anything": ANYTHING,
        "source": st.just(Wide().out),
    },
)


def respelt(value: Any, rng: random.Random) -> Any:
    """The same value in another spelling: order of names, form of numbers and paths."""
    if isinstance(value, Settings):
        given = {name: respelt(getattr(value, name), rng) for name in shuffled(type(value).model_fields, rng)}
        return type(value)(**given)
    if isinstance(value, dict):
        return {name: respelt(value[name], rng) for name in shuffled(value, rng)}
    if isinstance(value, frozenset):
        return frozenset(shuffled(value, rng))
    if isinstance(value, (list, tuple)):
        return type(value)(respelt(item, rng) for item in value)
    if isinstance(value, Path):
        return Path(rng.choice(["{}", "./{}", "{}/", "q/../{}", "{}/."]).format(value))
    if isinstance(value, float) and value.is_integer():
        return rng.choice([value, -0.0 if value == 0 else value, int(value)])
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return rng.choice([value, float(value)])
    return value


def shuffled(values: Any, rng: random.Random) -> list[Any]:
    listed = sorted(values)
    rng.shuffle(listed)
    return listed


@cache
def real() -> list[Stage[Any]]:
    return list(quickstart().stages.values())


DIGESTS = {"source": "d"}


@given(WIDE, st.integers(0, 2**32), st.floats(0, 64), st.integers(1, 8), NAMES)
def test_how_settings_are_written_never_changes_a_key(
    given: dict[str, Any], seed: int, cpus: float, gpus: int, label: str
) -> None:
    rng = random.Random(seed)
    again = {name: respelt(given[name], rng) for name in shuffled(given, rng)}
    other = Wide(**again, label=label, resources=Resources(cpus=cpus, gpus=gpus, gpu="H100", on="modal"))
    assert key(other, DIGESTS) == key(Wide(**given), DIGESTS)
    assert key(Wide(rate="1e0"), {}) == key(Wide(rate=1), {}) == key(Wide(), {})


@given(WIDE)
def test_a_stage_has_the_same_key_where_a_worker_opens_it(given: dict[str, Any]) -> None:
    stage = Wide(**given).with_inputs(lambda place, artifact: artifact.at(place))
    there = Wide(**opened(json.loads(json.dumps(sent(stage))), stage.inputs()))
    assert key(there, DIGESTS) == key(stage, DIGESTS)
    assert json.loads(json.dumps(settings(stage))) == settings(stage)


@pytest.mark.parametrize("stage", real(), ids=lambda stage: stage.label)
def test_a_real_stage_has_the_same_key_however_it_is_written(stage: Stage[Any]) -> None:
    rng = random.Random(7)
    given = {name: respelt(getattr(stage, name), rng) for name in shuffled(type(stage).model_fields, rng)}
    given |= {"label": "other", "resources": Resources(cpus=3, minutes=9, retries=0, dollars_per_hour=2)}
    assert key(type(stage)(**given), {}) == key(stage, {})


@pytest.mark.parametrize("stage", real(), ids=lambda stage: stage.label)
def test_a_real_stage_has_the_same_key_and_code_where_a_worker_opens_it(stage: Stage[Any]) -> None:
    opened_here = stage.with_inputs(lambda place, artifact: artifact.at(place))
    there = type(stage)(**opened(json.loads(json.dumps(sent(opened_here))), opened_here.inputs()))
    assert key(there, {}) == key(stage, {}) and there.resources == stage.resources
    assert code_of(there) == code_of(stage)


def places(value: Any) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    """Every leaf of a setting, with a function that gives the whole setting with another leaf in its place."""
    if isinstance(value, Settings) and not hasattr(value, "identity"):  # which says itself what counts of it
        for name in type(value).model_fields:
            for put, leaf in places(getattr(value, name)):
                yield (lambda new, n=name, p=put: value.model_copy(update={n: p(new)})), leaf
    elif isinstance(value, dict):
        for name in value:
            for put, leaf in places(value[name]):
                yield (lambda new, n=name, p=put: {**value, n: p(new)}), leaf
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            for put, leaf in places(item):
                yield (lambda new, a=at, p=put: (*value[:a], p(new), *value[a + 1 :])), leaf
    elif isinstance(value, frozenset):
        yield (lambda new: value | {repr(new)}), "a name"
    else:
        yield (lambda new: new), value


def others(leaf: Any) -> list[Any]:
    """Values that are not what the leaf is."""
    known: list[Any] = [
        None,
        True,
        False,
        0,
        1,
        "",
        "1",
        "0",
        "True",
        "None",
        0.5,
        (),
        {},
        (None,),
        {"a": None},
        b"",
        b"1",
    ]
    near: list[Any] = [leaf + 1, -leaf - 1] if isinstance(leaf, (int, float)) else []
    near += [leaf + " ", leaf.swapcase() + "x"] if isinstance(leaf, str) else []
    numbers = (int, float) if type(leaf) in (int, float) else ()
    return [one for one in [*known, *near] if one != leaf or type(one) not in (type(leaf), *numbers)]


def assert_each_leaf_counts(stage: Stage[Any]) -> None:
    before = key(stage, DIGESTS)
    for name in type(stage).model_fields:
        for put, leaf in places(getattr(stage, name)) if name not in ("label", "resources") else ():
            for new in () if isinstance(leaf, Artifact) else others(leaf):
                changed = stage.model_copy(update={name: put(new)})
                assert key(changed, DIGESTS) != before, f"{name}: {leaf!r} → {new!r}"


@pytest.mark.parametrize("stage", real(), ids=lambda stage: stage.label)
def test_every_setting_of_a_real_stage_counts_down_to_the_leaf(stage: Stage[Any]) -> None:
    assert_each_leaf_counts(stage)


@limited(max_examples=25)
@given(WIDE)
def test_every_setting_of_a_generated_stage_counts_down_to_the_leaf(given: dict[str, Any]) -> None:
    assert_each_leaf_counts(Wide(**given))


@given(st.lists(st.integers(), min_size=2, max_size=5, unique=True), st.integers(0, 99))
def test_the_order_of_a_tuple_counts(order: list[int], seed: int) -> None:
    other = order[1:] + order[:1]
    assert key(Wide(order=tuple(order)), {}) != key(Wide(order=tuple(other)), {})


def test_a_setting_that_is_left_out_is_its_default_and_nothing_else() -> None:
    plain = key(Wide(), {})
    assert key(Wide(number=1, rate=1, text=None, group=Outer(inner=Inner(rate=0.5))), {}) == plain
    texts = [key(Wide(text=text), {}) for text in (None, "", "None", "null", "0")]
    loose = [
        key(Wide(anything=one), {})
        for one in (None, False, 0, "", (), {}, {"a": None}, {"a": {}}, True, 1, "1", "True", 0.5)
    ]
    assert len(set(texts)) == len(texts) and len(set(loose)) == len(loose)


FILES = st.dictionaries(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?", fullmatch=True), st.binary(max_size=4), max_size=3)


@given(FILES, FILES)
def test_what_an_input_holds_counts_and_nothing_else_of_it(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    def keyed(held: dict[str, bytes]) -> str:
        records = {name: FileRecord(size=len(data), sha256=of_bytes(data)) for name, data in reversed(held.items())}
        return key(Wide(source=Wide().out), {"source": of_files(records)})

    assert (keyed(one) == keyed(two)) == (one == two)


def built(root: Path, words: str, cpus: float = 1) -> dict[str, Manifest]:
    dag = line(words=words)
    for stage in dag.stages.values():
        stage.__dict__["resources"] = Resources(cpus=cpus)
    return run(dag, Store(str(root)), name="line", dials={}, executor=Inline).manifests


def test_store_resources_and_run_leave_keys_and_bytes_and_another_input_changes_them(tmp_path: Path) -> None:
    here, there = built(tmp_path / "here", "one two"), built(tmp_path / "deep" / "er", "one two", cpus=8)
    assert [(one.key, one.digest) for one in here.values()] == [(one.key, one.digest) for one in there.values()]
    other = built(tmp_path / "here", "one too")
    assert other["upper"].key != here["upper"].key and other["upper"].settings == here["upper"].settings


TELL = (
    "import json; from dags.quickstart import quickstart; from pipeline.canonical import key; from pipeline.code import code_of;"
    "from tests.pipeline.test_identity import Outer, Inner, Wide;"
    "stages = [*quickstart().stages.values(), Wide(names={*map(str, range(50))}, group=Outer(inner=Inner(names={*'abcdefgh'})))];"
    "print(json.dumps([(key(stage, {}), code_of(stage).digest) for stage in stages]))"
)


def test_machine_user_and_folder_never_change_a_key_nor_what_code_is(tmp_path: Path) -> None:
    told = set()
    for number, folder in enumerate((ROOT, tmp_path, Path("/"))):
        own = {"PYTHONHASHSEED": str(number), "TZ": f"UTC+{number}", "HOME": str(tmp_path), "LC_ALL": "C" * number}
        own |= {"XDG_CACHE_HOME": str(tmp_path / str(number)), "COLUMNS": str(40 + number), "USER": f"user{number}"}
        own |= {"CORPUSMILL_STORE": str(folder), "OMP_NUM_THREADS": str(number + 1), "PYTHONPATH": str(ROOT)}
        paths = {"PATH": os.environ["PATH"]} if number else dict(os.environ)
        done = subprocess.run(
            [sys.executable, "-c", TELL], cwd=folder, env={**paths, **own}, capture_output=True, text=True, check=True
        )
        told.add(done.stdout)
    assert len(told) == 1
