"""Weigh a provider's forecast against what greenrun has measured itself, hour by hour ahead.

Everything is a departure from the normal of the hour (its climatology). There are two: the provider's, freed of its
usual error at that time of day, and greenrun's own guess, which is that the departure measured last dies away. A weight
for each lead time says how much the provider's counts.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from greenrun.core.carbon.climatology import Climatology
from greenrun.core.carbon.intensity import Floats, Series

EVEN = 0.5  # what a provider counts until its forecasts are known: as much as what was measured
LEADS_H = (3.0, 9.0, 18.0, 36.0)  # the middles of 0-6, 6-12, 12-24 and 24-48 hours ahead
RECENT_S = 3_600.0  # the departure measured last is that of the last hour
PERSISTENCE_S = 24 * 3_600.0  # in which a departure falls to 1/e; 12 to 48 h did alike in benchmarks/forecasts.py
TRUSTED_DAYS = 7.0  # what was learned of fewer days counts so much less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What the past taught of one provider's forecasts: how much they count at each of `LEADS_H`, and how they err.

    `errors` holds, slot by slot, measured minus forecast in g/kWh (so its values may be negative); None: nothing known.
    """

    weights: tuple[float, ...] = (EVEN,) * len(LEADS_H)
    errors: Series | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredPast:
    """What had been measured at an instant, seen as normals and departures from them. Build with `MeasuredPast.of`."""

    normal: Climatology | None
    error: Climatology | None
    departure_g_per_kwh: float = 0.0

    @classmethod
    def of(cls, measured: Series | None, calibration: Calibration, now: datetime, days: int) -> "MeasuredPast":
        """Learn from what was over at `now`, and from nothing later."""
        normal = Climatology.of(measured, now, days) if measured is not None else None
        error = Climatology.of(calibration.errors, now, days) if calibration.errors is not None else None
        return cls(normal=normal, error=error, departure_g_per_kwh=_last_departure(normal) if normal else 0.0)

    def paths(self, starts_s: Floats, step_s: float, told: Floats) -> "Departures":
        """See the slots that begin at `starts_s` in this light; `told` is the forecast of each, NaN where silent."""
        normal, days = self.normal.expect(starts_s, step_s) if self.normal else _nothing(starts_s)
        error, error_days = self.error.expect(starts_s, step_s) if self.error else _nothing(starts_s)
        corrected = told + np.nan_to_num(error) * _trust(error_days)
        since_s = starts_s - (self.normal.known_until_s - RECENT_S) if self.normal else np.zeros(len(starts_s))
        own = self.departure_g_per_kwh * np.exp(-np.maximum(since_s, 0.0) / PERSISTENCE_S)
        return Departures(told=told, normal=normal, provider=corrected - normal, own=own, trust=_trust(days))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Departures:
    """Slots as seen by provider and greenrun, in g/kWh, each shape (n,): `provider` and `own` depart from `normal`.

    `normal` is NaN where nothing is known of the hour, `provider` where the provider is silent too; `trust` is 0-1.
    """

    told: Floats
    normal: Floats
    provider: Floats
    own: Floats
    trust: Floats

    def departures(self, weights: Floats) -> Floats:
        """Return the blended departure of each slot, NaN where the normal or the forecast is unknown."""
        share = 1 - (1 - weights) * self.trust
        return share * self.provider + (1 - share) * self.own


def weights_at(lead_s: Floats, weights: tuple[float, ...]) -> Floats:
    """Return the provider's weight for leads in seconds, linear between `LEADS_H` and even beyond."""
    return np.interp(lead_s / 3_600.0, LEADS_H, weights)


def _last_departure(normal: Climatology) -> float:
    """How the last hour measured departs from its normal, in g/kWh; 0 where it has a hole."""
    step_s = max(RECENT_S, normal.last_s)
    at_s = np.array([normal.known_until_s - step_s])
    departure = normal.series.means(at_s, step_s) - normal.expect(at_s, step_s)[0]
    return float(np.nan_to_num(departure[0]))


def _nothing(starts_s: Floats) -> tuple[Floats, Floats]:
    return np.full(len(starts_s), np.nan), np.zeros(len(starts_s))


def _trust(days: Floats) -> Floats:
    return np.minimum(1.0, days / TRUSTED_DAYS)
