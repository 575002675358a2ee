"""[limits]: how much memory, CPU and disk the jobs of a machine may use, which needs units of systemd to be kept."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from greenrun.config.server_mode import Mode
from greenrun.config.values import Bytes
from greenrun.core.errors import InputProblem
from greenrun.core.jobs.spec import LEAST_MEMORY_GIB
from greenrun.providers.settings import Section

GIB = 2**30
Cpus = Annotated[float, Field(ge=0, le=4096, allow_inf_nan=False)]
Weight = Annotated[int, Field(ge=0, le=10_000)]


class LimitsSettings(Section):
    """[limits]; 0 is none. What ends in `_max` is the most that a job may ask for, the others what it gets unasked."""

    memory: Bytes = 0
    memory_max: Bytes = 0
    cpus: Cpus = 0.0
    cpus_max: Cpus = 0.0
    io_weight: Weight = 0
    io_weight_max: Weight = 0
    tasks_max: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        least = int(LEAST_MEMORY_GIB * GIB)
        for name in ("memory", "memory_max"):
            if 0 < getattr(self, name) < least:
                raise ValueError(f"{name} must be 0 or at least {least // 2**20} MiB, or no job could be supervised")
        if 0 < self.tasks_max < 10:
            raise ValueError("tasks_max must be 0 or at least 10, or no job could be supervised")
        return self

    @property
    def usual(self) -> dict[str, float]:
        """What a job gets that asks for nothing, by the job's field."""
        return _set({"memory_gib": self.memory / GIB, "cpus": self.cpus, "io_weight": self.io_weight})

    @property
    def most(self) -> dict[str, float]:
        """The most that a job may ask for, by the job's field."""
        return _set({"memory_gib": self.memory_max / GIB, "cpus": self.cpus_max, "io_weight": self.io_weight_max})


def limit_problems(limits: Mapping[str, Any], server: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield the limits that are set where nothing would keep them."""
    if server.get("mode") == Mode.SYSTEM:
        return
    for name, value in limits.items():
        if value and name in LimitsSettings.model_fields:
            why = 'is kept in system mode alone, where each job is a unit of systemd: set [server] mode = "system"'
            yield InputProblem(field=f"limits.{name}", message=f"{why}, or leave it out")


def _set(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value}
