"""The one way in which a stage trains through TRL: quiet, offline, resumable from its last commit, and without pickles.

`tune` loads the model, lets the stage build its TRL trainer, trains to the last step and writes a Hugging Face checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import Context, StageFailed
from stages.text import tokenizer as tokens
from stages.text.plain import plain_messages

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

COMMIT_SECONDS = 20.0
"""Between two commits of a checkpoint. When they are made changes no byte of the result."""

METRICS = {
    "loss": "loss",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "train_preference_accuracy",
    "rewards/margins": "train_preference_margin",
}
"""What of TRL's log is kept, and under which name."""


@dataclass(frozen=True)
class Recipe:
    """What both kinds of tuning share. `warmup` is a share of the steps; `max_length` counts tokens of a whole chat."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: float
    max_length: int
    seed: int
    threads: int
    precision: str
    device: str = "cpu"
    """``cuda`` where the stage asked for a GPU; without that none is taken."""

    def arguments(self, folder: Path) -> dict[str, Any]:
        """The arguments of a TRL config: no reports, no bars, no saves but those that `_Watch` asks for."""

        return {
            "output_dir": str(folder),
            "max_steps": self.steps,
            "per_device_train_batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "warmup_steps": round(self.warmup * self.steps),
            "lr_scheduler_type": "linear",
            "optim": "adamw_torch_fused",
            "adam_beta2": 0.95,
            "weight_decay": 0.0,
            "max_length": self.max_length,
            "seed": self.seed,
            "data_seed": self.seed,
            "use_cpu": self.device == "cpu",
            "bf16": self.precision == "bfloat16",
            "fp16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
            "logging_steps": 10,
            "save_strategy": "no",
            "save_total_limit": 2,
            "report_to": [],
            "disable_tqdm": True,
        }


def plain_rows(source: Path, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, in whose conversations a special token of the tokenizer at `source` is text, as the service reads it."""
    special = tokens.special_tokens(source)
    return [
        {name: plain_messages(value, special) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    ]


Build = Callable[["PreTrainedModel", "PreTrainedTokenizerBase", dict[str, Any]], "Trainer"]
"""Given the model, its tokenizer and the shared arguments, a stage builds its TRL trainer."""


def quiet() -> None:
    """Keep transformers, datasets and TRL off the network and off the terminal. Call before they are imported."""
    os.environ.update(
        HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
    )
    os.environ.update(TRL_EXPERIMENTAL_SILENCE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
    warnings.filterwarnings("ignore", module=r"(transformers|trl|accelerate|datasets|torch|torchao)(\..*)?")
    import datasets
    import transformers

    datasets.disable_caching()
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("trl", "accelerate", "datasets", "torchao", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)


def tune(
    source: Path, out: Path, ctx: Context, recipe: Recipe, build: Build, finish: Callable[[Trainer], None] | None = None
) -> None:
    """Train the checkpoint at `source` by `recipe` and write the result to `out`; `finish` may measure the trainer after."""
    quiet()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed

    torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    template = tokens.chat_template(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokenizer.chat_template = template
    end = end_of_turn(tokenizer)
    folder = ctx.scratch / "checkpoints"
    trainer = build(model, tokenizer, recipe.arguments(folder))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_watch(ctx, recipe))
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    if last is not None:
        ctx.note(f"goes on after {last.name.replace('-', ' at step ')}")
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if finish is not None:
        finish(trainer)
    save(trainer.model, source, out, end)


def _watch(ctx: Context, recipe: Recipe) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Tells `ctx` how training goes, and commits a checkpoint every COMMIT_SECONDS."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.started = self.saved = time.monotonic()
            self.first = state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            ctx.progress(state.global_step, recipe.steps, "steps")
            control.should_save = time.monotonic() - self.saved >= COMMIT_SECONDS and state.global_step < recipe.steps

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, and nothing reads it
            ctx.commit(folder)
            self.saved = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            known = {METRICS[name]: float(value) for name, value in (logs or {}).items() if name in METRICS}
            if known:
                elapsed = max(time.monotonic() - self.started, 1e-9)
                ctx.log(step=state.global_step, **known, steps_per_second=(state.global_step - self.first) / elapsed)

    return Watch()


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that the chat template puts after an answer. Raises StageFailed where it is not a special one."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = str(tokenizer.apply_chat_template(chat, tokenize=False)).rstrip()
    last = int(tokenizer(text, add_special_tokens=False)["input_ids"][-1])
    if last not in tokenizer.all_special_ids and last not in tokenizer.added_tokens_decoder:
        raise StageFailed(
            "the chat template ends an answer with no special token",
            mend="end the assistant's turn with one, such as <|end|>",
        )
    return last


def save(model: Any, source: Path, out: Path, end: int) -> None:
    """Write weights and config; take the tokenizer's files from `source` as they are; stop at the end of a turn."""
    from transformers import GenerationConfig

    eos = [end, *(token for token in _ids(model.config.eos_token_id) if token != end)]
    model.config.use_cache = True
    model.config.eos_token_id = eos
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=eos, pad_token_id=model.config.pad_token_id
    )
    model.save_pretrained(out)
    for name in ("config.json", "generation_config.json"):
        told = json.loads((out / name).read_text(encoding="utf-8"))
        told.pop("transformers_version", None)  # a new release would change the bytes, and all that is made of them
        (out / name).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)


def _ids(value: int | list[int] | None) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else value
