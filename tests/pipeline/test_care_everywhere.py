"""Care for a store of any history, and in an object store: what is kept is whole, what is not needed is gone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Dag, care
from pipeline.catalogue import everything, find, find_artifact
from pipeline.executor import Inline
from pipeline.keeping import pin
from pipeline.manifest import Manifest
from pipeline.run import run
from pipeline.store import Store, place_of
from tests.pipeline.objects import files, renewed
from tests.pipeline.test_care import LATER, data, register, swept
from tests.pipeline.test_ledger import execute
from tests.pipeline.toys import Fails, Join, Say, Upper, line


def build(root: Path) -> list[Manifest]:
    """A store with a few dags that share what is above them."""
    for words, limit in (("one two", 3), ("one two", 2), ("three", 2)):
        execute(root, line(words=words, limit=limit))
    one, three = Say(words=("one", "two"), label="one"), Say(words=("three",), label="three")
    execute(root, Dag(Upper(words=Join(parts=(one.out, three.out)).out)))
    return everything(Store(str(root))).manifests


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Manifest]]:
    root = tmp_path_factory.mktemp("whole") / "store"
    return root, build(root)


@settings(max_examples=25)
@given(draw=st.data())
def test_after_any_gc_all_that_is_kept_has_its_ancestors_and_is_sound(
    whole: tuple[Path, list[Manifest]], draw: st.DataObject
) -> None:
    template, manifests = whole
    keep = draw.draw(st.lists(st.sampled_from(manifests), unique_by=place_of), label="pinned")
    crowned = draw.draw(st.lists(st.sampled_from(manifests), max_size=1), label="registered")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(template, Path(folder) / "store"))
        store = Store(str(root))
        for manifest in keep:
            pin(store, manifest, "")
        for manifest in crowned:
            register(root, manifest)
        swept(root)
        needed = care.needed(manifests, map(place_of, [*keep, *crowned]))
        assert {place_of(one) for one in manifests if data(root, one).exists()} == needed
        above = {f"{one.stage}/{one.key}/{one.attempt}" for m in (*keep, *crowned) for one in m.inputs.values()}
        assert above <= needed
        read, complaints = care.chosen(store, [])
        assert {place_of(one) for one in read} == needed and not complaints
        assert [wrong for one in read for wrong in care.verify(store, one)] == []


@pytest.mark.parametrize("there", [True, False], ids=["copied here", "on another machine"])
def test_on_s3_bytes_are_read_and_removed_in_the_store_itself(s3_url: str, tmp_path: Path, there: bool) -> None:
    store = Store(s3_url)
    name = run(Dag(Upper(words=Say().out)), store, name="line", dials={}, executor=Inline).run
    if not there:
        shutil.rmtree(tmp_path / "cache")
    assert find(store, name[:15]) == name
    say, upper = find_artifact(store, "say"), find_artifact(store, "upper")
    assert [care.verify(store, one) for one in (say, upper)] == [[], []]
    store.files.replace(f"{place_of(upper)}/data/upper.txt", b"A B c")
    store.files.remove(f"{place_of(say)}/data/001.txt")
    store.files.replace(f"{place_of(say)}/data/stray", b"")
    wrong = [(one.file, one.what) for one in [*care.verify(store, say), *care.verify(store, upper)]]
    assert wrong == [("data/001.txt", "missing"), ("data/stray", "extra"), ("data/upper.txt", "corrupt")]
    pin(store, say, "")
    care.sweep(store, care.survey(store, 30, now=LATER))
    assert files(s3_url).below(place_of(upper)) == ["dropped.json", "manifest.json"]
    assert (
        files(s3_url).exists(f"{place_of(say)}/data/000.txt") and not (store.local / place_of(upper) / "data").exists()
    )
    assert care.survey(store, 30, now=LATER).empty


def test_on_s3_scratch_of_long_ago_goes_unless_somebody_renews_its_lease(s3_url: str) -> None:
    store = Store(s3_url)
    run(Dag(Fails(words=Say().out)), store, name="line", dials={}, executor=Inline)
    (scratch,) = {name.rpartition("/spent/")[0] for name in files(s3_url).below(".partial") if "/spent/" in name}
    assert care.survey(store, 30).partials == {}
    with renewed(store.files, f".partial/{scratch.rpartition('/')[0]}/lease"):  # type: ignore[arg-type]
        assert care.survey(store, 30, now=LATER).partials == {}
    assert list(care.survey(store, 30, now=LATER).partials) == [scratch]
    care.sweep(store, care.survey(store, 30, now=LATER))
    assert files(s3_url).below(".partial") == [] and not (store.local / ".partial" / scratch).exists()
    assert "fails" not in {manifest.label for manifest in everything(store).manifests}
