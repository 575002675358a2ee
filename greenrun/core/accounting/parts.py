"""The energy of a period as columns: tens of thousands of sums cost what one of them costs.

A value that is not known is NaN in a column, and None wherever it leaves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from greenrun.core.accounting.grouping import Truths
from greenrun.core.carbon.intensity import Floats, Kind, SeriesId
from greenrun.core.energy.model import Component, Quality

Integers = npt.NDArray[np.int64]
SmallIntegers = npt.NDArray[np.int16]

COMPONENTS, QUALITIES, KINDS = tuple(Component), tuple(Quality), tuple(Kind)
NOBODY = 0  # where a column of run ids has None; ids begin at 1
NO_SERIES = -1
HOUR_S = 3600


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Parts as columns of equal length.

    `device`, `component`, `quality`, series and kinds are positions in `devices`, COMPONENTS, QUALITIES, `series` and
    KINDS; `hour` counts from 1970. `lowest` and `highest` are the intensities of the best price. The last five are what
    `rated` adds: costs, and grams and energies by contracts, whose `source` is one of `sources`.
    """

    devices: Sequence[str]
    series: Sequence[SeriesId]
    run_id: Integers
    device: npt.NDArray[np.int32]
    component: npt.NDArray[np.int8]
    quality: npt.NDArray[np.int8]
    hour: npt.NDArray[np.int32]
    pue: Floats
    booked: npt.NDArray[np.int16]
    booked_kind: npt.NDArray[np.int8]
    settled: npt.NDArray[np.int16]
    settled_kind: npt.NDArray[np.int8]
    seconds: Floats
    energy_j: Floats
    busy_s: Floats
    busy_known_s: Floats
    split_j: Floats
    booked_g: Floats
    settled_g: Floats
    lowest: Floats
    highest: Floats
    marginal_g: Floats
    marginal_j: Floats
    baseline_g: Floats
    compared_g: Floats
    sources: Sequence[tuple[str, ...]] = ((),)
    cost: Floats = field(default_factory=lambda: np.zeros(0))
    covered_j: Floats = field(default_factory=lambda: np.zeros(0))
    uncovered_j: Floats = field(default_factory=lambda: np.zeros(0))
    market_g: Floats = field(default_factory=lambda: np.zeros(0))
    source: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))

    def __len__(self) -> int:
        return len(self.run_id)

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "Parts":
        """Return these values as columns."""
        devices = list(dict.fromkeys(part.device for part in parts))
        prices = [price for part in parts for price in (part.booked, part.settled) if price is not None]
        series = list(dict.fromkeys(price.series for price in prices))
        rows = [_columns_of(part, devices, series) for part in parts]
        columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
        return _made(devices, series, arrays(columns))

    def taken(self, which: npt.NDArray[Any]) -> "Parts":
        """Return those at these positions, or where this is true, in that order."""
        columns = ((name, getattr(self, name)) for name in (*COLUMNS, *RATED))
        return replace(self, **{name: column[which] if len(column) else column for name, column in columns})

    @cached_property
    def is_known(self) -> Truths:
        """Where the energy is known."""
        return ~np.isnan(self.energy_j)

    @cached_property
    def is_held(self) -> Truths:
        """Where a run held the device."""
        return np.asarray(self.run_id != NOBODY)

    @property
    def facility_j(self) -> Floats:
        """The energy with the facility's overhead; of a year that is soon made, and would take much room if kept."""
        return self.energy_j * self.pue

    @cached_property
    def priced_by(self) -> npt.NDArray[np.int16]:
        """The series of the best price: settled, else as booked."""
        return np.where(self.settled == NO_SERIES, self.booked, self.settled)

    @cached_property
    def kind(self) -> npt.NDArray[np.int8]:
        """The kind of intensity of the best price, where there is one."""
        return np.where(self.settled == NO_SERIES, self.booked_kind, self.settled_kind)

    @property
    def priced_g(self) -> Floats:
        """The grams of the best price."""
        return np.where(self.settled == NO_SERIES, self.booked_g, self.settled_g)

    def of_component(self, component: Component) -> Truths:
        """Return where the device is one of this kind."""
        return np.asarray(self.component == COMPONENTS.index(component))

    def of_quality(self, *qualities: Quality) -> Truths:
        """Return where the energy is of one of these grades."""
        wanted = [QUALITIES.index(quality) for quality in qualities]
        return np.asarray(np.isin(self.quality, wanted), dtype=np.bool_)

    def on_devices(self, names: Iterable[str]) -> Truths:
        """Return where the device is one of these."""
        wanted = set(names)
        return np.asarray(self.by_device(lambda name: name in wanted, np.bool_)[self.device])

    def by_device(self, value: Callable[[str], Any], kind: Any = np.float64) -> npt.NDArray[Any]:
        """Return a value for each of `devices`."""
        return np.array([value(name) for name in self.devices], dtype=kind)

    def is_priced(self, prices: npt.NDArray[Any], wanted: Callable[[SeriesId], bool] = lambda each: True) -> Truths:
        """Return where these prices (a column of series) are by a series that is wanted."""
        truths = np.array([*map(wanted, self.series), False], dtype=np.bool_)
        return np.asarray(truths[prices])

    @cached_property
    def hours(self) -> Integers:
        """The hours in which there are any, in order, counted from 1970."""
        return np.unique(self.hour).astype(np.int64)


