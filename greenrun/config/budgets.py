"""[budget]: quotas and budgets of users and projects."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from greenrun.config.electricity import Zone
from greenrun.config.problems import table
from greenrun.config.sharing import LONGEST_NAME
from greenrun.core.budgets.budget import Budget, Budgets, Measure, OverBudget
from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.errors import InputProblem
from greenrun.providers.settings import Section

LOCALTIME = Path("/etc/localtime")
MOST = 1e9  # of any measure: nobody has so much of it

Quantity = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
OwnerName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class BudgetSettings(Section):
    """[budget.user.NAME] and [budget.project.NAME]; what is not set is not limited."""

    queued_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    gpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    period: PeriodKind = PeriodKind.MONTH
    gpu_hours: Quantity | None = None
    kwh: Quantity | None = None
    kg_co2e: Quantity | None = None
    money: Quantity | None = None
    over: OverBudget = OverBudget.WAIT
    keep_limits: bool = False

    @model_validator(mode="after")
    def _limits_anything(self) -> Self:
        if not self.in_effect.most and self.queued_jobs is None and self.gpus is None:
            names = ", ".join(("queued_jobs", "gpus", *(measure.value for measure in Measure)))
            raise ValueError(f"limits nothing: set one of {names}, or leave the table out")
        return self

    @property
    def in_effect(self) -> Budget:
        """The same as a value of the core."""
        stated = {measure: getattr(self, measure.value) for measure in Measure}
        return Budget(
            queued_jobs=self.queued_jobs, gpus=self.gpus, period=self.period, over=self.over,
            keep_limits=self.keep_limits, most={key: value for key, value in stated.items() if value is not None},
        )  # fmt: skip


class BudgetsSettings(Section):
    """[budget]; weeks and months begin at midnight in `timezone`, which is the machine's where it is not set."""

    timezone: Zone | None = None
    user: dict[OwnerName, BudgetSettings] = Field(default_factory=dict)
    project: dict[OwnerName, BudgetSettings] = Field(default_factory=dict)

    def in_effect(self, currency: str | None) -> Budgets:
        """Return them as a value of the core; amounts of money are in this currency."""
        return Budgets(
            users={name: row.in_effect for name, row in self.user.items()},
            projects={name: row.in_effect for name, row in self.project.items()},
            zone=ZoneInfo(self.timezone) if self.timezone else _machine_zone(),
            currency=currency,
        )


def budget_problems(raw: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield budgets of what is not known here, in settings that need not be valid otherwise."""
    electricity, grid = table(raw, "electricity"), table(raw, "grid")
    has_price = any(electricity.get(name) for name in ("tariff", "file", "kind")) or "price" in electricity
    for kind in ("user", "project"):
        for name, row in table(table(raw, "budget"), kind).items():
            field = f"budget.{kind}.{name}"
            if not isinstance(row, Mapping):
                continue
            if row.get("money") is not None and not has_price:
                yield InputProblem(field=f"{field}.money", message="needs the price of a kWh: set [electricity]")
            if row.get("kg_co2e") is not None and not grid.get("zone"):
                yield InputProblem(
                    field=f"{field}.kg_co2e", message="needs the carbon intensity of the grid: set grid.zone"
                )


def _machine_zone() -> tzinfo:
    """Return the zone that TZ names, else the machine's, with its clock changes; UTC where it cannot be read."""
    try:
        if name := os.environ.get("TZ", "").removeprefix(":"):
            return ZoneInfo(name)
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC
