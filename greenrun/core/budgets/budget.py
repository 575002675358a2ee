"""Quotas and budgets as a site sets them, and whose they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import NamedTuple

from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.formatting import UNKNOWN, mass_text, money_text, number_text

EVERYBODY = "*"  # in the place of a name: each user, or project, that has no budget of its own
NEAR, SPENT = 0.8, 1.0  # shares of a budget of which people are told
_G_PER_KG = 1000.0


class Measure(StrEnum):
    """What a budget is of."""

    GPU_HOURS = "gpu_hours"
    KWH = "kwh"
    KG_CO2E = "kg_co2e"
    MONEY = "money"


class OverBudget(StrEnum):
    """What becomes of a job that a budget has no room for."""

    WAIT = "wait"
    REFUSE = "refuse"
    ASK = "ask"


class OwnerKind(StrEnum):
    """Whose a budget may be."""

    USER = "user"
    PROJECT = "project"


class Owner(NamedTuple):
    """Whose a budget is."""

    kind: OwnerKind
    name: str

    @property
    def text(self) -> str:
        """Return it as sentences name it: `user ada`."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one user or project may hold at once (`queued_jobs`, `gpus`), and use of each measure in a period (`most`).

    With `keep_limits`, a job that would miss a limit of its user's by waiting for the next period starts all the same.
    """

    queued_jobs: int | None = None
    gpus: int | None = None
    period: PeriodKind = PeriodKind.MONTH
    most: Mapping[Measure, float] = field(default_factory=dict)
    over: OverBudget = OverBudget.WAIT
    keep_limits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The budgets of a site by name, of which EVERYBODY's holds for whoever is not named; periods are of `zone`."""

    users: Mapping[str, Budget] = field(default_factory=dict)
    projects: Mapping[str, Budget] = field(default_factory=dict)
    zone: tzinfo = UTC
    currency: str | None = None

    def __bool__(self) -> bool:
        return bool(self.users or self.projects)

    def of(self, owner: Owner) -> Budget | None:
        """Return the budget of an owner; None without one."""
        named = self.users if owner.kind is OwnerKind.USER else self.projects
        return named.get(owner.name) or named.get(EVERYBODY)

    def owners(self, user: str, project: str) -> tuple[Owner, ...]:
        """Return those who have a budget that a job of this user and project counts in."""
        both = (Owner(OwnerKind.PROJECT, project), Owner(OwnerKind.USER, user))
        return tuple(owner for owner in both if self.of(owner) is not None)

    def named(self) -> Iterator[Owner]:
        """Yield the owners whose budgets are set by name."""
        yield from (Owner(OwnerKind.PROJECT, name) for name in self.projects if name != EVERYBODY)
        yield from (Owner(OwnerKind.USER, name) for name in self.users if name != EVERYBODY)

    @property
    def periods(self) -> frozenset[PeriodKind]:
        """The kinds of periods that any of them has."""
        return frozenset(budget.period for budget in (*self.users.values(), *self.projects.values()))


def hours_text(amount: float) -> str:
    """Return GPU-hours to the hundredth, and what is many to three digits."""
    return number_text(round(amount, 2))


def amount_text(amount: float | None, measure: Measure, currency: str | None = None) -> str:
    """Return so much of a measure with its unit: `1.5 GPU-hours`, `240 g CO2e`."""
    if amount is None:
        return UNKNOWN
    if measure is Measure.GPU_HOURS:
        return f"{hours_text(amount)} GPU-hour{'' if hours_text(amount) == '1' else 's'}"
    if measure is Measure.KWH:
        return f"{number_text(amount)} kWh"
    if measure is Measure.MONEY:
        return money_text(amount, currency)
    return f"{mass_text(amount * _G_PER_KG)} CO2e"
