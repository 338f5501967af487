"""Sft: a base model becomes a chat model by supervised fine-tuning on conversations (TRL's SFTTrainer)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.devices import device
from stages.kinds import Chats, Model
from stages.threads import cpus_by_threads
from stages.work import Tuned, Tuning

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


class Sft(Tuned, Stage[Model]):
    """Train on the chats of the split `train`, with the loss on the assistant's turns alone (`{% generation %}` in the template).

    A special token written in a message stays text. A killed run goes on after its last committed checkpoint, bit for bit.
    Raises StageFailed where nothing is to be learnt.
    """

    shows = ("loss", "steps_per_second")

    model: Model = Field(description="the Hugging Face checkpoint to start from, with a chat template")
    chats: Chats = Field(description="conversations; those marked held out are never trained on")
    steps: int = Field(default=700, ge=1, description="updates of the weights")
    batch_size: int = Field(default=16, ge=1, description="conversations in an update")
    learning_rate: float = Field(
        default=2e-3, gt=0, description="highest learning rate (AdamW); it falls linearly to zero"
    )
    warmup: float = Field(default=0.03, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    max_length: int = Field(default=128, ge=8, description="tokens of a conversation; what is longer is cut off")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of activations; weights stay float32"
    )
    seed: int = Field(default=0, ge=0, description="of the order of conversations")
    threads: int = Field(default=2, ge=1, description="CPU threads; results are exact for a fixed number")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def tuning(self) -> Tuning:
        low = self.precision == "bfloat16"
        return Tuning(self.model, self.steps, self.batch_size, self.max_length, low)

    def run(self, out: Model, ctx: Context) -> None:
        """Write the tuned checkpoint with its tokenizer and generation config."""
        from stages.text.tokenizer import unmarked
        from stages.tuning import conversations
        from stages.tuning.trainer import Recipe, plain_rows, tune

        chats = conversations.read(self.chats, "train")
        if not chats:
            raise StageFailed("there is no chat to train on", mend="give chats that are not all held out")

        rows = plain_rows(self.model.path, ({"messages": chat.messages} for chat in chats))

        def build(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, arguments: dict[str, Any]) -> Trainer:
            from datasets import Dataset
            from trl import SFTConfig, SFTTrainer

            config = SFTConfig(**arguments, assistant_only_loss=True, packing=False)
            data = Dataset.from_list(rows)
            try:
                return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
            except ValueError:
                template = str(tokenizer.chat_template)
                if unmarked(template) != template:
                    raise
                raise StageFailed(  # TRL marks the templates of some families itself; this is none of them
                    "the chat template does not mark the assistant's part, so that nothing says what is to be learnt",
                    mend="put {% generation %} … {% endgeneration %} around it in chat_template.jinja; adopt the model again",
                ) from None

        settings = self.model_dump(include=set(Recipe.__dataclass_fields__))
        tune(self.model.path, out.path, ctx, Recipe(**settings, device=device(self.resources)), build)
        ctx.log(chats=len(chats), epochs=self.steps * self.batch_size / len(chats))
