"""What could be known of the grid at each instant of a recorded past: the forecast in hand then, and nothing beyond."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from greenrun.core.carbon.calibration import ISSUE_EVERY
from greenrun.core.carbon.intensity import Floats, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderUnavailable

ZONE = "simulated"
SERIES = SeriesId(provider="trace", zone=ZONE)
_KEPT = 4096  # forecasts kept, because every job that arrives in a slot asks for the same one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForesightIssue:
    """Slots that were foretold together, `issued_s` when; None: always, each as far ahead as `reach` allows.

    Slots that are MEASURED make a perfect forecast, which an engine takes as it is.
    """

    issued_s: float | None
    slots: Series


class Foresight:
    """Answers as a forecast provider and as the view of a policy; both see the same and nothing beyond `reach`."""

    name = "trace"

    def __init__(self, issues: Sequence[ForesightIssue], reach: timedelta, start: datetime, end: datetime) -> None:
        """`issues` in order of issue; their news between `start` and `end` are told."""
        self._issues = tuple(issues)
        self._issued_s = [issue.issued_s if issue.issued_s is not None else -np.inf for issue in issues]
        self._reach_s = reach.total_seconds()
        self._kept: dict[tuple[int, int], Series] = {}
        self.news_s = _news(issues, start.timestamp(), end.timestamp())
        self.refresh_every = issues[0].slots.step or timedelta(hours=1)

    def forecast(self, at_s: float) -> Series:
        """Return the forecast in hand at an instant, from the slot that holds it on; empty when there is none."""
        number = bisect_right(self._issued_s, at_s) - 1
        slots = self._issues[max(0, number)].slots
        first = int(np.searchsorted(slots.ends_s, at_s, side="right")) if number >= 0 else len(slots)
        if first == len(slots) or slots.starts_s[first] > at_s:
            return self._visible(slots, first, at_s)
        key = (number, first)
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = self._visible(slots, first, float(slots.starts_s[first]))
        return self._kept[key]

    def _visible(self, slots: Series, first: int, begin_s: float) -> Series:
        return part(slots, first, int(np.searchsorted(slots.starts_s, begin_s + self._reach_s)))

    def provide(self, now: datetime) -> Forecast:
        """Return the forecast in hand as a provider does; raise ProviderUnavailable when there is none."""
        series = self.forecast(now.timestamp())
        if not len(series):
            raise ProviderUnavailable(f"there is no forecast in hand at {now.isoformat()}")
        issued_s = self._issued_s[bisect_right(self._issued_s, now.timestamp()) - 1]
        issued_at = series.start if issued_s == -np.inf else datetime.fromtimestamp(issued_s, UTC)
        return Forecast(series=series, fetched_at=now, issued_at=issued_at)


class SimulatedForecastProvider:
    """A forecast provider of one zone for the engine."""

    name = "trace"

    def __init__(self, foresight: Foresight) -> None:
        self._foresight = foresight
        self.refresh_every = foresight.refresh_every

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast in hand at `now`; raise ProviderUnavailable."""
        return self._foresight.provide(now)


class SimulatedHistoryProvider:
    """A history provider: tells what was measured, once a slot is over."""

    name = "trace"
    settle_after = timedelta(0)

    def __init__(self, measured: Series) -> None:
        self._measured = measured

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the slots that touch `[start, end)` and are over at `now`."""
        slots = self._measured
        first = int(np.searchsorted(slots.ends_s, start.timestamp(), side="right"))
        last = int(np.searchsorted(slots.starts_s, end.timestamp()))
        over = int(np.searchsorted(slots.ends_s, now.timestamp(), side="right"))
        return part(slots, first, min(last, over))


def earlier_forecasts(
    issues: Sequence[ForesightIssue], reach: timedelta, start: datetime, end: datetime
) -> list[Forecast]:
    """Return the forecasts that were in hand before a simulation, as often as they are learned from.

    Perfect ones are left out: there is nothing to learn of them.
    """
    if Kind.MEASURED in issues[0].slots.kinds:
        return []
    view = Foresight(issues, reach, start, end)
    moments = [start + number * ISSUE_EVERY for number in range((end - start) // ISSUE_EVERY)]
    return [view.provide(at) for at in moments if len(view.forecast(at.timestamp()))]


def part(slots: Series, first: int, last: int) -> Series:
    """Return the slots from index `first` up to `last`."""
    chosen = slice(first, max(first, last))
    return Series(slots.id, slots.starts_s[chosen], slots.ends_s[chosen], slots.values[chosen], slots.kinds[chosen])


def _news(issues: Sequence[ForesightIssue], start_s: float, end_s: float) -> Floats:
    issued_s = [issue.issued_s for issue in issues if issue.issued_s is not None]
    edges = [edges_s for issue in issues for edges_s in (issue.slots.starts_s, issue.slots.ends_s[-1:])]
    news_s = np.unique(np.concatenate([[start_s], issued_s, *edges]))
    return news_s[(news_s >= start_s) & (news_s <= end_s)]
