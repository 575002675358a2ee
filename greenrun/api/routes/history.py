"""The routes that add to what is known of the past; they belong to whom the daemon belongs to."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from greenrun.api.identity import Caller, require_operator
from greenrun.api.json_types import Instant, IntervalOut, RequestModel, ResponseModel
from greenrun.api.service import Daemon
from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.core.units import ABSURD_G_PER_KWH
from greenrun.grid.backfill import ImportedBlock, StatedSeries

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


class PartIn(RequestModel):
    """The starts of slots with their values in g/kWh; with `issued_at` they are a forecast, else they were measured."""

    issued_at: Moment | None = None
    slots: Annotated[list[tuple[Moment, Value]], Field(min_length=1, max_length=MOST_VALUES)]


class ImportIn(RequestModel):
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


class FetchIn(RequestModel):
    """Which interval to ask for, its last week at once; by default of the host's zone and of its history's sources."""

    start: Annotated[Moment, Field(alias="from")]
    end: Annotated[Moment, Field(alias="to")]
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

    `is_used` says whether the daemon learns from this series now.
    """

    series: SeriesOut
    given: int
    new: int
    is_used: bool


class FailureOut(ResponseModel):
    """Why a source did not answer, whether asking again is of no use, and when it may be asked, where it said so."""

    provider: str
    is_final: bool
    message: str
    retry_after_s: float | None


class FetchOut(ResponseModel):
    """What was told of `[start, end)`, the last week of the interval: `new` of `given` values were not known.

    To have what lies before it ask again, up to `start`. `series` is null where nobody answered.
    """

    start: Instant
    end: Instant
    series: SeriesOut | None
    given: int
    new: int
    holes: list[IntervalOut]
    failures: list[FailureOut]


@router.post("/import")
def post_import(body: ImportIn, daemon: Daemon, caller: Caller) -> ImportOut:
    """Keep values of the past, all or none; what is known already changes nothing."""
    require_operator(caller, "add to what this daemon knows of the past")
    stated = StatedSeries(**body.model_dump(include={field.name for field in fields(StatedSeries)}))
    step = timedelta(seconds=body.step_s)
    parts = [ImportedBlock(rows=row.slots, step=step, issued_at=row.issued_at) for row in body.parts]
    done = daemon.scheduler.backfill.import_parts(stated, parts, daemon.now())
    return ImportOut.model_validate(done)


@router.post("/fetch")
def post_fetch(body: FetchIn, daemon: Daemon, caller: Caller) -> FetchOut:
    """Ask a source for the last week of an interval, and keep it. It may take minutes and counts against its limits."""
    require_operator(caller, "have this daemon's sources asked")
    done = daemon.scheduler.backfill.fetch(body.zone, body.provider, body.start, body.end, daemon.now())
    return FetchOut.model_validate(done)
