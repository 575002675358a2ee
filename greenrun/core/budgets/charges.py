"""What is charged to budgets of what has run: sums of the ledger, and estimates in the place of what it does not know.

Energy is that of the devices, as reports have it; grams and money are the facility's, so they include the PUE. Grams
are by the average signal, settled where that is settled and else as booked; what a marginal signal priced counts as
not priced.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum
from typing import NamedTuple

from greenrun.core.budgets.budget import Measure
from greenrun.core.units import J_PER_KWH

ASSUMED_GPU_W, ASSUMED_CPU_W = 300.0, 50.0  # of a device whose power nobody knows; only budgets are charged by it
_G_PER_KG = 1000.0


class ChargedAccount(NamedTuple):
    """Whose jobs they are."""

    user: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedHour:
    """What the slices of one account add up to that began in one `hour` of UTC, and not before `start`; of one PUE.

    `grams` are those of what is priced and `unpriced_j` the energy of the rest. `unknown_gpu_s` and `unknown_cpu_s` are
    seconds of devices of which the energy is not known.
    """

    hour: datetime
    start: datetime
    account: ChargedAccount
    pue: float
    energy_j: float = 0.0
    grams: float = 0.0
    unpriced_j: float = 0.0
    unknown_gpu_s: float = 0.0
    unknown_cpu_s: float = 0.0


class Amount(NamedTuple):
    """So much of a measure, of which a part is `assumed`; `is_known`: nothing is missing in it."""

    value: float = 0.0
    assumed: float = 0.0
    is_known: bool = True


Amounts = Mapping[Measure, Amount]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What stands in for what the ledger does not know.

    `gpu_w` is the power of a GPU, `g_per_kwh` the intensity now, and `prices` the price of a kWh by hour.
    """

    gpu_w: float = ASSUMED_GPU_W
    g_per_kwh: float | None = None
    prices: Mapping[datetime, float | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Sums:
    energy_j: list[float] = field(default_factory=list)
    assumed_j: list[float] = field(default_factory=list)
    grams: list[float] = field(default_factory=list)
    priced_kwh: list[float] = field(default_factory=list)
    unpriced_kwh: list[float] = field(default_factory=list)
    money: list[float] = field(default_factory=list)
    paid_kwh: list[float] = field(default_factory=list)
    unpaid_kwh: list[float] = field(default_factory=list)

    def add(self, row: ChargedHour, estimates: Estimates) -> None:
        """Add an hour."""
        assumed_j = row.unknown_gpu_s * estimates.gpu_w + row.unknown_cpu_s * ASSUMED_CPU_W
        self.energy_j.append(row.energy_j)
        self.assumed_j.append(assumed_j)
        self.grams.append(row.grams)
        facility = row.pue / J_PER_KWH
        self.priced_kwh.append((row.energy_j - row.unpriced_j) * facility)
        self.unpriced_kwh.append((row.unpriced_j + assumed_j) * facility)
        price, kwh = estimates.prices.get(row.hour), row.energy_j * facility
        if price is None:
            self.unpaid_kwh.append(kwh + assumed_j * facility)
        else:
            self.money.append(kwh * price)
            self.paid_kwh.append(kwh)
            self.unpaid_kwh.append(assumed_j * facility)

    def amounts(self, estimates: Estimates) -> dict[Measure, Amount]:
        """Return the energy, emissions and cost."""
        assumed_kwh = fsum(self.assumed_j) / J_PER_KWH
        return {
            Measure.KWH: Amount(fsum(self.energy_j) / J_PER_KWH + assumed_kwh, assumed_kwh),
            Measure.KG_CO2E: _with_rest(
                fsum(self.grams) / _G_PER_KG, fsum(self.priced_kwh), fsum(self.unpriced_kwh),
                None if estimates.g_per_kwh is None else estimates.g_per_kwh / _G_PER_KG,
            ),
            Measure.MONEY: _with_rest(fsum(self.money), fsum(self.paid_kwh), fsum(self.unpaid_kwh), None),
        }  # fmt: skip


def charged(
    hours: Iterable[ChargedHour], estimates: Estimates, accounts: Iterable[ChargedAccount]
) -> dict[ChargedAccount, dict[Measure, Amount]]:
    """Return what these accounts are charged for these hours, but for GPU-hours; nothing for one without energy."""
    sums: defaultdict[ChargedAccount, _Sums] = defaultdict(_Sums)
    for row in hours:
        sums[row.account].add(row, estimates)
    return {account: sums[account].amounts(estimates) if account in sums else {} for account in accounts}


def total(parts: Sequence[Amounts], measure: Measure) -> Amount:
    """Return the sum of amounts of a measure; one that is not there is nothing."""
    rows = [part[measure] for part in parts if measure in part]
    return Amount(fsum(row.value for row in rows), fsum(row.assumed for row in rows), all(row.is_known for row in rows))


def _with_rest(known: float, known_kwh: float, rest_kwh: float, rate: float | None) -> Amount:
    """Return what is known with the rest at its mean rate, else at `rate`; not known where there is neither."""
    if rest_kwh <= 1e-12 * max(known_kwh, 1.0):
        return Amount(known)
    mean = known / known_kwh if known_kwh > 0 else rate
    if mean is None:
        return Amount(known, 0.0, is_known=False)
    return Amount(known + rest_kwh * mean, rest_kwh * mean)
