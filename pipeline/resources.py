"""What a stage needs of a machine. Resources say where and how a stage can run, never what it makes: they are not identity."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Resources(BaseModel):
    """CPUs, GPUs, memory, time limit and retries of one stage."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float = Field(default=1, ge=0, description="CPU cores held while the stage runs")
    gpus: int = Field(default=0, ge=0, description="GPUs held while the stage runs")
    gpu: str = Field(default="", description="type of GPU, for example H100")
    memory_gib: float = Field(default=0, ge=0, description="memory in GiB; 0 leaves it to the executor")
    minutes: float = Field(default=0, ge=0, description="time limit of one try, in minutes; 0 means none")
    retries: int = Field(default=2, ge=0, description="times that a lost machine is tried again; a bug never is")
    dollars_per_hour: float = Field(default=0, ge=0, description="price of the machine; 0 means not priced")
