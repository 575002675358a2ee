"""Of a budget people are told at 80 % and at its end, once in each period, also over a restart."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenrun.core.budgets.budget import Budget, Measure, Owner, OwnerKind
from greenrun.core.budgets.budget_admission import Fill, Standing
from greenrun.core.budgets.calendar_period import PeriodKind, period_of
from greenrun.core.budgets.charges import Amount
from greenrun.notifications.budget_watch import BudgetWatch, told_budgets
from greenrun.store import Store
from tests.world import open_store

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NEXT = datetime(2026, 12, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def standing(used: float, at: datetime = NOW) -> Standing:
    return Standing(
        owner=Owner(OwnerKind.USER, "ada"), budget=Budget(most={Measure.KWH: 10.0}),
        period=period_of(PeriodKind.MONTH, at, UTC), used={Measure.KWH: Amount(used)},
    )  # fmt: skip


def looked(watch: BudgetWatch, used: float, at: datetime = NOW) -> list[str]:
    return [event.kind.value for event in watch.look([standing(used, at)], at)]


def test_each_share_is_told_once_in_a_period() -> None:
    watch = BudgetWatch(set())
    used = [7.9, 8.0, 9.0, 10.0, 12.0, 7.0, 11.0]
    assert [looked(watch, kwh) for kwh in used] == [[], ["budget_near"], [], ["budget_spent"], [], [], []]
    assert looked(watch, 8.5, NEXT) == ["budget_near"]


def test_what_is_spent_at_once_is_told_as_that_alone() -> None:
    watch = BudgetWatch(set())
    assert [looked(watch, 15.0), looked(watch, 9.0)] == [["budget_spent"], []]


def test_a_restart_tells_nothing_again(store: Store) -> None:
    (event,) = BudgetWatch(set()).look([standing(8.0)], NOW)
    store.jobs.note_event(event)
    again = BudgetWatch(told_budgets(store))
    assert looked(again, 9.0) == []
    assert looked(again, 10.0) == ["budget_spent"]
    (kept,) = store.jobs.events(kinds=["budget_near"])
    assert kept.detail == {
        "owner": "user ada", "what": "kwh", "period": "2026-11", "used": 8.0, "limit": 10.0, "share": 0.8,
    }  # fmt: skip


@pytest.mark.parametrize(("used", "fill"), [(0.0, Fill.WITHIN), (8.0, Fill.NEAR), (10.0, Fill.SPENT)])
def test_how_full_a_budget_is(used: float, fill: Fill) -> None:
    assert standing(used).fill is fill
