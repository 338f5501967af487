"""What a stage needs of a machine, and where it runs. Resources never say what a stage makes: they are not identity."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Resources(BaseModel):
    """CPUs, GPUs, memory, time limit, retries and place of one stage. A named type of GPU is one GPU, unless `gpus` says more."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float = Field(default=1, ge=0, description="CPU cores held while the stage runs")
    gpus: int = Field(default=0, ge=0, description="GPUs held while the stage runs")
    gpu: str = Field(default="", description="type of GPU, for example H100")
    memory_gib: float = Field(default=0, ge=0, description="memory in GiB; 0 leaves it to the executor")
    minutes: float = Field(default=0, ge=0, description="time limit of one try, in minutes; 0 means none")
    retries: int = Field(default=2, ge=0, description="times that a lost machine is tried again; a bug never is")
    dollars_per_hour: float | None = Field(
        default=None, ge=0, description="price of the machine; 0 is free, None unsaid"
    )
    on: str = Field(default="", description="where it runs, as --on says it; empty: where the whole run does")

    @model_validator(mode="before")
    @classmethod
    def _one_of_its_type(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("gpu"):
            return given
        if "gpus" in given and not given["gpus"]:
            raise ValueError(f"gpu={given['gpu']!r} names a type, but gpus is 0: leave gpus out for one")
        return {"gpus": 1, **given}
