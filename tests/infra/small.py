"""A small dag that ends in a model, run inline and told to a real MLflow; and a database of MLflow's that is made once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.mlflow_home import connect, home
from infra.mlflow_tracker import MlflowTracker
from pipeline import Artifact, Context, Dag, Field, Stage
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.replay import recorded, tell, whole
from pipeline.run import run
from pipeline.store import Store
from pipeline.tracker import Tracker
from tests.pipeline.toys import Fails, Say, Upper, Words

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


class Model(Artifact):
    """What MLflow is told of as a model."""

    __slots__ = ()


class Learn(Stage[Model]):
    """A model of words: how many there are, with the loss on the way."""

    words: Words
    bug: bool = Field(default=False, description="fail before the end")
    die: str = Field(default="", description="file; where it is not there yet, kill this process and make it")

    def run(self, out: Model, ctx: Context) -> None:
        for step in range(3):
            ctx.log(step=step, loss=3.0 - step)
        if self.bug:
            raise ValueError("the loss is nan")
        if self.die and not Path(self.die).exists():
            Path(self.die).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (out.path / "weights").write_text(f"{len(self.words.read())} {' '.join(self.words.read())}")


class Tune(Stage[Model]):
    """A tuned model."""

    model: Model
    rate: int = Field(default=1, description="how much")

    def run(self, out: Model, ctx: Context) -> None:
        (out.path / "weights").write_text((self.model.path / "weights").read_text() + f" tuned {self.rate}")
        ctx.log(accuracy=self.rate / 10)


def drawn(*, rate: int = 1, limit: int = 3, bug: bool = False, die: str = "") -> Dag:
    """Words to a tuned model; with `bug` one branch fails."""
    upper = Upper(words=Say(words=("one", "two")).out, limit=limit)
    tuned = Tune(model=Learn(words=upper.out, bug=bug, die=die).out, rate=rate)
    return Dag(tuned, Fails(words=upper.out)) if bug else Dag(tuned)


class Small:
    """A store with its MLflow, which can be emptied: the next database is a copy of `blank`."""

    def __init__(self, root: Path, blank: Path, setenv: Callable[[str, str], None]) -> None:
        self.root, self.blank, self.setenv = root, blank, setenv
        self.store, self.databases = Store(str(root)), 0
        self.empty()

    def empty(self) -> None:
        """Go on with an MLflow that holds nothing."""
        self.databases += 1
        database = self.root / ".mlflow" / f"{self.databases}.db"
        database.parent.mkdir(exist_ok=True)
        shutil.copy(self.blank, database)
        self.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")

    @property
    def client(self) -> MlflowClient:
        return connect(home(str(self.root)))

    def run(self, *, trackers: Sequence[Tracker] | None = None, **dials: Any) -> Outcome:
        """Run the dag, told to MLflow unless `trackers` says to whom."""
        told = [MlflowTracker(self.store.url)] if trackers is None else trackers
        return run(drawn(**dials), self.store, name="small", dials=dials, executor=Inline, trackers=lambda: told)

    def killed(self, die: Path, **dials: Any) -> None:
        """A run in a process of its own, untold, that dies while it learns."""
        child = os.fork()
        if child == 0:
            try:
                self.run(trackers=[], die=str(die), **dials)
            finally:  # else it would go on with the tests
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL

    def track(self, *runs: str) -> None:
        """What `corpusmill track RUN…` does; without one, `--all`."""
        calls = [partial(recorded, self.store, name) for name in runs] or [call for _, call in whole(self.store)]
        for call in calls:
            tell(self.store, call(), MlflowTracker(self.store.url))

    def versions(self) -> dict[str, str]:
        """Number and attempt of every version of the model."""
        found = self.client.search_model_versions("name = 'small'")
        return {str(one.version): one.tags["corpusmill.attempt"] for one in found}

    def aliases(self) -> dict[str, str]:
        """The model's aliases."""
        return {name: str(version) for name, version in self.client.get_registered_model("small").aliases.items()}


def make_blank(folder: Path) -> Path:
    """The file of a database of MLflow's without a record; to make one takes MLflow seconds."""
    client = connect(home(str(folder)))
    client.search_experiments()
    client.search_registered_models()
    database = folder / ".mlflow" / "mlflow.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return database
