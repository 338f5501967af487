"""Lineage: every hop from manifests alone, with what it holds of each source; what is missing is named, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Artifact, Context, Dag, Field, Stage, UsageError, impact
from pipeline.catalogue import find_artifact
from pipeline.errors import StoreError
from pipeline.impact import Impact
from pipeline.lineage import Amount, Hop, above, below, final, held, sources
from pipeline.lineage_lines import taken
from pipeline.manifest import Manifest, Registration, SourceRecord
from pipeline.registered import find, register
from pipeline.store import Store, place_of
from tests.pipeline.test_ledger import execute
from tests.pipeline.toys import Say, Upper, Words


class Model(Artifact):
    """A thing that was trained."""

    __slots__ = ()


class Read(Stage[Words]):
    """Reads so many documents of a source from outside."""

    name: str = Field(description="the source")
    documents: int = Field(default=1, description="how many it has")
    measure: str = Field(default="documents", description="what is counted; nothing where empty")

    def sources(self) -> dict[str, SourceRecord]:
        return {self.name: SourceRecord(at=f"raw/{self.name}", licence="MIT", revision="1")}

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "read.txt").write_text(f"{self.name} " * self.documents)
        ctx.log(**({f"from.{self.name}.{self.measure}": self.documents} if self.measure else {}))


class Rename(Stage[Words]):
    """Gives what it reads a source of its own."""

    words: Words
    name: str = Field(default="mixed", description="the source")

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "renamed.txt").write_text(" ".join(self.words.read()))
        ctx.log(**{f"from.{self.name}.documents": len(self.words.read())})


class Pack(Stage[Words]):
    """Knows the tokens of two sources."""

    words: tuple[Words, ...]
    tokens: dict[str, int] = Field(description="of each source")

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "packed.txt").write_text(" ".join(word for part in self.words for word in part.read()))
        ctx.log(**{f"from.{name}.tokens": count for name, count in self.tokens.items()})
        ctx.log(**{f"from.{name}.documents": count / 10 for name, count in self.tokens.items()})


class Learn(Stage[Model]):
    """Trains on words, with more words beside them; counts nothing itself."""

    words: Words
    beside: Words | None = None
    base: Model | None = None

    def run(self, out: Model, ctx: Context) -> None:
        (out.path / "model.txt").write_text(" ".join(self.words.read()))


def learnt() -> Dag:
    """Two sources, one of them under a name of its own, packed, learnt, and tuned on a third."""
    tales = Read(name="tales", documents=2, label="tales")
    talk = Rename(words=Read(name="talk", documents=6, label="talk").out)
    packed = Pack(words=(tales.out, talk.out), tokens={"tales": 40, "mixed": 60})
    base = Learn(words=packed.out, beside=tales.out, label="base")
    asked = Read(name="asked", documents=8, measure="chats", label="asked")
    return Dag(Learn(words=asked.out, base=base.out, label="tuned"), Upper(words=packed.out))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the dag was run once."""
    root = tmp_path_factory.mktemp("store")
    execute(root, learnt(), "mine")
    return root


def made(root: Path, label: str) -> Manifest:
    return find_artifact(Store(str(root)), label)


def labelled(hops: dict[str, Hop]) -> dict[str, Hop]:
    return {hop.label: hop for hop in hops.values()}


def crown(store: Store, one: Manifest, version: str, when: float = 1.0) -> None:
    about = {"stage": one.stage, "key": one.key, "attempt": one.attempt, "when": when}
    register(store, Registration(name="mine.py-mine", version=version, alias="champion", **about))


def test_every_hop_comes_after_what_it_was_made_from(root: Path) -> None:
    hops = above(Store(str(root)), made(root, "tuned"))
    assert [hop.label for hop in hops.values()] == ["asked", "tales", "talk", "rename", "pack", "base", "tuned"]
    for place, hop in hops.items():
        assert all(list(hops).index(one) < list(hops).index(place) for one in hop.above)
    tuned = hops[place_of(made(root, "tuned"))]
    assert {field: hops[place].label for field, place in tuned.inputs.items()} == {"words": "asked", "base": "base"}


def test_a_model_holds_what_its_tokens_hold_and_a_tuned_one_its_chats_besides(root: Path) -> None:
    hops = labelled(above(Store(str(root)), made(root, "tuned")))
    assert hops["base"].amounts == {
        "mixed": Amount(documents=6, tokens=60, share=0.6),
        "tales": Amount(documents=4, tokens=40, share=0.4),
    }, "of tales the tokens count, not the documents that came beside them"
    assert hops["tuned"].amounts == {**hops["base"].amounts, "asked": Amount(chats=8, share=1.0)}


