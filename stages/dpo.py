"""Dpo: a chat model learns to prefer right answers to wrong ones (direct preference optimization, TRL's DPOTrainer)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.devices import device
from stages.kinds import Model, Preferences
from stages.threads import cpus_by_threads
from stages.work import Tuned, Tuning

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


COLUMNS = ("prompt", "chosen", "rejected")


class Dpo(Tuned, Stage[Model]):
    """Raise the odds of chosen answers over rejected ones, held near the model it starts from (arXiv 2305.18290).

    A share of the questions is kept from training: on their pairs the preference accuracy is measured at the end. Pairs whose
    metadata names a source are counted by it. A killed run goes on after its last committed checkpoint. Raises StageFailed
    where there are too few pairs.
    """

    shows = ("preference_accuracy", "pairs")

    model: Model = Field(description="the chat model to start from, which is also the reference")
    preferences: Preferences = Field(description="prompt, chosen and rejected, conversational")
    steps: int = Field(default=60, ge=1, description="updates of the weights")
    batch_size: int = Field(default=16, ge=1, description="pairs in an update")
    learning_rate: float = Field(
        default=1e-4, gt=0, description="highest learning rate (AdamW); it falls linearly to zero"
    )
    beta: float = Field(default=0.2, gt=0, description="how strongly the model is held to the reference")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    heldout: float = Field(
        default=0.15, gt=0, lt=1, description="share of the questions whose pairs measure and do not train"
    )
    max_length: int = Field(
        default=128, ge=8, description="tokens of a prompt and an answer; what is longer is cut off"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of activations; weights stay float32"
    )
    seed: int = Field(default=0, ge=0, description="of the order of pairs")
    threads: int = Field(default=2, ge=1, description="CPU threads; results are exact for a fixed number")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def tuning(self) -> Tuning:
        low = self.precision == "bfloat16"
        return Tuning(self.model, self.steps, 2 * self.batch_size, self.max_length, low)

    def run(self, out: Model, ctx: Context) -> None:
        """Write the tuned checkpoint with its tokenizer and generation config."""
        from stages.text.origins import by_source, from_sources
        from stages.tuning.trainer import Recipe, tune

        train, heldout = self._pairs()
        if not train or not heldout:
            raise StageFailed(
                f"{len(train)} pairs to train on and {len(heldout)} to measure with are too few",
                mend="collect more preferences",
            )

        def build(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, arguments: dict[str, Any]) -> Trainer:
            from datasets import Dataset
            from trl import DPOConfig, DPOTrainer
            from trl.trainer import dpo_trainer

            dpo_trainer.tqdm = _silent  # its bars over the reference's log-probabilities have no switch

            config = DPOConfig(
                **arguments,
                beta=self.beta,
                precompute_ref_log_probs=True,
                per_device_eval_batch_size=self.batch_size,
                eval_strategy="no",
            )
            rows, kept = (Dataset.from_list(side).select_columns(list(COLUMNS)) for side in (train, heldout))
            return DPOTrainer(
                model=model, args=config, train_dataset=rows, eval_dataset=kept, processing_class=tokenizer
            )

        def measure(trainer: Trainer) -> None:
            found = trainer.evaluate()
            ctx.log(
                preference_accuracy=found["eval_rewards/accuracies"], preference_margin=found["eval_rewards/margins"]
            )

        settings = self.model_dump(include=set(Recipe.__dataclass_fields__))
        recipe = Recipe(**settings, device=device(self.resources))
        tune(self.model.path, out.path, ctx, recipe, build, measure)
        ctx.log(pairs=len(train), heldout_pairs=len(heldout))
        ctx.log(**from_sources("pairs", [by_source(row["source"] for row in train if row["source"])]))

    def _pairs(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Pairs to train on and to measure with, each with its source; all pairs of one question stand on one side."""
        from stages.tuning.conversations import about, fraction, source_of
        from stages.tuning.trainer import plain_rows

        sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for row in self.preferences.rows():
            pair = {name: row[name] for name in COLUMNS} | {"source": source_of(about(row.get("metadata")))}
            sides[fraction(json.dumps(row["prompt"], ensure_ascii=False)) < self.heldout].append(pair)
        return plain_rows(self.model.path, sides[0]), plain_rows(self.model.path, sides[1])


def _silent(iterable: Any, **_: Any) -> Any:
    return iterable
