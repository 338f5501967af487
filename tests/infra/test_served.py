"""MODEL on the command line: a folder, a label, a stage, a dag's name, or nothing for the newest service."""

import re
import shutil
from pathlib import Path

import pytest

from infra.served import find
from pipeline import Context, Dag, Field, Stage
from pipeline.errors import UsageError
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from stages.kinds import Model, Service
from stages.serve import Question, Serve
from tests.tiny_llama import trained


class Given(Stage[Model]):
    """A model that another test has made."""

    name: str = Field(default="model.gguf", description="the file to take")

    def run(self, out: Model, ctx: Context) -> None:
        shutil.copyfile(trained()[1] / self.name, out.path / self.name)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("store"))
    dag = Dag(Serve(model=Given(label="small").out, questions=(Question(text="What is the capital of Peru?"),)))
    outcome = run(dag, Store(root), name="tiny", dials={}, executor=Inline)
    assert outcome.ok
    return root


@pytest.mark.parametrize("name", ["", "tiny", "Serve", "serve", "SERVE"])
def test_the_newest_service_is_found_by_nothing_dag_label_and_stage(store: str, name: str) -> None:
    folder = find(name, store)
    assert (folder / "smoke.json").is_file() and Service(folder).path == folder


def test_only_where_none_was_named_the_one_that_was_taken_is_told(store: str) -> None:
    told: list[str] = []
    find("tiny", store, told.append)
    assert told == []
    find("", store, told.append)
    [run] = (path.name for path in (Path(store) / ".runs").iterdir())
    assert re.fullmatch(rf"the newest service: serve, made 20..-..-.. ..:.. by tiny in run {run}", told[0])


def test_a_model_is_found_by_its_label(store: str) -> None:
    assert sorted(path.name for path in find("small", store).iterdir()) == ["README.md", "model.gguf"]


def test_an_attempt_and_its_data_are_both_paths(store: str) -> None:
    data = find("tiny", store)
    assert find(str(data), "nowhere") == find(str(data.parent), "nowhere") == data.resolve()


def test_an_unknown_name_is_answered_with_the_nearest(store: str) -> None:
    with pytest.raises(UsageError, match=r"no model in .* is called 'smal'; did you mean 'small'\?"):
        find("smal", store)


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no model that can be served"):
        find("", str(tmp_path))
    with pytest.raises(UsageError, match="there is no store at"):
        find("", str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
