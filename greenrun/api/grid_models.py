"""The JSON of the grid, its history and the ledger, in requests and responses; names end in units."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AliasPath, AwareDatetime, BeforeValidator, Field, model_validator

from greenrun.api.json_types import (
    IntervalOut,
    Number,
    RequestModel,
    ResponseInstant,
    ResponseModel,
    Seconds,
    attributes,
)
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.carbon.intensity import Accounting, Basis, FallbackLevel, Kind, Signal
from greenrun.core.energy.ledger import Entry
from greenrun.core.energy.model import Component, Quality
from greenrun.core.units import ABSURD_G_PER_KWH
from greenrun.grid.forecast_quality import SeriesScores
from greenrun.grid.sources import Role

MOST_VALUES = 10_000  # of one request, so that what it writes keeps nobody else from writing for long
FIRST_YEAR, LAST_YEAR = 1990, 2200


class SlotOut(ResponseModel):
    """The mean intensity over `[start, end)`."""

    start: ResponseInstant
    end: ResponseInstant
    g_per_kwh: float = Field(validation_alias="intensity_g_per_kwh")
    kind: Kind


class ForecastOut(ResponseModel):
    """The active forecast from now on; with rung `none` there is none, and the fields of a forecast are null.

    `zone` is null when the settings name none. `rung` is its fallback level, and `why` says it in
    a sentence; `age_s` is how long ago the source issued it, null below `stale`.
    """

    zone: str | None
    provider: str | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    issued_at: ResponseInstant | None = None
    fetched_at: ResponseInstant | None = None
    step_s: Seconds | None = None
    rung: FallbackLevel
    age_s: Seconds | None = None
    why: str | None = None
    slots: list[SlotOut] = Field(default_factory=list)


def _provider_of(series: Any) -> Any:
    """Return the provider of a series' identity; what is none (null, or a name already) as it is."""
    return getattr(series, "provider", series)


class PricedOut(ResponseModel):
    """An intensity and the grams that follow from it."""

    g_per_kwh: Number = Field(validation_alias="intensity_g_per_kwh")
    emissions_g: Number
    kind: Kind | None
    provider: Annotated[str | None, BeforeValidator(_provider_of)] = Field(validation_alias="series")


class EntryOut(ResponseModel):
    """A slice of energy in the books.

    Of a device that several runs use at once there is one for each, and one for nobody; their `share` adds up to 1.
    `busy_s` is for how many seconds of it a GPU was busy, null where that is not known.
    """

    id: int | None
    job: int | None = Field(validation_alias="job_id")
    run: int | None = Field(validation_alias="run_id")
    project: str | None
    device: str
    component: Component
    start: ResponseInstant
    end: ResponseInstant
    share: float
    busy_s: Number
    energy_j: Number
    quality: Quality
    pue: float
    booked: PricedOut
    settled: PricedOut | None


class LeadOut(ResponseModel):
    """How forecasts turned out between `from_h` and `to_h` hours ahead; what is null has its reason in `missing`.

    `bias_g_per_kwh` is forecast minus measured; `rank_correlation` is of the hours of one forecast with one another,
    and the mean over forecasts; `captured_ratio` is what choosing the cleanest 4 h in 24 h by them saved, of what was
    to be saved, both against the first 4 h.
    """

    from_h: int = Field(validation_alias=AliasPath("lead_h", 0))
    to_h: int = Field(validation_alias=AliasPath("lead_h", 1))
    issues: int
    hours: int
    mean_absolute_error_g_per_kwh: Number
    bias_g_per_kwh: Number
    rank_correlation: Number
    captured_ratio: Number
    missing: dict[str, str]


class SeriesQualityOut(ResponseModel):
    """How good the forecasts of one series were: by lead time, and over the day ahead."""

    zone: str
    provider: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None
    leads: list[LeadOut]


class ForecastQualityOut(ResponseModel):
    """How good forecasts were over the last eight weeks; judged hourly, `judged_at` is null before the first time."""

    zone: str | None
    judged_at: ResponseInstant | None
    series: list[SeriesQualityOut]


class AskedOut(ResponseModel):
    """What came of asking a source since the daemon's start."""

    requests: int
    failures: dict[str, int]
    dropped: dict[str, int]
    quota_left: int | None


def _reach(name: str) -> Any:
    return Field(None, validation_alias=AliasPath("reach", name))


class ProviderOut(ResponseModel):
    """A configured source; null where it is not known. `key_problem` says why its key cannot be read.

    `package` is what declares its kind, "greenrun" or an installed package, and `problem` says why that cannot be used.

    `forecast_at` is when its forecast of the daemon's zone was last found to hold, `measured_at` the same of the values
    that it measured.
    """

    name: str
    kind: str
    role: Role
    label: str
    attribution: str
    zones: Annotated[list[str], BeforeValidator(sorted)]
    needs_key: bool
    key_problem: str | None
    package: str
    problem: str | None
    forecast_at: ResponseInstant | None = _reach("forecast_at")
    forecast_issued_at: ResponseInstant | None = _reach("forecast_issued_at")
    forecast_end: ResponseInstant | None = _reach("forecast_end")
    measured_from: ResponseInstant | None = _reach("measured_from")
    measured_until: ResponseInstant | None = _reach("measured_until")
    measured_at: ResponseInstant | None = _reach("measured_at")
    asked: AskedOut | None = None


