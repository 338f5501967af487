"""Byte code of what the tests' many processes import, made once: pip left it out, and the tests themselves write none."""

from __future__ import annotations

import importlib
import sys
import tempfile

USED = (
    "torch", "transformers.models.llama.modeling_llama", "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "datatrove.data",
    "datasets", "ray.serve", "ray.util.client", "ray.job_submission", "ray.dashboard.agent", "modal", "s3fs", "moto.server", "trafilatura",
    "resiliparse", "gguf", "xllamacpp", "playwright.sync_api", "hypothesis", "pipeline.cli", "infra.commands", "dags.quickstart",
)  # fmt: skip


def main() -> None:
    """Import each, and make MLflow's tables once, whose migrations are modules too."""
    assert not sys.dont_write_bytecode, "start it without PYTHONDONTWRITEBYTECODE"
    for name in USED:
        importlib.import_module(name)
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(f"sqlite:///{folder}/tables.db").search_experiments()


if __name__ == "__main__":
    main()
