"""The routes that add to what is known of the past; they belong to whom the daemon belongs to."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from greenrun.api.identity import Caller, require_operator
from greenrun.api.json_types import Instant
from greenrun.api.service import Daemon
from greenrun.core.carbon.intensity import Accounting, Basis, SeriesId, Signal
from greenrun.core.units import ABSURD_G_PER_KWH
from greenrun.grid.backfill import FetchFailure, ImportedBlock, StatedSeries

MOST_VALUES = 10_000  # of one request, so that what it writes keeps nobody else from writing for long
FIRST_YEAR, LAST_YEAR = 1990, 2200

router = APIRouter(prefix="/v1/history", tags=["history"])


def _believable(at: datetime) -> datetime:
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return at.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_believable)]
Value = Annotated[float, Field(ge=0, le=ABSURD_G_PER_KWH, allow_inf_nan=False)]
Zone = Annotated[str, Field(min_length=1, max_length=100)]


class Stating(BaseModel):
    """A body in which every key must be known."""

    model_config = ConfigDict(extra="forbid")


class PartIn(Stating):
    """The starts of slots with their values in g/kWh; with `issued_at` they are a forecast, else they were measured."""

    issued_at: Moment | None = None
    slots: Annotated[list[tuple[Moment, Value]], Field(min_length=1, max_length=MOST_VALUES)]


class ImportIn(Stating):
    """Values of the past and whose they are; what is null is taken from what is known of `provider`, and of the host.

    Slots are `step_s` seconds long.
    """

    provider: str
    zone: Zone | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    step_s: Annotated[float, Field(ge=1, le=31 * 86_400)]
    parts: Annotated[list[PartIn], Field(min_length=1, max_length=MOST_VALUES)]

    @model_validator(mode="after")
    def _has_few(self) -> "ImportIn":
        if sum(len(part.slots) for part in self.parts) > MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values: send them in parts")
        return self


class FetchIn(Stating):
    """Which interval to ask for, its last week at once; by default of the host's zone and of its history's sources."""

    start: Annotated[Moment, Field(alias="from")]
    end: Annotated[Moment, Field(alias="to")]
    zone: Zone | None = None
    provider: str | None = None


class SeriesOut(BaseModel):
    """Where values come from; series that differ in any part are never mixed."""

    provider: str
    zone: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None


class ImportOut(BaseModel):
    """What became of an import: `new` of `given` values, or issued forecasts, were not known before.

    `is_used` says whether the daemon learns from this series now.
    """

    series: SeriesOut
    given: int
    new: int
    is_used: bool


class GapOut(BaseModel):
    """An interval of which nothing is known by the source."""

    start: Instant
    end: Instant


class FailureOut(BaseModel):
    """Why a source did not answer, whether asking again is of no use, and when it may be asked, where it said so."""

    provider: str
    is_final: bool
    message: str
    retry_after_s: float | None


class FetchOut(BaseModel):
    """What was told of `[start, end)`, the last week of the interval: `new` of `given` values were not known.

    To have what lies before it ask again, up to `start`. `series` is null where nobody answered.
    """

    start: Instant
    end: Instant
    series: SeriesOut | None
    given: int
    new: int
    holes: list[GapOut]
    failures: list[FailureOut]


@router.post("/import")
def post_import(body: ImportIn, daemon: Daemon, caller: Caller) -> ImportOut:
    """Keep values of the past, all or none; what is known already changes nothing."""
    require_operator(caller, "add to what this daemon knows of the past")
    stated = StatedSeries(
        provider=body.provider, zone=body.zone, signal=body.signal, accounting=body.accounting, basis=body.basis
    )
    step = timedelta(seconds=body.step_s)
    parts = [ImportedBlock(rows=row.slots, step=step, issued_at=row.issued_at) for row in body.parts]
    done = daemon.scheduler.backfill.import_parts(stated, parts, daemon.now())
    return ImportOut(series=_series_view(done.series), given=done.given, new=done.new, is_used=done.is_used)


@router.post("/fetch")
def post_fetch(body: FetchIn, daemon: Daemon, caller: Caller) -> FetchOut:
    """Ask a source for the last week of an interval, and keep it. It may take minutes and counts against its limits."""
    require_operator(caller, "have this daemon's sources asked")
    done = daemon.scheduler.backfill.fetch(body.zone, body.provider, body.start, body.end, daemon.now())
    return FetchOut(
        start=done.start,
        end=done.end,
        series=_series_view(done.series) if done.series else None,
        given=done.given,
        new=done.new,
        holes=[GapOut(start=start, end=end) for start, end in done.holes],
        failures=[_failure_view(failure) for failure in done.failures],
    )


def _series_view(series: SeriesId) -> SeriesOut:
    return SeriesOut.model_validate(series, from_attributes=True)


def _failure_view(failure: FetchFailure) -> FailureOut:
    return FailureOut.model_validate(failure, from_attributes=True)
