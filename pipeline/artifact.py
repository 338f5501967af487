"""An artifact: a typed, immutable directory. As the field of a stage it is a promise before the run, a local path in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pipeline.errors import DagError

if TYPE_CHECKING:
    from pipeline.stage import Stage

MODEL = "Model"
"""The kind of artifact that is registered, that has a card, and that MLflow is told of as a model too."""


class Artifact:
    """A typed directory made by one stage; subclasses name a kind and add the methods that read and write it.

    ``Documents(path)`` opens a directory; ``stage.out`` promises one. Two promises are equal when the same
    stage object makes them, two opened ones when they name the same path.
    """

    __slots__ = ("_path", "producer")

    rendered: ClassVar[tuple[str, ...]] = ()
    """Files at the top of the directory that are written from the records (`rendering`) once it is made, and may be written
    again: they are never content. What a stage writes under such a name is dropped, and none reads one."""

    def __init__(self, path: Path | str | None = None, *, producer: Stage[Any] | None = None) -> None:
        self._path: Path | Callable[[], Path] | None = None if path is None else Path(path)
        self.producer = producer

    @classmethod
    def later(cls, opened: Callable[[], Path]) -> Self:
        """An artifact that comes to this machine when its path is first asked for: `opened` brings it, and says where it is."""
        made = cls()
        made._path = opened
        return made

    @classmethod
    def kind(cls) -> str:
        """The name of this kind, as manifests and messages write it."""
        return cls.__name__

    @property
    def path(self) -> Path:
        """The local directory. Raises DagError while the artifact is only promised."""
        if self._path is None:
            maker = self.producer.label if self.producer is not None else "nobody"
            raise DagError(
                f"this {self.kind()} is a promise of stage {maker!r} and has no path yet",
                mend="read it inside run(), where inputs are local paths",
            )
        if not isinstance(self._path, Path):
            self._path = self._path()
        return self._path

    @property
    def promised(self) -> bool:
        """Whether a stage has yet to make it."""
        return self._path is None

    def at(self, path: Path | str) -> Self:
        """The same kind of artifact, opened at `path`."""
        return type(self)(path)

    def _identity(self) -> object:
        return id(self.producer) if self.promised else self.path

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Artifact) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((type(self), self._identity()))

    def __repr__(self) -> str:
        if self._path is not None:
            return f"{self.kind()}({str(self._path)!r})"
        return f"{self.producer.label if self.producer else '?'}.out"
