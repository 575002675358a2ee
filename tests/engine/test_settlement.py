"""Slices are settled in turn: a hole in what was measured keeps none of those behind it waiting for long."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.core.energy.ledger import Priced, Stage, UnsettledSlice
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.engine import settlement
from greenrun.engine.intensities import ReportedIntensities
from greenrun.engine.settlement import Settlement
from tests.slots import slots_of

T0 = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GB = SeriesId(provider="uk", zone="GB")
HOLE, ALL = 2, 14


class Waiting:
    """Slices of a minute each, of which the first have no measured intensity; what settling asks of stores."""

    def __init__(self) -> None:
        starts = [T0 + index * MINUTE for index in range(ALL)]
        self.rows = {index: (start, start + MINUTE) for index, start in enumerate(starts)}
        self.measured = Series.of(GB, slots_of(starts[HOLE:], [100.0] * (ALL - HOLE), MINUTE, Kind.MEASURED))

    def unsettled(
        self, before: datetime, *, after: datetime | None, limit: int, stage: Stage
    ) -> Sequence[UnsettledSlice]:
        due = [key for key, (_, end) in self.rows.items() if end <= before and (after is None or end > after)]
        return [UnsettledSlice(key, piece(*self.rows[key]), 1.0) for key in due[:limit]]

    def settle(self, prices: Mapping[int, Priced], *, now: datetime, stage: Stage) -> int:
        for key in prices:
            del self.rows[key]
        return len(prices)

    def intensities(self, series: SeriesId, start: datetime, end: datetime, *, final_after: timedelta) -> Series:
        return self.measured.between(start, end)


def piece(start: datetime, end: datetime) -> Slice:
    return Slice(
        device="a", component=Component.GPU, run_id=None, start=start, end=end, energy_j=1.0, quality=Quality.MEASURED
    )


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 50])
def test_a_hole_of_almost_a_batch_costs_no_more_than_a_look_at_it(monkeypatch: Any, at_once: int) -> None:
    monkeypatch.setattr(settlement, "SETTLE_AT_ONCE", at_once)
    store = Waiting()
    reported = ReportedIntensities(store, Stage.SETTLED, timedelta(0))
    reported.add(GB)
    one = Settlement(store, reported)
    calls = -(-ALL // at_once)
    for call in range(calls):
        one.settle(T0 + timedelta(hours=1) + call * settlement.AGAIN_AFTER)
    assert list(store.rows) == list(range(HOLE))
