"""One typed description of a run on other machines, from which every manifest is rendered. It holds names of secrets, never a value."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

CLIENT = "ray://127.0.0.1:10001"
"""Where a cluster's head answers clients of its own machine."""
HOME = "/opt/corpusmill"
"""Where the code lies in an image; the same on every machine of a cluster."""
DAG_HOME = "/opt/dag"
MARK = "# Rendered by corpusmill infra render."

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
DnsName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
Word = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=255)]
Cloud = Literal["aws", "azure", "cudo", "do", "fluidstack", "gcp", "ibm", "kubernetes", "lambda", "nebius", "oci", "paperspace",
                "runpod", "scp", "vast", "vsphere"]  # fmt: skip

_SECRET_IN_URL = re.compile(r"://[^/\s]*@|[?#]")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Machine(_Frozen):
    """One machine: whole cores, GiB of memory, and so many GPUs of one type."""

    cpus: int = Field(default=4, ge=1, le=1024)
    memory_gib: int = Field(default=16, ge=1, le=1 << 15)
    gpu: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]*$", max_length=40)] = ""
    gpus: int = Field(default=0, ge=0, le=64)

    @model_validator(mode="after")
    def _typed(self) -> Machine:
        if self.gpu and not self.gpus:
            raise ValueError(f"{self.gpu}, but no GPU: say how many with --gpus")
        return self


class Place(_Frozen):
    """A cloud, or one region of it; written ``aws`` or ``aws/us-east-1``."""

    cloud: Cloud
    region: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]*$")] = ""

    def __str__(self) -> str:
        return f"{self.cloud}/{self.region}" if self.region else self.cloud


class Described(_Frozen):
    """A run elsewhere. `workers` machines like `worker` join the head; without any the head does all the work."""

    name: DnsName
    dag: Word = Field(description="as it is named on the machine where it runs")
    dials: tuple[str, ...] = ()
    store: str = Field(default="", description="empty where each run is told it")
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][\w.:/@-]*$", max_length=255)] = "corpusmill:latest"
    python: Annotated[str, StringConstraints(pattern=r"^3\.\d+$")]
    ray: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)+$")]
    extras: tuple[Word, ...] = ("all", "s3")
    torch_index: Annotated[str, StringConstraints(pattern=r"^(https://[^\s@?#$`\"'\\]+)?$")] = ""
    head: Machine = Machine()
    worker: Machine = Machine()
    workers: int = Field(default=0, ge=0, le=1000)
    secrets: tuple[EnvironmentName, ...] = ()
    environment: dict[EnvironmentName, str] = {}
    spot: bool = False
    places: tuple[Place, ...] = ()
    select: dict[Word, str] = {}
    minutes: int = Field(default=0, ge=0, le=60 * 24 * 30)
    max_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    own: tuple[str, ...] = Field(default=(), description="files of a dag outside dags/, relative to its folder")
    own_folder: str = ""

    @field_validator("store")
    @classmethod
    def _shared(cls, store: str) -> str:
        if _SECRET_IN_URL.search(store):
            raise ValueError("the address of a store holds no user, password or query; name those with --secret")
        if store and not re.fullmatch(r"s3://[^/\s]\S*", store):
            raise ValueError("machines come and go; give a store that outlives them, s3://bucket/prefix")
        return store

    @model_validator(mode="after")
    def _machines(self) -> Described:
        if len(set(self.secrets)) < len(self.secrets) or set(self.secrets) & set(self.environment):
            raise ValueError("each name of a secret or of a variable stands once")
        return self

    @property
    def told(self) -> bool:
        """Whether the machines can reach an MLflow server; without one it is told later, from the store."""
        return "MLFLOW_TRACKING_URI" in (*self.secrets, *self.environment)

    def words(self, *, cluster: bool) -> list[str]:
        """The command line that runs it: on the Ray cluster whose head this is, or on this machine alone."""
        words = ["corpusmill", "run", self.dag, *self.dials, *(["--store", self.store] if self.store else [])]
        words += ["--on", CLIENT] if cluster else []
        words += ["--tracker", "mlflow" if self.told else "none"]
        return words if self.max_cost is None else [*words, "--max-cost", f"{self.max_cost:g}"]

    def line(self, *, cluster: bool) -> str:
        """The same for a shell."""
        return shlex.join(self.words(cluster=cluster))

    def requirement(self) -> str:
        """What pip installs of this project."""
        return f".[{','.join(self.extras)}]"


def opening(*lines: str) -> str:
    """How every rendered file begins, as comments that YAML and Dockerfiles share."""
    return "".join(f"{line}\n" for line in (MARK, *(f"# {line}" for line in lines)))
