"""What electricity emits by the contracts that it is bought under: the market-based method of GHG Protocol Scope 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum

import numpy as np

from greenrun.core.accounting.step_function import Steps

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A contract (a PPA, cancelled certificates, a supplier's own mix) and the g CO2e/kWh that it tells, over time.

    It covers `share` of all the energy used meanwhile, from 0 to 1. `instrument` is what kind of contract it is.
    """

    source: str
    factors: Steps
    share: float = 1.0
    instrument: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What contracts say of an interval: the ratio of its energy that they cover, and their g per kWh of all of it."""

    covered: float
    g_per_kwh: float
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """All contracts; energy that none covers has the residual mix's g/kWh, or (None) no market-based figure."""

    rows: Sequence[Contract] = ()
    residual_g_per_kwh: float | None = None

    def matched(self, start: datetime, end: datetime) -> Matched:
        """Return what the contracts say of `[start, end)`, taking its energy to be used evenly."""
        return self.matched_each([start], end - start)[0]

    def each(self) -> "list[Contracts]":
        """Return each contract alone, without a residual mix."""
        return [Contracts(rows=[row]) for row in self.rows]

    def matched_each(self, starts: Sequence[datetime], length: timedelta) -> list[Matched]:
        """Return the same of many intervals of one length at once: a file may have every hour of years."""
        starts_s, length_s = np.array([start.timestamp() for start in starts]), length.total_seconds()
        told: list[list[tuple[int, float, float]]] = [[] for _ in starts]
        for at, row in enumerate(self.rows):
            integrals, covered_s = row.factors.sums(starts_s, starts_s + length_s)
            for found, value, seconds in zip(told, integrals.tolist(), covered_s.tolist(), strict=True):
                if seconds > 0:
                    found.append((at, row.share * min(1.0, seconds / length_s), row.share * value / length_s))
        made = {}  # most hours are alike
        for found in told:
            if (key := tuple(found)) not in made:
                made[key] = Matched(
                    covered=fsum(covered for _, covered, _ in found),
                    g_per_kwh=fsum(g_per_kwh for _, _, g_per_kwh in found),
                    sources=tuple(self.rows[at].source for at, _, _ in found),
                )
        return [made[tuple(found)] for found in told]


def sold_twice(rows: Sequence[Contract]) -> datetime | None:
    """Return the first instant at which contracts cover more than all of the energy; None when there is none."""
    edges = sorted({edge for row in rows for edge in row.factors.starts_s.tolist()})
    for edge_s in edges:
        at = datetime.fromtimestamp(edge_s, UTC)
        shares = [row.share for row in rows if _holds(row.factors, edge_s)]
        if fsum(shares) > 1 + ROUNDING:
            return at
    return None


def _holds(factors: Steps, at_s: float) -> bool:
    return bool(((factors.starts_s <= at_s) & (factors.ends_s > at_s)).any())