RATED = ("cost", "covered_j", "uncovered_j", "market_g", "source")
COLUMNS = tuple(each.name for each in fields(Parts) if each.name not in ("devices", "series", "sources", *RATED))
_TYPES: dict[str, Any] = {
    "run_id": np.int64, "device": np.int32, "component": np.int8, "quality": np.int8, "hour": np.int32,
    "booked": np.int16, "booked_kind": np.int8, "settled": np.int16, "settled_kind": np.int8,
}  # fmt: skip


def arrays(columns: Iterable[Sequence[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return columns in the order of COLUMNS as arrays by their names; None becomes NaN."""
    named = zip(COLUMNS, columns, strict=True)
    return {name: np.array(column, dtype=_TYPES.get(name, np.float64)) for name, column in named}


def empty(room: int) -> dict[str, npt.NDArray[Any]]:
    """Return columns with room for so many parts."""
    return {name: np.empty(room, dtype=_TYPES.get(name, np.float64)) for name in COLUMNS}


def filled(
    columns: dict[str, npt.NDArray[Any]], length: int, devices: Sequence[str], series: Sequence[SeriesId]
) -> Parts:
    """Return the parts that columns hold up to a length; what is the same in all of them is there once.

    The columns are empty after that.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    while columns:
        name, column = columns.popitem()
        found[name] = _thin(column[:length])
    if np.array_equal(found["lowest"], found["highest"], equal_nan=True):
        found["highest"] = found["lowest"]
    return _made(devices, series, found)


def _thin(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a column as a view of one value, where it has no other."""
    first = column[:1]
    is_same = len(column) > 1 and np.array_equal(column, np.broadcast_to(first, column.shape), equal_nan=True)
    return np.broadcast_to(first.copy(), column.shape) if is_same else column


def _made(devices: Sequence[str], series: Sequence[SeriesId], columns: dict[str, Any]) -> Parts:
    return Parts(devices=devices, series=series, **columns)


def hour_of(number: int) -> datetime:
    """Return the start of an hour that is counted from 1970."""
    return datetime.fromtimestamp(number * HOUR_S, UTC)


def _columns_of(part: Part, devices: Sequence[str], series: Sequence[SeriesId]) -> tuple[Any, ...]:
    best = part.price
    return (
        part.run_id or NOBODY,
        devices.index(part.device),
        COMPONENTS.index(part.component),
        QUALITIES.index(part.quality),
        int(part.hour.timestamp()) // HOUR_S,
        part.pue,
        *_price_keys(part.booked, series),
        *_price_keys(part.settled, series),
        part.seconds,
        part.energy_j,
        part.busy_s,
        part.busy_known_s,
        part.split_j,
        part.booked and part.booked.emissions_g,
        part.settled and part.settled.emissions_g,
        best and best.lowest_g_per_kwh,
        best and best.highest_g_per_kwh,
        part.marginal_g,
        part.marginal_j,
        part.baseline_g,
        part.compared_g,
    )


def _price_keys(price: Price | None, series: Sequence[SeriesId]) -> tuple[int, int]:
    return (NO_SERIES, 0) if price is None else (series.index(price.series), KINDS.index(price.kind))
