"""Which budgets are nearly used up, or spent: each measure of each told once in a period."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from greenrun.core.budgets.budget import NEAR, SPENT, Measure
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.charges import Amount
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.store import Store

MOST_TOLD = 10_000  # events that are looked through for what was told before

Told = tuple[str, str, str, EventKind]  # owner, measure and period


class BudgetWatch:
    """Tells of budgets by what has been charged, not by what is planned."""

    def __init__(self, told: set[Told]) -> None:
        """`told` is what was told before."""
        self._told = told

    def look(self, standings: Sequence[Standing], now: datetime) -> Iterator[NewEvent]:
        """Yield an event for each measure that has reached a share of its budget since the last look."""
        for standing in standings:
            for measure, most in standing.budget.most.items():
                used = standing.used.get(measure, Amount()).value
                yield from self._look(standing, measure, used, most, now)

    def _look(
        self, standing: Standing, measure: Measure, used: float, most: float, now: datetime
    ) -> Iterator[NewEvent]:
        share = used / most
        if share < NEAR:
            return
        owner, period = standing.owner.text, standing.period.name
        kinds = [EventKind.BUDGET_NEAR, *([EventKind.BUDGET_SPENT] if share >= SPENT else [])]
        keys: list[Told] = [(owner, measure.value, period, kind) for kind in kinds]
        if keys[-1] not in self._told:
            detail = {
                "owner": owner, "what": measure.value, "period": period, "used": used, "limit": most, "share": share,
            }  # fmt: skip
            yield NewEvent(kind=kinds[-1], at=now, detail=detail)
        self._told.update(keys)


def told_budgets(store: Store) -> set[Told]:
    """Return of which budgets was told before, in the latest periods; raise StoreError."""
    events = store.jobs.events(kinds=(EventKind.BUDGET_NEAR, EventKind.BUDGET_SPENT), limit=MOST_TOLD)
    return {
        (str(event.detail["owner"]), str(event.detail["what"]), str(event.detail["period"]), EventKind(event.kind))
        for event in events
        if {"owner", "what", "period"} <= event.detail.keys()
    }
