"""Make the report of a period from the ledger's books."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from pydantic_core import to_json

from greenrun import __version__
from greenrun.core.accounting.period import JobDetails, Period
from greenrun.core.accounting.usage import Usage, owner_labels, previous_period
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.energy.capping_effect import CappingEffect
from greenrun.core.energy.model import BOOKED, Device
from greenrun.reports.caveats import UNKNOWN, explanation
from greenrun.reports.completeness import in_flight, is_open
from greenrun.reports.cost_and_scope2 import Bases, cost
from greenrun.reports.emissions import by_series, forecast_comparison
from greenrun.reports.energy import IDLE_LEARNED_OVER
from greenrun.reports.exports.spreadsheet import written
from greenrun.reports.figure_models import CostFigures, combined
from greenrun.reports.formats import By
from greenrun.reports.identity import Hardware, Place
from greenrun.reports.model import HalfWidths, JobRow, Report, ReportBody, Row
from greenrun.reports.power_limits import power_limit_effect
from greenrun.reports.rows import grouped_rows as rows
from greenrun.reports.rows.job_rows import by_job, told
from greenrun.reports.rows.period_books import Books
from greenrun.reports.rows.reader import EVERYTHING, Reader
from greenrun.reports.timing import against_grid
from greenrun.reports.trends import gpu_hours, previous, trends
from greenrun.reports.uncertainty import Widths


class ReportArchive(Protocol):
    """What a report needs of the store."""

    def period(self, start: datetime, end: datetime) -> Period:
        """Return what the books hold of `[start, end)`."""

    def waits(self, start: datetime, end: datetime, *, settles: bool) -> bool:
        """Whether a run that began before the end goes on, or (`settles`) a slice of then waits for its price."""

    def usage(self, start: datetime, end: datetime) -> tuple[Sequence[Usage], Sequence[BookedTime]]:
        """Return what projects and users used, and for how much of `[start, end)` devices are in the books."""

    def measured(self, series: SeriesId, start: datetime, end: datetime) -> Series:
        """Return the measured intensities of a series that touch `[start, end)`."""

    def hourly_kwh(self, run_ids: Collection[int]) -> Mapping[datetime, float]:
        """Return the known facility energy of these runs together, by the hour in which it was used."""

    def idle_powers_w(self, since: datetime, until: datetime) -> Mapping[str, float]:
        """Return the median power of each GPU while nobody held it."""

    def job_details(self, job_ids: Sequence[int]) -> JobDetails:
        """Return what rows tell of these jobs, by id."""

    def effects_between(self, start: datetime, end: datetime) -> Sequence[CappingEffect]:
        """Return what lowered power limits did in the runs that ended in `[start, end)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What reports say of this host; `attributions` are what the sources' licences ask to be shown, by provider.

    `boamps` are fields of BoAmps that hold for every job that says nothing else. `config_hash` identifies the settings
    that determine figures. Where no source provides measured values, nothing ever `settles`.
    """

    zone: str | None = None
    pue: float = 1.0
    attributions: Mapping[str, str] = field(default_factory=dict)
    place: Place = field(default_factory=Place)
    widths: Widths = field(default_factory=Widths)
    boamps: Mapping[str, str] = field(default_factory=dict)
    bases: Bases = field(default_factory=Bases)
    config_hash: str | None = None
    settles: bool = True


class Reports:
    """Makes reports of what is in the books; `devices` returns the devices of this host as they are now."""

    def __init__(
        self, archive: ReportArchive, devices: Callable[[], Sequence[Device]], settings: ReportSettings
    ) -> None:
        self._archive = archive
        self._devices = devices
        self._settings = settings
        self.idle_w: Mapping[str, float] = {}

    def learn_idle(self, now: datetime) -> None:
        """Keep at hand what GPUs drew lately while nobody held them; raise StoreError."""
        self.idle_w = self._archive.idle_powers_w(now - IDLE_LEARNED_OVER, now)

    def report(
        self,
        start: datetime,
        end: datetime,
        by: By,
        now: datetime,
        reader: Reader = EVERYTHING,
        most_rows: int | None = None,
    ) -> Report:
        """Return the report of `[start, end)` with a row for each `by`, as its reader may see it; raise StoreError.

        Missing values are None; `data_quality` says why. With `most_rows`, it says how many more rows there are.
        """
        # Asked before the books are read: what settles in between is in no figure.
        waits = self.waits(start, end)
        books = replace(self._books(start, end, now), reader=reader)
        listed = rows.rows(books, by, most_rows)
        count = len(told(books)) if by == "job" else len(listed)
        body = self._body(books, by, listed[:most_rows], waits=waits, left_out=count - len(listed[:most_rows]))
        return self._explained(body, books)

    def json_by_job(
        self, start: datetime, end: datetime, now: datetime, reader: Reader = EVERYTHING
    ) -> Iterator[bytes]:
        """Return the same report by job as JSON, some rows at a time; raise StoreError before the first.

        Tens of thousands of rows and their text are never there at once.
        """
        body, books = self._by_job(start, end, now, reader)
        return self._written(body, books)

    def csv_by_job(self, start: datetime, end: datetime, now: datetime, reader: Reader = EVERYTHING) -> Iterator[bytes]:
        """Return the rows of the same report as CSV, some at a time; raise StoreError before the first."""
        body, books = self._by_job(start, end, now, reader)
        return written(body, by_job(books))

    def _by_job(self, start: datetime, end: datetime, now: datetime, reader: Reader) -> tuple[ReportBody, Books]:
        waits = self.waits(start, end)
        books = replace(self._books(start, end, now), reader=reader)
        return self._body(books, "job", [], waits=waits), books

    def _written(self, body: ReportBody, books: Books) -> Iterator[bytes]:
        telling: dict[str, JobRow] = {}  # for each field that is explained where it is null, a row where it is
        names = {field.alias or name: name for name, field in ReportBody.model_fields.items()}
        before, after = _around(body, "rows")
        last = before + b"["
        for some in by_job(books):
            for name in UNKNOWN.keys() - telling.keys():
                if (at := some.lacking(name)) is not None:
                    telling[name] = some.row(at)
            for rows_text in some.json():
                yield last
                last = rows_text
        yield last.removesuffix(b",")
        explained = self._explained(body.model_copy(update={"rows": list(telling.values())}), books)
        rest = explained.model_dump(mode="json", exclude=set(names.values()))
        yield b"]" + after[:-1] + b"," + to_json(rest)[1:]

    def _body(
        self, books: Books, by: By, listed: Sequence[JobRow] | Sequence[Row], *, waits: bool, left_out: int = 0
    ) -> ReportBody:
        settings, now, names_all = self._settings, books.now, books.reader.is_told_all
        known = books.completeness
        grid, hours = against_grid(books.period.parts, known.since, known.until, self._archive.measured)
        span = previous_period(books.period.start, books.period.end)
        used, booked = self._archive.usage(*span)
        total = rows.total(books)
        before = previous(span, used, booked, total, known)
        return ReportBody(
            greenrun_version=__version__,
            config_hash=settings.config_hash,
            generated_at=now,
            start=books.period.start,
            end=books.period.end,
            preliminary=waits or is_open(books.period, now),
            by=by,
            zone=settings.zone,
            host=settings.place.host,
            site=settings.place.site,
            organisation=settings.place.organisation,
            boundary=settings.place.boundary,
            total=total,
            unattributed=rows.unattributed(books),
            rows=listed,
            others=rows.of_others(books, by),
            rows_left_out=left_out,
            days=rows.days(books.period.parts),
            series=by_series(books.period.parts),
            waste=rows.by_outcome(books),
            completeness=books.completeness,
            in_flight=in_flight(books.period, now),
            against_grid=grid,
            hours_of_day=hours,
            by_project=trends(rows.rows(books, "project"), used, before, _project) if names_all else [],
            by_user=trends(rows.rows(books, "user"), used, before, _labelled(books)) if names_all else [],
            previous=before,
            instruments=books.rates.instruments(books.period.parts),
            gpu_hours=gpu_hours(books.period.parts, known, total.gpu_utilization_avg),
            power_limits=power_limit_effect(self._archive.effects_between(books.period.start, books.period.end)),
            forecast_against_settled=books.forecasts,
            uncertainty=_half_widths(settings.widths),
            boamps=dict(settings.boamps),
        )

    def _explained(self, body: ReportBody, books: Books) -> Report:
        settings = self._settings
        texts = explanation(body, _used(books), settings.pue, settings.attributions, books.rates)
        return combined(Report, body, texts)

    def waits(self, start: datetime, end: datetime) -> bool:
        """Whether figures of `[start, end)` can still change; raise StoreError."""
        return self._archive.waits(start, end, settles=self._settings.settles)

    def cost_of(self, run_ids: Sequence[int]) -> CostFigures:
        """Return the cost of what these runs used so far; raise StoreError."""
        bases = self._settings.bases
        used = self._archive.hourly_kwh(run_ids) if bases.price else {}
        return cost(used.items(), bases.prices(used), bases.currency)

    def _books(self, start: datetime, end: datetime, now: datetime) -> Books:
        period, hardware, settings = self._archive.period(start, end), self._hardware(end, now), self._settings
        return Books(
            period=period,
            hardware=hardware,
            now=now,
            details=self._archive.job_details,
            forecasts=forecast_comparison(period.parts),
            place=settings.place,
            zone=settings.zone,
            widths=settings.widths,
            rates=settings.bases.rates(period.parts.hours, hardware.devices),
        )

    def _hardware(self, end: datetime, now: datetime) -> Hardware:
        until = min(end, now)
        return Hardware(
            devices={device.id: device for device in self._devices()},
            idle_w=self._archive.idle_powers_w(until - IDLE_LEARNED_OVER, until),
        )


def _around(body: ReportBody, name: str) -> tuple[bytes, bytes]:
    """Return the JSON of a report before and after a list in it that is empty."""
    text, mark = to_json(body.document()), b'"%b":[]' % name.encode()
    before, _, after = text.partition(mark)
    return before + mark[:-2], after


def _project(used: Usage) -> str | None:
    return used.project


def _labelled(books: Books) -> Callable[[Usage], str | None]:
    """Return what calls an owner as the rows of these books do; None for whoever has none."""
    owners = books.period.jobs.owners
    labels = dict(zip(owners, owner_labels(owners), strict=True))
    return lambda used: labels.get(used.owner) if used.owner else None


def _used(books: Books) -> list[Device]:
    """Return the devices that have a part in the period, and those that are metered beside the books."""
    names = books.period.parts.devices
    devices = books.hardware.devices.items()
    used = [device for key, device in devices if key in names]
    return used + [device for _, device in devices if device.kind not in BOOKED]


def _half_widths(widths: Widths) -> HalfWidths:
    return HalfWidths(
        measured_ratio=widths.measured,
        rapl_ratio=widths.rapl,
        integrated_ratio=widths.integrated,
        sparse_ratio=widths.sparse,
        bridged_ratio=widths.bridged,
        estimated_ratio=widths.estimated,
        pue_absolute=widths.pue,
    )
