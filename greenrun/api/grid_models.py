"""The JSON that the API answers with of the grid, the devices and the books; units are in names."""

from pydantic import BaseModel

from greenrun.api.json_types import Instant, Number
from greenrun.core.carbon.intensity import Accounting, Basis, FallbackLevel, Kind, Signal
from greenrun.core.energy.model import Component, Quality


class SlotOut(BaseModel):
    """The mean intensity over `[start, end)`."""

    start: Instant
    end: Instant
    g_per_kwh: float
    kind: Kind


class ForecastOut(BaseModel):
    """What is gone by from now on; with rung `none` that is nothing, and the fields of a forecast are null.

    `zone` is null when the settings name none. `rung` is the fallback level that this stands on, and `why`
    says it in a sentence; `age_s` is how long ago the source said it, null below `stale`.
    """

    zone: str | None
    provider: str | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    issued_at: Instant | None = None
    fetched_at: Instant | None = None
    step_s: Number = None
    rung: FallbackLevel = FallbackLevel.NONE
    age_s: Number = None
    why: str | None = None
    slots: list[SlotOut] = []


class DeviceOut(BaseModel):
    """A device of this host, and who has it: a run of this daemon, or somebody outside it.

    `idle_power_w` is what a GPU draws while nobody holds it, learned of the last 28 days; null until that is known.
    """

    id: str
    index: int
    model: str
    kind: Component
    source: str
    emulated: bool
    memory_bytes: int | None
    leased_by_job: int | None
    leased_by_run: str | None
    held_elsewhere: str | None
    idle_power_w: float | None


class PricedOut(BaseModel):
    """An intensity and the grams that follow from it."""

    g_per_kwh: Number
    emissions_g: Number
    kind: Kind | None
    provider: str | None


class EntryOut(BaseModel):
    """A slice of energy in the books.

    Of a device that several runs use at once there is one for each, and one for nobody; their `share` adds up to 1.
    `busy_s` is for how many seconds of it a GPU did anything, null where that is not told.
    """

    id: int | None
    job: int | None
    run: int | None
    project: str | None
    device: str
    component: Component
    start: Instant
    end: Instant
    share: float
    busy_s: Number
    energy_j: Number
    quality: Quality
    pue: float
    booked: PricedOut
    settled: PricedOut | None
