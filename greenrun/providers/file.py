"""Carbon intensity from a CSV file, as it is or replayed on the wall clock."""

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from greenrun.core.carbon.intensity import Accounting, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderRefused, ProviderUnavailable
from greenrun.providers.csv_files.replay import ClockMapping, Timetable
from greenrun.providers.csv_files.trace import SIZE_CAP_BYTES, Trace, from_us, parse_trace, to_us
from greenrun.providers.provider import Anchor, ProviderKind
from greenrun.providers.settings import FileSettings, ReplaySettings

REREAD_EVERY = timedelta(minutes=5)
FASTEST_REFRESH = timedelta(seconds=1)
SHORTEST_SLOT = timedelta(milliseconds=1)

_Signature = tuple[int, int, int]


class FileProvider:
    """Serves one zone from one CSV file, as forecast and as history; rereads the file when it changes.

    Opening reads the whole file, so that an invalid one is reported before anything relies on it; after an invalid
    change the next call raises. `anchor(key)` must always return the same instant for the same key, so that a restart
    does not rewind a replay. A replay's values are final at their slot's end; others count as final after
    `settle_after`.
    """

    web = None

    def __init__(self, name: str, settings: FileSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name = name
        self.label = settings.label
        self.attribution = settings.attribution
        self.settle_after = timedelta(0) if settings.replay else settle_after
        self._settings = settings
        self._signature, self._trace = _load(settings)
        self._mapping = _mapping(settings.path, settings.replay, anchor)
        self._issues = _lay_out(self._trace, self._mapping, settings.path)
        replayed_step = max(FASTEST_REFRESH, self._mapping.step(self._trace))
        self.refresh_every = replayed_step if settings.replay else REREAD_EVERY

    @property
    def zones(self) -> dict[str, str]:
        """The zone named by the settings or the file, if any."""
        zone = self._settings.zone or self._trace.zone
        return {zone: self.label} if zone else {}

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the slots from the one that contains `now` on, as far as known; raise ProviderError.

        Without issue times in the file there is no `issued_at`, except in a replay, where it is that slot's start.
        """
        self._refuse_other(zone)
        now_us = to_us(now)
        issue = self._newest(now_us)
        first = issue.ended_by(now_us)
        if first == len(issue):
            raise ProviderUnavailable(self._ended(issue))
        begin_us = issue.slot_begin_us(now_us)
        last = self._last(issue, begin_us)
        if first >= last:
            raise ProviderUnavailable(self._not_begun(issue, first))
        series = issue.series(self._series_id(zone), first, last, Kind.FORECAST)
        return Forecast(series=series, fetched_at=now, issued_at=self._issued_at(issue, begin_us))

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the slots that overlap `[start, end)` and had ended at `now`, as measured; raise ProviderError."""
        self._refuse_other(zone)
        measured = self._current()[0]
        if measured.issued_us is not None:
            raise ProviderRefused(
                f"{self._settings.path} holds issued forecasts, which are not measurements, so greenrun settles nothing"
                " with it; name a history_provider in [grid] that has measured values"
            )
        first = measured.ended_by(to_us(start))
        last = min(measured.begun_before(to_us(end)), measured.ended_by(to_us(now)))
        return measured.series(self._series_id(zone), first, last, Kind.MEASURED)

    def _series_id(self, zone: str) -> SeriesId:
        stated, basis = self._settings, self._trace.basis
        flows = Accounting.CONSUMPTION if basis else None  # the portal's values include imports and exports
        return SeriesId(
            provider=self.name, zone=zone, signal=stated.signal, accounting=stated.accounting or flows,
            basis=basis or stated.basis,
        )  # fmt: skip

    def _refuse_other(self, zone: str) -> None:
        self._current()
        own = self._settings.zone or self._trace.zone
        if own is not None and own != zone:
            raise ProviderRefused(
                f"provider {self.name!r} serves zone {own!r}, not {zone!r}; change grid.zone or name another provider"
            )

    def _newest(self, now_us: int) -> Timetable:
        issues = self._current()
        known = [issue for issue in issues if issue.issued_us is None or issue.issued_us <= now_us]
        if not known:
            at = from_us(issues[0].issued_us or 0).isoformat()
            raise ProviderUnavailable(f"{self._settings.path} has no forecast yet: its first is issued at {at}")
        return known[-1]

    def _last(self, issue: Timetable, begin_us: int) -> int:
        replay = self._settings.replay
        return issue.within(begin_us, replay.horizon) if replay else len(issue)

    def _issued_at(self, issue: Timetable, begin_us: int) -> datetime | None:
        if issue.issued_us is not None:
            return from_us(issue.issued_us)
        return from_us(self._mapping.one_to_wall(begin_us)) if self._settings.replay else None

    def _ended(self, issue: Timetable) -> str:
        ended = from_us(int(issue.ends_us[-1])).isoformat()
        return f"{self._settings.path} ended at {ended}, so it forecasts nothing any more; give it newer values"

    def _not_begun(self, issue: Timetable, first: int) -> str:
        start = from_us(int(issue.starts_us[first])).isoformat()
        return f"{self._settings.path} has no slot before {start}, which is beyond its horizon; ask again then"

    def _current(self) -> tuple[Timetable, ...]:
        if _signature(self._settings.path) != self._signature:
            signature, trace = _load(self._settings)
            self._issues = _lay_out(trace, self._mapping, self._settings.path)
            self._signature, self._trace = signature, trace
        return self._issues


PROVIDER = ProviderKind(settings=FileSettings, open=FileProvider)


def _load(settings: FileSettings) -> tuple[_Signature, Trace]:
    signature, keep = _signature(settings.path), settings.holes == "keep"
    raw = _read(settings.path)
    return signature, parse_trace(raw, str(settings.path), keep_holes=keep, basis=settings.basis, zone=settings.zone)


def _mapping(path: Path, replay: ReplaySettings | None, anchor: Anchor) -> ClockMapping:
    if replay is None:
        return ClockMapping()
    stated = f"{path.absolute()}|{replay.at.isoformat()}|{replay.speed!r}"
    began = anchor(f"replay-{sha256(stated.encode(errors='surrogateescape')).hexdigest()[:16]}")
    return ClockMapping(at_us=to_us(replay.at), anchor_us=to_us(began), speed=replay.speed)


def _lay_out(trace: Trace, mapping: ClockMapping, path: Path) -> tuple[Timetable, ...]:
    if mapping.step(trace) < SHORTEST_SLOT:
        raise ProviderRefused(f"at this speed a slot of {path} lasts less than a millisecond; replay it slower")
    return tuple(Timetable.of(issue, trace.step_us, mapping) for issue in trace.issues)


def _signature(path: Path) -> _Signature:
    try:
        found = path.stat()
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ProviderRefused(f"{path} is not a file; name a CSV file")
    try:
        with path.open("rb") as file:
            return file.read(SIZE_CAP_BYTES + 1)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError) -> ProviderRefused:
    return ProviderRefused(f"{path} cannot be read ({exc.strerror}); correct its path or its permissions")
