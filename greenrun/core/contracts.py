"""What electricity emits by the contracts that it is bought under: the market-based method of GHG Protocol Scope 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import fsum

from greenrun.core.steps import Steps

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A contract (a PPA, cancelled certificates, a supplier's own mix) and the g CO2e/kWh that it tells, over time.

    It covers `share` of all the energy used meanwhile, from 0 to 1.
    """

    source: str
    factors: Steps
    share: float = 1.0


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
        covers = [(row, row.share * row.factors.covered(start, end)) for row in self.rows]
        told = [(row, covered) for row, covered in covers if covered > 0]
        return Matched(
            covered=fsum(covered for _, covered in told),
            g_per_kwh=fsum(row.share * _mean_of_all(row.factors, start, end) for row, _ in told),
            sources=tuple(row.source for row, _ in told),
        )


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


def _mean_of_all(factors: Steps, start: datetime, end: datetime) -> float:
    """Return the integral over what is covered, by the length of the whole interval."""
    return factors.integral(start, end) / (end - start).total_seconds()
