"""A stage: a frozen, typed description that makes one artifact. Its fields are its inputs and settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.artifact import Artifact
from pipeline.errors import DagError
from pipeline.resources import Resources

if TYPE_CHECKING:
    from pipeline.context import Context
    from pipeline.manifest import SourceRecord

__all__ = ["Field", "Settings", "Stage"]

A = TypeVar("A", bound=Artifact, covariant=True)

NOT_IDENTITY = ("label", "resources")
"""Fields of every stage that say how it is shown and where it runs, and never enter its key."""

UTILIZATION = 0.4
"""Share of a GPU's peak that work is expected to reach, of which a stage says no more; large dense models reach 33 to 46 percent."""

DEEPEST = 64
"""How deep lists and dicts may be nested in a setting."""


class Settings(BaseModel):
    """A frozen group of settings inside a stage. Define `identity()` where not every field counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(BaseModel, Generic[A]):
    """Describes how one artifact is made; subclass as ``class Dedup(Stage[Documents])`` and write `run`.

    Constructing a stage checks its settings and runs nothing. `label` and `resources` are not identity.
    Raises DagError for a misspelt or mistyped setting and for an artifact of the wrong kind.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        ignored_types=(cached_property,),
        validate_default=True,
    )

    makes: ClassVar[type[Artifact]] = Artifact
    shows: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that stand on the line a person sees when the stage ends."""
    extends: ClassVar[str] = ""
    """The setting, a number, along which an attempt can go on from the state that a shorter one kept (`Context.keep`)."""

    label: str = Field(
        default="", description="name in the dag; the class name unless two of a kind need telling apart"
    )
    resources: Resources = Field(default=Resources(), description="what it needs of a machine; never identity")

    def __init__(self, **settings: Any) -> None:
        settings["label"] = settings.get("label") or type(self).stage_name()
        try:
            super().__init__(**settings)
        except ValidationError as fault:
            from pipeline.messages import explain

            raise DagError(*explain(type(self), settings, fault)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if cls.extends and cls.extends not in cls.model_fields:
            raise DagError(f"{cls.__name__} extends along {cls.extends!r}, which is none of its settings")
        for base in cls.__mro__:
            arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
            if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], Artifact):
                cls.makes = arguments[0]
                return

    @classmethod
    def stage_name(cls) -> str:
        """The stage's name in keys and in the store: the class name in kebab case (``TrainTokenizer`` → ``train-tokenizer``)."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__).lower()

    @cached_property
    def out(self) -> A:
        """The promise of what this stage makes."""
        return cast(A, self.makes(producer=self))

    def run(self, out: A, ctx: Context) -> None:  # type: ignore[misc]  # out is written by run alone, never read back as a wider kind
        """Fill `out.path`, an existing local directory, asking nothing of the world but `ctx`."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    def flops(self) -> float | None:
        """Floating-point operations of `run`, as far as settings tell before anything is built; None where they do not.

        The plan expects time in proportion to it, and to the bytes of the inputs where it is None.
        """
        return None

    def gpu_seconds(self, peak: float) -> float | None:
        """Seconds of `run` where no run on such GPUs tells; `peak` is what they can do together, in bfloat16 operations a second."""
        work = self.flops()
        return None if work is None else work / (peak * UTILIZATION)

    def gpu_memory(self) -> float | None:
        """Bytes that `run` holds at most on one GPU, as far as settings tell before anything is built; None where they do not."""
        return None

    def stays(self) -> str:
        """Why it is left on this machine when the whole run goes to others: what it reads or shows is here. Empty: it goes.

        Said as an end to "it stays here:"; whoever puts just this stage elsewhere (`Resources.on`, --place) is not held back.
        """
        return ""

    def sources(self) -> dict[str, SourceRecord]:
        """What `run` reads from outside the store, by the name that its documents carry in their column `source`.

        It enters the manifest, and is asked for before `run`. The lineage begins here: what no stage names, nobody finds again.
        """
        return {}

    def continues_until(self) -> float:
        """How far along `extends` the work is the same for every larger value, so that a state kept by then can be gone on from.

        By default all the way: how much is asked for changes nothing of what comes first. Asked for before inputs are there.
        """
        return float(getattr(self, self.extends)) if self.extends else 0.0

    def inputs(self) -> dict[str, Artifact]:
        """Every input by its place in the stage: ``documents``, or ``documents.0`` inside a tuple."""
        found: dict[str, Artifact] = {}
        for place, leaf in leaves(self):
            if isinstance(leaf, Artifact):
                if place in found:
                    raise DagError(f"{self.label} has two inputs at {place}", mend="name one of them without a dot")
                if "/" in place:
                    raise DagError(f"{self.label}.{place} names an input with a slash", mend="name it without")
                found[place] = leaf
        return found

    def with_inputs(self, replace: Callable[[str, Artifact], Artifact]) -> Stage[A]:
        """The same stage with each input replaced by what `replace(place, artifact)` returns."""
        return self.with_leaves(
            lambda place, leaf: replace(place, leaf) if isinstance(leaf, Artifact) else leaf,
        )

    def with_leaves(self, replace: Callable[[str, Any], Any]) -> Stage[A]:
        """The same stage with each of its values, those in containers too, replaced by what `replace(place, value)` returns."""
        fields = {name: _replace(name, getattr(self, name), replace) for name in type(self).model_fields}
        return type(self)(**fields)


def leaves(stage: Stage[Any]) -> Iterator[tuple[str, object]]:
    """Every value of the stage that counts, with its dotted place; containers are walked, settings groups are not."""
    for name in type(stage).model_fields:
        if name not in NOT_IDENTITY:
            yield from _leaves(name, getattr(stage, name), DEEPEST)


def _leaves(place: str, value: object, deeper: int) -> Iterator[tuple[str, object]]:
    if not deeper:
        raise DagError(f"{place[:60]}… is nested more than {DEEPEST} deep, or holds itself", mend="give it flatter")
    if isinstance(value, dict):
        for name in value:
            yield from _leaves(f"{place}.{name}", value[name], deeper - 1)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _leaves(f"{place}.{position}", item, deeper - 1)
    else:
        yield place, value


def _replace(place: str, value: Any, replace: Callable[[str, Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _replace(f"{place}.{name}", item, replace) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(f"{place}.{position}", item, replace) for position, item in enumerate(value))
    return replace(place, value)
