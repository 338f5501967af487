"""The key: what never changes it, what always does, and what cannot enter it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Artifact, Field, KeyFault, Resources, Settings, Stage
from pipeline.canonical import KEY_LENGTH, canonical, key, key_of, settings
from tests.pipeline.toys import Say


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Pair:
    left: int
    right: Any = None


class Group(Settings):
    rate: float = 0.5
    place: str = "here"


class Counted(Settings):
    counts: int = 1
    ignored: int = 1

    def identity(self) -> dict[str, object]:
        return {"counts": self.counts}


class Made(Stage[Artifact]):
    value: Any = Field(default=None, description="anything")
    source: Artifact | None = Field(default=None, description="an input")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
)
NAMES = st.text(max_size=4).filter(lambda name: not name.startswith("$"))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
NAMED = st.dictionaries(NAMES, VALUES, max_size=5)


@given(NAMED, st.randoms(use_true_random=False))
def test_the_order_of_a_dict_or_set_never_changes_a_key(value: dict[str, Any], order: Any) -> None:
    names = list(value)
    order.shuffle(names)
    assert key(Made(value={name: value[name] for name in names}), {}) == key(Made(value=value), {})
    assert canonical("x", set(names)) == canonical("x", frozenset(value))


@given(st.integers(-(10**300), 10**300).map(float).map(int))
def test_a_whole_number_has_one_form(number: int) -> None:
    assert key(Made(value=number), {}) == key(Made(value=float(number)), {})


def test_a_path_from_the_root_has_one_form() -> None:
    assert canonical("x", PurePosixPath("//a/b")) == canonical("x", PurePosixPath("/a/./b/")) == "/a/b"


@pytest.mark.parametrize("spelling", ["a/b", "a//b", "./a/b", "a/./b", "a/c/../b"])
def test_a_path_has_one_form(spelling: str) -> None:
    assert canonical("x", Path(spelling)) == canonical("x", PurePosixPath("a/b"))


@given(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.floats(0, 100), st.integers(0, 8), NAMED)
def test_label_and_resources_never_change_a_key(label: str, cpus: float, gpus: int, value: dict[str, Any]) -> None:
    plain = Made(value=value)
    assert key(Made(value=value, label=label, resources=Resources(cpus=cpus, gpus=gpus)), {}) == key(plain, {})


def told_apart(one: Any, two: Any) -> bool:
    """Whether two values differ in more than the spelling of a number."""
    if (
        isinstance(one, bool)
        or isinstance(two, bool)
        or not isinstance(one, (int, float))
        or not isinstance(two, (int, float))
    ):
        if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
            return any(map(told_apart, one, two))
        if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
            return any(told_apart(one[name], two[name]) for name in one)
        return type(one) is not type(two) or one != two
    return one != two


@given(VALUES, VALUES)
def test_any_other_setting_always_changes_the_key(one: Any, two: Any) -> None:
    assert (key(Made(value=one), {}) != key(Made(value=two), {})) == told_apart(one, two)


@given(
    st.dictionaries(st.text(max_size=4), st.text("0123456789abcdef", min_size=4, max_size=4), min_size=1, max_size=4),
    st.data(),
)
def test_any_other_input_digest_always_changes_the_key(inputs: dict[str, str], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(sorted(inputs)))
    other = {**inputs, place: inputs[place] + "0"}
    assert key(Made(), inputs) != key(Made(), other)
    assert key(Made(), dict(reversed(inputs.items()))) == key(Made(), inputs)
    assert key_of("made", {}, inputs) != key_of("maid", {}, inputs)


def test_a_key_is_short_hex_and_made_of_the_settings() -> None:
    made = key(Made(value=1), {})
    assert len(made) == KEY_LENGTH and int(made, 16) >= 0
    assert settings(Made(value=(1, 2))) == {"value": [1, 2], "source": None}


def test_an_input_stands_as_its_kind_whatever_its_path(tmp_path: Path) -> None:
    assert key(Made(source=Artifact(tmp_path)), {"source": "d"}) == key(Made(source=Made().out), {"source": "d"})
    assert canonical("x", Artifact(tmp_path)) == {"$input": "Artifact"}


def test_groups_enums_dataclasses_dates_and_bytes_have_a_form() -> None:
    assert canonical("x", Group()) == {"$": "Group", "place": "here", "rate": 0.5}
    assert canonical("x", Counted(ignored=2)) == canonical("x", Counted()) == {"$": "Counted", "counts": 1}
    assert canonical("x", Pair(1, Color.RED)) == {"$": "Pair", "left": 1, "right": "red"}
    assert canonical("x", datetime.date(2026, 1, 2)) == "2026-01-02"
    assert canonical("x", b"\x01") == {"$bytes": "01"}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "made.value is nan"),
        (float("inf"), "made.value is inf"),
        ({"a": [1, float("nan")]}, "made.value.a.1 is nan"),
        ({1: 2}, "made.value has the key 1"),
        (object(), "made.value is a builtins.object"),
        ([[].append], "made.value.0 is None:list.append, which cannot be imported"),
        (Pair(1, object()), "made.value.right is a builtins.object"),
        (lambda: 1, "made.value is tests.pipeline.test_canonical:<lambda>, which cannot be imported"),
        (Color.RED.__format__, "made.value is a builtins.method"),
        (partial(Pair, 1), "made.value has arguments without names"),
        (partial(Color.RED.__format__, format_spec=""), "made.value is a partial of <bound method"),
        (partial(Pair, left=object()), "made.value.left is a builtins.object"),
        (list[int], "made.value is a types.GenericAlias"),
        (Pair(1, Artifact("x")), "made.value.right is an input (Artifact('x')) inside a set or a group"),
        ({"a": frozenset({Artifact("x")})}, "made.value.a is an input (Artifact('x')) inside a set or a group"),
        (Say(), "made.value is the stage 'say', not what it makes"),
        pytest.param(10**4500, "made.value is a number of more than 4,000 digits", id="long number"),
        ({"a": "\ud800"}, "made.value.a holds half a surrogate pair"),
    ],
)
def test_what_has_no_stable_form_is_refused_by_its_place(value: object, place: str) -> None:
    with pytest.raises(KeyFault) as fault:
        key(Made(value=value), {})
    assert fault.value.message.startswith(place)
    assert fault.value.mend


def test_names_that_begin_with_a_dollar_are_refused() -> None:
    with pytest.raises(KeyFault, match=r"names that begin with \$ are kept"):
        canonical("stage.setting", {"$input": "Documents"})
