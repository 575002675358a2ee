"""Add past values to the store: imported from a file, or fetched from a source again."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId, Signal, Slot
from greenrun.core.carbon.plausibility import believable, is_garbage, unit_doubt
from greenrun.core.errors import InputProblem, InvalidInput, ProviderError, ProviderRefused, ProviderUnavailable
from greenrun.core.formatting import exact_duration_text
from greenrun.core.reference.zones import is_zone, nearest_zone
from greenrun.engine.polling import RequestCounts
from greenrun.grid.sources import KnownSeries, OpenProviders
from greenrun.providers import Provider, at_source
from greenrun.providers.settings import FileSettings, ProviderSettings
from greenrun.providers.static import usual_g_per_kwh

MOST_AT_ONCE = timedelta(days=7)  # longest interval of one request to a source
PRESENT = timedelta(days=2)  # more recent forecasts are not imported: a restart would make them the active one


class BackfillStore(KnownSeries, Protocol):
    """The part of the store that imports need; each call raises StoreError."""

    def measured(self, zone: str, start: datetime, end: datetime, *, without: Collection[str] = ()) -> Series | None:
        """Return the measured slots of the zone's series that covers most of `[start, end)`."""

    def save_intensities(self, series: Series, *, fetched_at: datetime) -> int:
        """Store measured values; return how many were new."""

    def save_issued(self, issues: Sequence[Forecast]) -> int:
        """Store past forecasts as they were issued; return how many were new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long forecasts and measured values are kept."""

    forecasts: timedelta
    measured: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSeries:
    """The series of imported values, as far as stated; where None, the stored series of `provider` decides."""

    provider: str
    zone: str | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBlock:
    """Slots: their starts, ends and values in g/kWh; with `issued_at` they are a forecast."""

    rows: Sequence[tuple[datetime, datetime, float]]
    issued_at: datetime | None = None

    @property
    def slots(self) -> list[Slot]:
        """The slots in time order."""
        kind = Kind.FORECAST if self.issued_at else Kind.MEASURED
        return [Slot(start, end, value, kind) for start, end, value in sorted(self.rows)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """The result of an import: `new` of `given` values (or issued forecasts) were not stored before.

    `dropped` counts measured values that cannot be intensities by cause, and `zeros` those of 0 g/kWh that were kept;
    `doubt` says why the values may be of another unit, None where they look as they should.
    `is_used`: whether the daemon learns from this series, as it does from one measured series of a zone, and from
    forecasts whose source is still issuing them.
    """

    series: SeriesId
    given: int
    new: int
    is_used: bool
    zeros: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """Why a source did not answer; unless it `is_final`, a retry may help, after `retry_after_s` if stated."""

    provider: str
    is_final: bool
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """What a source returned for `[start, end)`; `series` is None if none answered, and `failures` says why."""

    start: datetime
    end: datetime
    series: SeriesId | None
    given: int
    new: int
    holes: Sequence[tuple[datetime, datetime]]
    failures: Sequence[FetchFailure]


class Backfill:
    """Puts past values into the store, and calls `on_news(now)` if any are new, so that they are used at once.

    `counts` are the daemon's request counters; `also` are the zones that it watches in addition to its own.
    """

    def __init__(
        self, store: BackfillStore, zone: str | None, settings: Mapping[str, ProviderSettings],
        providers: OpenProviders, retention: Retention, on_news: Callable[[datetime], None], counts: RequestCounts, *,
        also: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._store = store
        self._watched = {zone, *also}
        self._zone = zone
        self._settings = settings
        self._providers = {provider.name: provider for provider in providers.all}
        self._marginal = tuple(provider.name for provider in providers.marginal)
        self._histories = tuple(providers.histories)
        self._retention = retention
        self._on_news = on_news
        self._counts = counts

    def import_parts(self, stated: StatedSeries, parts: Sequence[ImportedBlock], now: datetime) -> ImportResult:
        """Store these values, all or none; idempotent. Raise InvalidInput with all problems."""
        zone = self._zone_of(stated.zone)
        _raise_any(list(self._import_problems(parts, now)))
        series_id = self._identity(stated, zone)
        measured = [slot for part in parts if not part.issued_at for slot in part.slots]
        try:
            series = Series.of(series_id, sorted(measured, key=lambda slot: slot.start))
            issues = [_issue(series_id, part) for part in parts if part.issued_at]
        except ValueError as exc:
            raise _refusal("parts", f"{exc}; every instant must be in one slot at most") from exc
        kept, dropped = believable(series)
        doubt = unit_doubt(series, usual_g_per_kwh(zone))
        if is_garbage(series, dropped):
            causes = ", ".join(f"{count} of {len(series)} ({cause})" for cause, count in dropped.items())
            raise _refusal("parts", f"they are no intensities in g/kWh: {causes}{f'; {doubt}' if doubt else ''}")
        new = self._store.save_intensities(kept, fetched_at=now) if len(kept) else 0
        new += self._store.save_issued(issues) if issues else 0
        self._notify(new, now)
        used = self._is_forecast_in_use if issues else self._is_measured_in_use
        return ImportResult(
            series=series_id, given=len(series) + len(issues), new=new, is_used=used(series_id, now),
            zeros=int((kept.values == 0).sum()), dropped=dropped, doubt=doubt,
        )  # fmt: skip

    def fetch(
        self, zone: str | None, provider: str | None, start: datetime, end: datetime, now: datetime
    ) -> FetchResult:
        """Fetch and store the measured values of the last week of `[start, end)`; raise InvalidInput.

        Without a `provider`, those of `history_provider` are tried in turn until one answers. For a longer interval,
        call again for what lies before the returned week.
        """
        asked_zone, end = self._zone_of(zone), min(end, now)
        _raise_any(list(self._fetch_problems(start, end, now)))
        start = max(start, end - MOST_AT_ONCE)
        failed: list[FetchFailure] = []
        for source in self._asked(provider):
            self._counts.requests[source.name] += 1
            try:
                series = at_source(source).history(asked_zone, start, end, now)
            except ProviderError as exc:
                self._counts.failures[source.name, type(exc).__name__] += 1
                failed.append(_failure(source.name, exc))
                continue
            new = self._store.save_intensities(series, fetched_at=now)
            self._notify(new, now)
            holes = series.uncovered(start, end)
            return FetchResult(
                start=start, end=end, series=series.id, given=len(series), new=new, holes=holes, failures=failed
            )
        return FetchResult(start=start, end=end, series=None, given=0, new=0, holes=[(start, end)], failures=failed)

    def _notify(self, new: int, now: datetime) -> None:
        if new:
            self._on_news(now)

    def _asked(self, name: str | None) -> Sequence[Provider]:
        if name is not None and name not in self._providers:
            used = ", ".join(map(repr, self._providers)) or "none"
            raise _refusal("provider", f"{name!r} is no source that [grid] names; it names {used}")
        if name is None and not self._histories:
            raise _refusal("provider", "no source of measured values is set up; set [grid] history_provider")
        return self._histories if name is None else [self._providers[name]]

    def _zone_of(self, zone: str | None) -> str:
        chosen = zone or self._zone
        if chosen is None:
            raise _refusal("zone", "no zone is set; name one with --zone, or set [grid] zone")
        if not is_zone(chosen) and chosen not in (self._zone, *(each.zone for each in self._settings.values())):
            near = nearest_zone(chosen)
            raise _refusal("zone", f"unknown zone {chosen!r}" + (f"; did you mean {near!r}?" if near else ""))
        return chosen

    def _identity(self, stated: StatedSeries, zone: str) -> SeriesId:
        """Return the series that these values belong to; raise InvalidInput if it is ambiguous or unknown."""
        name, parts = stated.provider, (stated.signal, stated.accounting, stated.basis)
        if not name.isprintable() or "+" in name or not 0 < len(name) <= 100:
            raise _refusal("provider", f"{name!r} cannot be a source's name; choose letters, digits, - and _")
        known = [reach.id for reach in self._store.reaches() if (reach.id.provider, reach.id.zone) == (name, zone)]
        settings = self._settings.get(name)
        if not known and isinstance(settings, FileSettings):
            known.append(_identified(name, zone, settings.signal, settings.accounting, settings.basis))
        fitting = {each for each in known if _fits(each, parts)}
        if len(fitting) == 1:
            return fitting.pop()
        if len(fitting) > 1:
            kinds = "; ".join(sorted(map(_kind_text, fitting)))
            why = f"{name!r} has several series of {zone}: say which with --signal, --accounting and --basis ({kinds})"
            raise _refusal("provider", why)
        if settings is not None and not any(parts):
            why = f"nothing was fetched from {name!r} for {zone} yet, so what its values count is not known: let the"
            raise _refusal("provider", f"{why} daemon ask it once, or say so with --signal, --accounting and --basis")
        return _identified(name, zone, *parts)

    def _import_problems(self, parts: Sequence[ImportedBlock], now: datetime) -> Iterator[InputProblem]:
        if len({part.issued_at is None for part in parts}) > 1:
            yield InputProblem(
                field="parts", message="some were measured and some are forecasts: send them one after another"
            )
        for index, part in enumerate(parts):
            yield from (InputProblem(field=f"parts[{index}]", message=why) for why in self._part_problems(part, now))

    def _part_problems(self, part: ImportedBlock, now: datetime) -> Iterator[str]:
        kept, setting = self._retention.measured, "history_retention"
        (first, first_end, _), (last, last_end, _) = min(part.rows), max(part.rows)
        if part.issued_at is not None:
            kept, setting = self._retention.forecasts, "forecast_retention"
            if part.issued_at > now - PRESENT:
                present = exact_duration_text(PRESENT)
                yield f"issued at {part.issued_at.isoformat()}, in the last {present}: leave it out"
        if last_end > now:
            yield f"the slot at {last.isoformat()} is not over yet: leave it out"
        if (part.issued_at or first_end) <= now - kept:
            yield _too_old(part.issued_at or first, kept, setting)

    def _fetch_problems(self, start: datetime, end: datetime, now: datetime) -> Iterator[InputProblem]:
        if start >= end:
            yield InputProblem(
                field="from", message=f"{start.isoformat()} is not before {end.isoformat()}, or not over yet"
            )
        if start < now - self._retention.measured:
            yield InputProblem(field="from", message=_too_old(start, self._retention.measured, "history_retention"))

    def _is_measured_in_use(self, series_id: SeriesId, now: datetime) -> bool:
        since = now - self._retention.measured
        used = self._store.measured(series_id.zone, since, now, without=self._marginal)
        return series_id.zone in self._watched and used is not None and used.id == series_id

    def _is_forecast_in_use(self, series_id: SeriesId, now: datetime) -> bool:
        issued_at = next((reach.forecast_at for reach in self._store.reaches() if reach.id == series_id), None)
        return series_id.zone in self._watched and issued_at is not None and issued_at > now - PRESENT


def _issue(series_id: SeriesId, part: ImportedBlock) -> Forecast:
    assert part.issued_at is not None
    return Forecast(series=Series.of(series_id, part.slots), fetched_at=part.issued_at, issued_at=part.issued_at)


def _failure(provider: str, exc: ProviderError) -> FetchFailure:
    retry_after_s = exc.retry_after_s if isinstance(exc, ProviderUnavailable) else None
    is_final = isinstance(exc, ProviderRefused)
    return FetchFailure(provider=provider, is_final=is_final, message=str(exc), retry_after_s=retry_after_s)


def _identified(
    name: str, zone: str, signal: Signal | None, accounting: Accounting | None, basis: Basis | None
) -> SeriesId:
    return SeriesId(provider=name, zone=zone, signal=signal or Signal.AVERAGE, accounting=accounting, basis=basis)


def _fits(series_id: SeriesId, stated: tuple[Signal | None, Accounting | None, Basis | None]) -> bool:
    parts = (series_id.signal, series_id.accounting, series_id.basis)
    return all(want is None or want == part for want, part in zip(stated, parts, strict=True))


def _kind_text(series_id: SeriesId) -> str:
    parts = (series_id.signal, series_id.accounting or "accounting not stated", series_id.basis or "basis not stated")
    return ", ".join(parts)


def _too_old(at: datetime, kept: timedelta, setting: str) -> str:
    return (
        f"{at.isoformat()} is longer ago than the {exact_duration_text(kept)} that are kept, so it would be deleted "
        f"within the hour: set [grid] {setting} higher and restart the daemon, or leave it out"
    )


def _refusal(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, [InputProblem(field=field, message=message)])


def _raise_any(problems: Sequence[InputProblem]) -> None:
    if problems:
        raise InvalidInput("; ".join(str(row) for row in problems[:20]), problems[:20])
