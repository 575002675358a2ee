"""Keep at hand what was measured and what past forecasts taught, so that a tick has the outlook at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.core.blend import Lessons
from greenrun.core.intensity import Forecast, Series
from greenrun.core.learning import ISSUE_EVERY, MEMORY, learn
from greenrun.core.outlook import outlook
from greenrun.ports import Store

LEARN_EVERY = timedelta(days=7)
LEARN_FIRST_EVERY = timedelta(days=1)  # ... while there are too few forecasts to weigh them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """An outlook, what it was made from, and for how long it holds while nothing new is known."""

    known: tuple[object, ...]
    since: datetime
    until: datetime
    outlook: Series | None

    def holds(self, known: tuple[object, ...], now: datetime) -> bool:
        """Whether it is what would be made of `known` at `now`."""
        return self.known == known and self.since <= now < self.until


class Outlooks:
    """Turns forecasts of one zone into what to plan with, from the last `days` days measured; 0 days: as they are."""

    def __init__(self, store: Store, zone: str | None, days: int) -> None:
        self._store = store
        self._zone = zone or ""
        self._days = days if zone else 0
        self._measured: Series | None = None
        self._lessons = Lessons()
        self._learned_at: datetime | None = None
        self._shown: Shown | None = None

    @property
    def wanted(self) -> timedelta:
        """How far back measured values are of use for the normal of each hour; zero when nothing is learned."""
        return timedelta(days=self._days)

    @property
    def measured_from(self) -> datetime | None:
        """Where the measured values in use begin; None without any."""
        return self._measured.start if self._measured is not None else None

    def remember(self, now: datetime) -> None:
        """Take in the measured values of the store."""
        if self._days:
            self._measured = self._store.measured(self._zone, now - self.wanted - timedelta(days=1), now)

    def judge(self, forecast: Forecast | None, now: datetime) -> Lessons | None:
        """Return, from time to time, what past forecasts of this kind teach. It may take a second; changes nothing."""
        every = LEARN_FIRST_EVERY if self._lessons.weights == Lessons().weights else LEARN_EVERY
        last = self._learned_at
        if not self._days or forecast is None or (last is not None and last <= now < last + every):
            return None
        measured = self._store.measured(self._zone, now - MEMORY - self.wanted, now)
        issues = self._store.issues(self._zone, now - MEMORY, ISSUE_EVERY)
        same = [issue for issue in issues if issue.series.id == forecast.series.id]
        return learn(same, measured, now, days=self._days) if measured is not None else None

    def learn(self, lessons: Lessons, now: datetime) -> None:
        """Follow these lessons from now on."""
        self._lessons, self._learned_at = lessons, now

    def outlook(self, forecast: Forecast | None, now: datetime, until: datetime) -> Series | None:
        """Return what to expect of the slots that touch `[now, until)`; None when nothing is known of them.

        It is the same object until a slot has ended or there was news, so asking at every tick costs nothing, and a
        plan made with it holds as long. Without days to learn from it is the forecast's own slots.
        """
        known = (forecast, self._measured, self._lessons, until - now)
        if self._shown is None or not self._shown.holds(known, now):
            made = self._made(forecast, now, until)
            edge = next(iter(made.edges(now, until)), until) if made is not None else now
            self._shown = Shown(known=known, since=now, until=edge, outlook=made)
        return self._shown.outlook

    def _made(self, forecast: Forecast | None, now: datetime, until: datetime) -> Series | None:
        if not self._days:
            return forecast.series.between(now, until) if forecast is not None else None
        return outlook(
            forecast.series if forecast is not None else None,
            self._measured,
            now,
            until,
            lessons=self._lessons,
            known_at=forecast.known_at if forecast is not None else None,
            days=self._days,
        )
