"""What this month used, emitted and avoided in all, made at most every few minutes: a report takes a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from greenrun.api.service import Service
from greenrun.web.overview_sections import month_start

KEPT_FOR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """Sums of the month so far; None where unknown. `why` says why nothing can be compared."""

    start: datetime
    end: datetime
    energy_kwh: float | None
    emissions_g: float | None
    avoided_g: float | None
    avoided_ratio: float | None
    uncertainty_g: float | None
    compared_runs: int
    why: str


class MonthSummary:
    """Keeps the sums of this month for a while; all pages share them, and nobody's name is in them."""

    def __init__(self, daemon: Service) -> None:
        self._daemon = daemon
        self._made: Month | None = None
        self._making = Lock()

    @property
    def known(self) -> Month | None:
        """What is known already; None where it is yet to be made."""
        now, made = self._daemon.now(), self._made
        fresh = made is not None and made.start == month_start(now) and timedelta(0) <= now - made.end < KEPT_FOR
        return made if fresh else None

    def now(self) -> Month:
        """Return the sums, made anew where they are older than KEPT_FOR; raise StoreError."""
        with self._making:
            if (known := self.known) is not None:
                return known
            now = self._daemon.now()
            start = month_start(now)
            self._made = _month(self._daemon, start, max(now, start + timedelta(seconds=1)))
            return self._made


def _month(daemon: Service, start: datetime, end: datetime) -> Month:
    total = daemon.scheduler.reports.report(start, end, "project", end, most_rows=1).total
    return Month(
        start=start,
        end=end,
        energy_kwh=total.facility_energy_kwh,
        emissions_g=total.emissions_location_g,
        avoided_g=total.avoided_g,
        avoided_ratio=None if total.avoided_pct is None else total.avoided_pct / 100,
        uncertainty_g=total.avoided_uncertainty_g,
        compared_runs=total.avoided_runs,
        why=total.avoided_missing or "no run has ended this month",
    )