def test_a_source_that_was_given_another_name_is_still_found(root: Path) -> None:
    hops = labelled(above(Store(str(root)), made(root, "base")))
    assert hops["base"].origins == {"mixed": ("talk",), "tales": ("tales",)}
    assert list(held(hops["base"], {"talk"})) == ["mixed"]
    assert sources(above(Store(str(root)), made(root, "base")))["talk"] == SourceRecord(
        at="raw/talk", licence="MIT", revision="1"
    )


def test_two_sources_of_one_name_are_both_told(tmp_path: Path) -> None:
    first = Read(name="local", label="first")
    execute(tmp_path, Dag(Pack(words=(first.out, Say().out), tokens={"local": 1})))
    (place, hop), *rest = above(Store(str(tmp_path)), made(tmp_path, "pack")).items()
    assert hop.manifest
    other = SourceRecord(at="elsewhere", licence="MIT")
    twin = Hop(**{**vars(hop), "manifest": hop.manifest.model_copy(update={"sources": {"local": other}})})
    merged = sources({place: hop, "twin": twin, **dict(rest)})
    assert merged == {"local": SourceRecord(at="raw/local, elsewhere", licence="MIT", revision="1")}


def test_inputs_of_one_field_add_up_and_a_source_that_nobody_counted_is_there_without_a_figure(tmp_path: Path) -> None:
    one, two = (Read(name="tales", documents=number, label=f"read{number}") for number in (2, 3))
    packed = Pack(words=(one.out, two.out, Read(name="odd", measure="", label="odd").out), tokens={})
    execute(tmp_path, Dag(Learn(words=packed.out)))
    hop = labelled(above(Store(str(tmp_path)), made(tmp_path, "learn")))["learn"]
    assert hop.amounts == {"tales": Amount(documents=5, share=1.0), "odd": Amount()}


class Choose(Stage[Words]):
    """Pairs of answers that a model gave to what a source asks."""

    model: Model
    words: Words

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "pairs.txt").write_text("yes no")
        ctx.log(**{"from.asked.pairs": 5})


class Prefer(Stage[Model]):
    """Trains on some of the pairs, or on all where `pairs` is 0."""

    model: Model
    preferences: Words
    pairs: int = 0

    def run(self, out: Model, ctx: Context) -> None:
        (out.path / "model.txt").write_text("yes")
        ctx.log(**({"from.asked.pairs": self.pairs} if self.pairs else {}))


def test_pairs_count_for_the_source_of_their_question_and_stand_beside_what_the_model_was_made_of(
    tmp_path: Path,
) -> None:
    packed = Pack(words=(Read(name="tales", label="tales").out,), tokens={"tales": 40})
    asked = Read(name="asked", documents=8, measure="chats", label="asked")
    tuned = Learn(words=asked.out, base=Learn(words=packed.out, label="base").out, label="tuned")
    chosen = Choose(model=tuned.out, words=asked.out)
    part, every = (Prefer(model=tuned.out, preferences=chosen.out, pairs=some, label=f"of{some}") for some in (3, 0))
    execute(tmp_path, Dag(Learn(words=Say().out, base=part.out, label="small"), every))
    store = Store(str(tmp_path))
    small, whole = labelled(above(store, made(tmp_path, "small"))), labelled(above(store, made(tmp_path, "of0")))
    tales = Amount(documents=4, tokens=40, share=1.0)
    assert small["choose"].amounts == {"tales": tales, "asked": Amount(pairs=5, share=1.0)}, "a pair is no conversation"
    preferred = {"tales": tales, "asked": Amount(chats=8, pairs=3, share=1.0)}
    assert small["of3"].amounts == small["small"].amounts == preferred, "held-out pairs do not count"
    assert whole["of0"].amounts["asked"].pairs == 5
    assert taken(small["small"].amounts["asked"]) == "8 chats and 3 pairs"


def test_below_is_everything_that_was_made_from_it(root: Path) -> None:
    store = Store(str(root))
    assert list(labelled(below(store, made(root, "talk")))) == ["talk", "rename", "pack", "base", "tuned", "upper"]
    assert labelled(below(store, made(root, "asked")))["tuned"].amounts["mixed"].tokens == 60, "with all that it holds"


def test_a_run_ends_with_what_nothing_else_of_it_was_made_from(tmp_path: Path) -> None:
    run = execute(tmp_path, learnt(), "mine")
    assert [one.label for one in final(Store(str(tmp_path)), run)] == ["tuned", "upper"]