def _believable(at: datetime) -> datetime:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return at.astimezone(UTC)


PastInstant = Annotated[AwareDatetime, AfterValidator(_believable)]
Value = Annotated[float, Field(ge=0, le=ABSURD_G_PER_KWH, allow_inf_nan=False)]
StepS = Annotated[float, Field(ge=1, le=31 * 86_400)]
Zone = Annotated[str, Field(min_length=1, max_length=100)]


class PartIn(RequestModel):
    """The starts of slots with their values in g/kWh; with `issued_at` they are a forecast, else they were measured.

    `steps_s` tells how many seconds long each of them is, where that differs; else all are `step_s` of the import.
    """

    issued_at: PastInstant | None = None
    slots: Annotated[list[tuple[PastInstant, Value]], Field(min_length=1, max_length=MOST_VALUES)]
    steps_s: list[StepS] | None = None

    @model_validator(mode="after")
    def _has_a_step_for_each(self) -> "PartIn":
        if self.steps_s is not None and len(self.steps_s) != len(self.slots):
            raise ValueError(f"has {len(self.slots)} slots and {len(self.steps_s)} steps_s: give one for each, or none")
        return self


class ImportIn(RequestModel):
    """Values of the past and whose they are; what is null is taken from what is known of `provider`, and of the host.

    Slots are `step_s` seconds long, unless their part says otherwise.
    """

    provider: str
    zone: Zone | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    step_s: StepS
    parts: Annotated[list[PartIn], Field(min_length=1, max_length=MOST_VALUES)]

    @model_validator(mode="after")
    def _has_few(self) -> "ImportIn":
        if sum(len(part.slots) for part in self.parts) > MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values: send them in parts")
        return self


class FetchIn(RequestModel):
    """Which interval to ask for, its last week at once; by default of the host's zone and of its history's sources."""

    start: Annotated[PastInstant, Field(alias="from")]
    end: Annotated[PastInstant, Field(alias="to")]
    zone: Zone | None = None
    provider: str | None = None


class SeriesOut(ResponseModel):
    """Where values come from; series that differ in any part are never mixed."""

    provider: str
    zone: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None


class ImportOut(ResponseModel):
    """What became of an import: `new` of `given` values, or issued forecasts, were not known before.

    `is_used` says whether the daemon learns from this series now. `dropped` counts values that cannot be intensities by
    cause, `zeros` those of 0 g/kWh that were kept; `doubt` says why they may be of another unit.
    """

    series: SeriesOut
    given: int
    new: int
    is_used: bool
    zeros: int
    dropped: dict[str, int]
    doubt: str | None


class FailureOut(ResponseModel):
    """Why a source did not answer, whether asking again is of no use, and when it may be asked, where it said so."""

    provider: str
    is_final: bool
    message: str
    retry_after_s: float | None


class FetchOut(ResponseModel):
    """The answer for `[start, end)`, the last week of the interval: `new` of `given` values were not known before.

    To have what lies before it ask again, up to `start`. `series` is null where nobody answered.
    """

    start: ResponseInstant
    end: ResponseInstant
    series: SeriesOut | None
    given: int
    new: int
    holes: list[IntervalOut]
    failures: list[FailureOut]


def forecast_out(zone: str | None, active: ActiveForecast, now: datetime, until: datetime) -> ForecastOut:
    """Return the active forecast at `now`, with the slots that touch `[now, until)`."""
    fields: dict[str, Any] = {"zone": zone, "rung": active.fallback_level, "why": active.why}
    if active.forecast is not None:
        series = active.forecast.series
        fields |= {**attributes(series.id), "step_s": series.step, "age_s": active.age(now)}
        fields |= {"issued_at": active.forecast.issued_at, "fetched_at": active.forecast.fetched_at}
        fields |= {"slots": [slot for slot in series if slot.end > now and slot.start < until]}
    return ForecastOut.model_validate(fields)


def entry_out(entry: Entry, *, is_told: bool) -> EntryOut:
    """Return a slice of energy as it is in the books, with whose it is where that `is_told`."""
    out = EntryOut.model_validate({**attributes(entry.slice), **attributes(entry)})
    return out if is_told else out.model_copy(update={"job": None, "run": None, "project": None})


def quality_out(judged: SeriesScores) -> SeriesQualityOut:
    """Return how good the forecasts of a series were."""
    return SeriesQualityOut.model_validate({**attributes(judged.series), "leads": list(judged.leads)})
