"""What the books hold of a period, summed by the hour, as reports are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from greenrun.core.accounting.watched import BookedTime, Pending
from greenrun.core.carbon.intensity import Kind, SeriesId
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import Job, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What slices of one series and kind emitted, in g CO2e of facility energy; None where their energy is unknown."""

    series: SeriesId
    kind: Kind
    emissions_g: float | None
    lowest_g_per_kwh: float
    highest_g_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The slices of a device that began in one hour, were one run's (or nobody's), and are alike in all else told here.

    `energy_j` is None when it is unknown, `quality` then UNKNOWN. A price is None where the slices have none.
    `marginal_g` is what they emitted by a marginal signal beside the average, and `marginal_j` the energy of which that
    is known; `baseline_g` what they would have emitted had their jobs started as soon as they could, and `compared_g`
    what those for which that is booked did emit, settled.
    `seconds` are weighed by the slices' shares; of `busy_known_s` of them it is told how busy the device was: `busy_s`.
    `split_j` is how far `energy_j` may be off where gaps were split between holders.
    """

    run_id: int | None
    device: str
    component: Component
    quality: Quality
    hour: datetime
    seconds: float
    energy_j: float | None
    pue: float
    booked: Price | None
    settled: Price | None
    marginal_g: float | None = None
    marginal_j: float | None = None
    baseline_g: float | None = None
    compared_g: float | None = None
    busy_s: float = 0.0
    busy_known_s: float = 0.0
    split_j: float = 0.0

    @property
    def price(self) -> Price | None:
        """The best that is known: settled, else as booked."""
        return self.settled or self.booked


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Everything of `[start, end)`; a slice belongs to the period in which it begins, so that periods add up.

    `jobs` are those that held something in the period, and `runs` all of theirs. `compared` says of each run that ended
    or goes on why it is not compared with an earlier start; None where it is. `booked` has every device in the books of
    the period, a slice that reaches over its edge counting with the part inside.
    """

    start: datetime
    end: datetime
    parts: Sequence[Part]
    jobs: Sequence[Job]
    runs: Sequence[Run]
    compared: Mapping[int, str | None]
    booked: Sequence[BookedTime] = ()
    pending: Pending = field(default_factory=Pending)