def test_an_ancestor_without_a_manifest_is_a_named_gap(tmp_path: Path) -> None:
    execute(tmp_path, learnt(), "mine")
    store, model = Store(str(tmp_path)), made(tmp_path, "base")
    (tmp_path / place_of(made(tmp_path, "talk")) / "manifest.json").unlink()
    (tmp_path / place_of(made(tmp_path, "tales")) / "manifest.json").write_text('{"schema_version": 99}')
    hops = labelled(above(store, model))
    assert (hops["talk"].gap, hops["talk"].manifest) == ("its manifest is missing", None)
    assert "schema" in hops["tales"].gap or "read" in hops["tales"].gap
    assert hops["base"].amounts["tales"].tokens == 40, "what was counted below it is still known"
    assert list(labelled(below(store, made(tmp_path, "rename")))) == ["rename", "pack", "base", "tuned", "upper"]


def test_a_manifest_from_before_sources_is_readable(root: Path) -> None:
    old = made(root, "tales").model_dump(exclude={"sources"})
    assert Manifest.model_validate(old).sources == {}


def test_a_model_is_found_by_name_alias_and_version(tmp_path: Path) -> None:
    for limit in (1, 2, 3):
        execute(tmp_path, Dag(Upper(words=Say().out, limit=limit)))
        if limit < 3:
            crown(Store(str(tmp_path)), made(tmp_path, "upper"), str(limit), when=limit)
    store = Store(str(tmp_path))

    def limit_of(name: str) -> int:
        return int(find_artifact(store, name).settings["limit"])

    assert limit_of("upper") == 3
    assert [limit_of(f"mine.py-mine{alias}") for alias in ("", "@champion", "@previous", "@1")] == [2, 2, 1, 1]
    assert limit_of("mine.py:mine") == 2, "a dag's own name does as well"
    crown(store, find_artifact(store, "mine.py-mine@1"), "1", when=9)
    assert [limit_of(f"mine.py-mine{alias}") for alias in ("", "@previous", "@2")] == [1, 2, 2], (
        "an old one, crowned again"
    )
    with pytest.raises(UsageError, match="has no version 'best'.*\n.*@1, @2, @champion, @previous"):
        find(store, "mine.py-mine@best")
    assert find(store, "nothing") is None


def impact_of(root: Path, *names: str) -> Impact:
    return impact.find(Store(str(root)), names)


def test_dropping_a_source_names_what_goes_and_what_is_rebuilt_models_first(root: Path) -> None:
    found = impact_of(root, "talk")
    fates = {one.hop.label: one.fate for one in found.touched}
    assert list(fates)[:2] == ["base", "tuned"]
    assert fates == {
        "base": "rebuilt",
        "tuned": "rebuilt",
        "talk": "goes",
        "rename": "goes",
        "pack": "rebuilt",
        "upper": "rebuilt",
    }
    base = found.touched[0]
    assert base.amount == Amount(documents=6, tokens=60, share=0.6) and base.dags == ("mine",)
    seconds = [one.seconds for one in found.touched if one.fate == "rebuilt"]
    total, money, unknown = found.rebuilding()
    assert total == pytest.approx(sum(second or 0 for second in seconds)) and (money, unknown) == (None, 0)
    assert [one.hop.place for one in impact_of(root, "raw/talk").touched] == [one.hop.place for one in found.touched]


def test_only_what_is_in_force_counts_and_an_old_version_is_named_without_a_price(tmp_path: Path) -> None:
    for count in (1, 2):
        read = (Read(name=name, documents=count, label=name).out for name in ("tales", "more"))
        execute(tmp_path, Dag(Learn(words=Pack(words=tuple(read), tokens={"tales": 1, "more": 1}).out)))
        if count == 1:
            crown(Store(str(tmp_path)), made(tmp_path, "learn"), "1")
    found = impact_of(tmp_path, "tales")
    learnt = [one for one in found.touched if one.hop.label == "learn"]
    assert sorted((one.fate, one.versions, one.dags) for one in learnt) == [
        ("old", ("mine.py-mine@1 champion",), ()),
        ("rebuilt", (), ("line",)),
    ]
    assert [one.hop.label for one in found.touched].count("tales") == 1, "the older one is in no run that counts"


def test_a_source_that_nothing_holds_is_one_error_that_names_those_known(root: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a source 'tal'\n.*the sources are: asked, mixed, tales, talk"):
        impact_of(root, "tal")


def test_a_store_whose_registrations_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    execute(tmp_path, Dag(Say()))
    (tmp_path / ".registered").mkdir()
    (tmp_path / ".registered" / "mine-1.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        find(Store(str(tmp_path)), "mine")
