"""A dag: the targets and all they need, in an order in which each stage comes after its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import DagError
from pipeline.messages import nearest
from pipeline.stage import Stage, leaves
from pipeline.withheld import holds_password

if TYPE_CHECKING:
    from pipeline.outcome import Outcome

Summary = Callable[["Outcome"], list[str]]


class Dag:
    """Checks and orders what the target stages need. Building one runs nothing.

    `summary` is called after a run with its outcome and returns the lines that a person reads at the end.
    Raises DagError for two stages with one label, an input nobody makes, or no target at all.
    """

    def __init__(self, *targets: Stage[Any], summary: Summary | None = None) -> None:
        for target in targets:
            if not isinstance(target, Stage):
                raise DagError(
                    f"a dag's targets are stages, not {target!r}", mend="write Dag(Serve(…)), the stage itself"
                )
        if not targets:
            raise DagError("a dag needs at least one target stage")
        self.targets = targets
        self.summary = summary
        self.stages: dict[str, Stage[Any]] = {}
        self._order(list(targets))

    def _order(self, targets: list[Stage[Any]]) -> None:
        placed: set[int] = set()
        above: dict[int, Stage[Any]] = {}  # what is being asked for on the way to where we are, outermost first
        pending: list[tuple[Stage[Any], bool]] = [(target, False) for target in reversed(targets)]
        while pending:
            stage, ready = pending.pop()
            if ready:
                del above[id(stage)]
                placed.add(id(stage))
                self._place(stage)
            elif id(stage) in above:
                raise _circle(stage, list(above.values()))
            elif id(stage) not in placed:
                above[id(stage)] = stage
                pending.append((stage, True))
                pending.extend((parent, False) for parent in reversed(self.parents(stage)) if id(parent) not in placed)

    def _place(self, stage: Stage[Any]) -> None:
        if stage.label in self.stages:
            first, second = type(self.stages[stage.label]).__name__, type(stage).__name__
            raise DagError(
                f"two stages are labelled {stage.label!r} ({first} and {second})", mend="give one of them label=…"
            )
        if not stage.label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise DagError(f"the label {stage.label!r} is not made of letters, digits, '-', '_' and '.'")
        for place, leaf in leaves(stage):
            if holds_password(leaf):
                raise DagError(
                    f"{stage.label}.{place} is an address with a password in it, and settings go on record",
                    mend="leave the password out, and let run() read it from the environment",
                )
        self.stages[stage.label] = stage

    @staticmethod
    def parents(stage: Stage[Any]) -> list[Stage[Any]]:
        """The stages that make the inputs of `stage`, each once, in the order of its fields."""
        parents: dict[int, Stage[Any]] = {}
        for place, artifact in stage.inputs().items():
            if artifact.producer is None:
                if artifact.promised:
                    raise DagError(f"{stage.label}.{place} is a {artifact.kind()} that no stage makes")
                raise DagError(
                    f"{stage.label}.{place} is a local path ({artifact.path}), which has no record of what made it",
                    mend="give it the .out of a stage that collects it",
                )
            parents[id(artifact.producer)] = artifact.producer
        return list(parents.values())

    def find(self, label: str) -> Stage[Any]:
        """The stage with that label, however its case is written. Raises DagError with the nearest label."""
        by_lower = {name.lower().replace("_", "-"): name for name in self.stages}
        name = by_lower.get(label.lower().replace("_", "-"))
        if name is None:
            guess = nearest(label, list(self.stages))
            hint = f"did you mean {guess!r}?" if guess else "it has: " + ", ".join(self.stages)
            raise DagError(f"no stage is labelled {label!r}; {hint}")
        return self.stages[name]


def _circle(stage: Stage[Any], above: list[Stage[Any]]) -> DagError:
    labels = [one.label for one in above[next(n for n, one in enumerate(above) if one is stage) :]]
    shown = labels if len(labels) <= 6 else [*labels[:3], "…", *labels[-2:]]
    return DagError(
        f"the dag goes round in a circle: {' needs '.join([*shown, stage.label])}",
        mend=f"give {labels[-1]} an input that does not need {stage.label}",
    )


def edges(dag: Dag) -> Mapping[str, dict[str, str]]:
    """For each label, the label that makes each of its inputs, by place."""
    return {
        label: {place: _maker(artifact) for place, artifact in stage.inputs().items()}
        for label, stage in dag.stages.items()
    }


def _maker(artifact: Artifact) -> str:
    return artifact.producer.label if artifact.producer is not None else ""
