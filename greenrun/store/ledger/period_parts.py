"""Read the slices of a period as columns: merged ones as they stand, all others as SQL sums them by the hour."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, String, case, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from greenrun.core.accounting.grouping import Numbering
from greenrun.core.accounting.parts import (
    COMPONENTS,
    KINDS,
    NO_SERIES,
    NOBODY,
    QUALITIES,
    Integers,
    Parts,
    empty,
    filled,
)
from greenrun.core.accounting.period import EPOCH, microseconds
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.carbon.intensity import Floats, SeriesId
from greenrun.core.energy.merging import PEAK_S
from greenrun.core.energy.model import Component, Quality
from greenrun.store.grid import series_ids
from greenrun.store.ledger.booked_time import LONGEST_SLICE
from greenrun.store.ledger.slice_prices import BASELINE, BOOKED, MARGINAL, SETTLED, PriceColumns
from greenrun.store.ledger.totals import DEVICE_S, LENGTH_S
from greenrun.store.tables import SLICES

AT_ONCE = 2000  # rows of the database that are there as such at one time
UNMERGED: ColumnElement[bool] = literal_column("slices.merged = 0")
MERGED: ColumnElement[bool] = literal_column("slices.merged = 1")
_GPU, _BRIDGED = COMPONENTS.index(Component.GPU), QUALITIES.index(Quality.BRIDGED)
_GAPS = (QUALITIES.index(Quality.BRIDGED), QUALITIES.index(Quality.UNKNOWN))
_MICROS = 1e6
_HOUR_MICROS = 3_600_000_000


@dataclass(frozen=True, kw_only=True)
class PeriodParts:
    """What the slices of a period are together, each device's booked time, and the highest power of each run, by id.

    NaN is in the place of runs of which no power is known, and of whatever comes after the last one.
    """

    parts: Parts
    peaks_w: Floats
    booked: Sequence[BookedTime]


def read_parts(session: Session, start: datetime, end: datetime) -> PeriodParts:
    """Return the slices that began in `[start, end)`."""
    begins = (SLICES.c.started_at >= start, SLICES.c.started_at < end)
    room = session.scalar(select(func.count()).select_from(SLICES).where(*begins)) or 0
    last_run = session.scalar(select(func.max(SLICES.c.run_id))) or NOBODY
    found = _Reading(series_ids(session), room, last_run)
    for rows in _chunks(session, _merged(start, end)):
        found.add_merged(rows)
    if found.length < room:  # else all of them were merged ones
        for rows in _chunks(session, _unmerged(start, end)):
            found.add_sums(rows)
        for rows in _chunks(session, _peaks(start, end)):
            found.add_peaks(*rows)
    for rows in _chunks(session, _edges(start, end)):
        found.clip(rows, microseconds(start), microseconds(end))
    return found.done(start, end)


class _Reading:
    """What is read so far."""

    def __init__(self, series: Mapping[int, SeriesId], room: int, last_run: int) -> None:
        self._series = list(series.values())
        self._position = np.full(max(series, default=0) + 1, NO_SERIES, dtype=np.int16)  # of each id, and of 0 for None
        self._position[list(series)] = np.arange(len(series))
        self._columns = empty(room)  # written to as it is read, so that nothing is there twice
        self.length = 0
        self._devices = Numbering()
        self._time: dict[tuple[str, Component], _Time] = {}
        self._peaks_w = np.full(last_run + 2, np.nan)

    def add_merged(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add slices as they stand."""
        whose, (started, ended, share, *sums), booked, settled = rows[:5], rows[5:12], rows[12:16], rows[16:20]
        start, end = _micros(started), _micros(ended)
        seconds = (end - start) / _MICROS * np.array(share)
        energy_j, busy_s, split_j, peak_w = (np.array(column, dtype=np.float64) for column in sums)
        baseline_g, marginal_g = (np.array(column, dtype=np.float64) for column in rows[20:])
        prices = [self._price(series, kinds, grams, told, told) for series, kinds, grams, told in (booked, settled)]
        chunk = self._chunk(whose, start, prices) | {
            "seconds": seconds,
            "energy_j": energy_j,
            "busy_s": np.nan_to_num(busy_s),
            "busy_known_s": np.where(np.isnan(busy_s), 0.0, seconds),
            "split_j": split_j,
            "marginal_g": marginal_g,
            "marginal_j": np.where(np.isnan(marginal_g), np.nan, energy_j),
            "baseline_g": baseline_g,
            "compared_g": np.where(np.isnan(baseline_g), np.nan, prices[1]["g"]),
        }
        self._keep(chunk, start, end)
        self._keep_peaks(chunk, np.where(np.isnan(peak_w), energy_j / ((end - start) / _MICROS), peak_w), end - start)

    def add_sums(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add sums of the slices of an hour."""
        whose, keys, (_, is_told, started, ended, *sums), prices = rows[:5], rows[5:9], rows[9:17], rows[17:23]
        seconds, energy_j, busy_s, split_j = (np.array(column, dtype=np.float64) for column in sums)
        marginal_g, marginal_j, baseline_g, compared_g = (np.array(column, dtype=np.float64) for column in rows[23:])
        both = [
            self._price(keys[2 * at], keys[2 * at + 1], prices[3 * at], prices[3 * at + 1], prices[3 * at + 2])
            for at in range(2)
        ]
        start = _micros(started)
        chunk = self._chunk(whose, start, both) | {
            "seconds": seconds,
            "energy_j": energy_j,
            "busy_s": busy_s,
            "busy_known_s": np.where(np.array(is_told, dtype=np.bool_), seconds, 0.0),
            "split_j": split_j,
            "marginal_g": marginal_g,
            "marginal_j": marginal_j,
            "baseline_g": baseline_g,
            "compared_g": compared_g,
        }
        self._keep(chunk, start, _micros(ended))

    def clip(self, rows: Sequence[Sequence[Any]], first: int, last: int) -> None:
        """Count slices that reach over an edge of the period with the part of their time that is inside."""
        for device, component, quality, share, started, ended in zip(*rows, strict=True):
            start, end = _micros([started])[0], _micros([ended])[0]
            is_before = start < first
            more = (min(end, last) - max(start, first)) - (0 if is_before else end - start)
            time = self._time.setdefault((device, Component(component)), _Time())
            time.seconds += more / _MICROS * share
            if QUALITIES.index(Quality(quality)) in _GAPS:
                time.gap_s += more / _MICROS * share
            time.since, time.until = min(time.since, max(start, first)), max(time.until, end)

    def add_peaks(self, run_ids: Sequence[int] | Integers, peaks_w: Sequence[float] | Floats) -> None:
        """Take these powers for runs of which no higher one is known."""
        np.fmax.at(self._peaks_w, np.array(run_ids, dtype=np.int64), np.array(peaks_w, dtype=np.float64))

    def done(self, start: datetime, end: datetime) -> PeriodParts:
        """Return all of it."""
        first, last = microseconds(start), microseconds(end)
        return PeriodParts(
            parts=filled(self._columns, self.length, list(self._devices), self._series),
            peaks_w=self._peaks_w,
            booked=[
                BookedTime(
                    device=device,
                    component=component,
                    since=EPOCH + timedelta(microseconds=int(max(time.since, first))),
                    until=EPOCH + timedelta(microseconds=int(min(time.until, last))),
                    seconds=time.seconds,
                    gap_s=time.gap_s,
                )
                for (device, component), time in sorted(self._time.items())
            ],
        )

    def _chunk(
        self, whose: Sequence[Sequence[Any]], start: Integers, prices: Sequence[dict[str, npt.NDArray[Any]]]
    ) -> dict[str, npt.NDArray[Any]]:
        run_id, device, component, quality, pue = whose
        booked, settled = prices
        is_settled = settled["series"] != NO_SERIES
        return {
            "run_id": np.array(run_id, dtype=np.int64),
            "device": self._devices.codes(device),
            "component": np.array(component, dtype=np.int8),
            "quality": np.array(quality, dtype=np.int8),
            "hour": (start // _HOUR_MICROS).astype(np.int32),
            "pue": np.array(pue),
            "booked": booked["series"],
            "booked_kind": booked["kind"],
            "settled": settled["series"],
            "settled_kind": settled["kind"],
            "booked_g": booked["g"],
            "settled_g": settled["g"],
            "lowest": np.where(is_settled, settled["lowest"], booked["lowest"]),
            "highest": np.where(is_settled, settled["highest"], booked["highest"]),
        }

    def _price(
        self,
        series: Sequence[int],
        kinds: Sequence[int],
        grams: Sequence[float | None],
        lowest: Sequence[float | None],
        highest: Sequence[float | None],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return a price as columns; without a series or a kind there is none."""
        kind = np.array(kinds, dtype=np.int8)
        position = np.where(kind == _NO_KIND, NO_SERIES, self._position[np.array(series, dtype=np.int64)])
        is_there = position != NO_SERIES
        figures = [np.array(column, dtype=np.float64) for column in (grams, lowest, highest)]
        told = {name: np.where(is_there, column, np.nan) for name, column in zip(_FIGURES, figures, strict=True)}
        return {"series": position, "kind": np.where(kind == _NO_KIND, 0, kind), **told}

    def _keep(self, chunk: dict[str, npt.NDArray[Any]], start: Integers, end: Integers) -> None:
        """Keep what was read, and count the time of each device."""
        begin, self.length = self.length, self.length + len(start)
        for name, column in self._columns.items():
            column[begin : self.length] = chunk[name]
        is_gap = np.isin(chunk["quality"], _GAPS)
        names = list(self._devices)
        both = chunk["device"].astype(np.int64) * len(COMPONENTS) + chunk["component"]
        for key in np.unique(both):
            mine = both == key
            device, component = divmod(int(key), len(COMPONENTS))
            time = self._time.setdefault((names[device], COMPONENTS[component]), _Time())
            time.seconds += float(chunk["seconds"][mine].sum())
            time.gap_s += float(chunk["seconds"][mine & is_gap].sum())
            time.since, time.until = min(time.since, start[mine].min()), max(time.until, end[mine].max())

    def _keep_peaks(self, chunk: dict[str, npt.NDArray[Any]], watts: Floats, length: Integers) -> None:
        told = (chunk["run_id"] != NOBODY) & (chunk["component"] == _GPU) & (chunk["quality"] != _BRIDGED)
        told &= ~np.isnan(chunk["energy_j"]) & (length >= PEAK_S * _MICROS)
        self.add_peaks(chunk["run_id"][told], watts[told])


@dataclass(kw_only=True)
class _Time:
    since: int = np.iinfo(np.int64).max
    until: int = np.iinfo(np.int64).min
    seconds: float = 0.0
    gap_s: float = 0.0


_FIGURES = ("g", "lowest", "highest")
_NO_KIND = len(KINDS)


def _micros(instants: Sequence[str]) -> Integers:
    """Return instants as the books have them, without their Z, in microseconds since 1970."""
    return np.array(instants, dtype="datetime64[us]").astype(np.int64)


def _chunks(session: Session, query: Select[Any]) -> Iterator[list[Sequence[Any]]]:
    """Yield the columns of some rows at a time, as SQLite gives them."""
    cursor = session.connection().execute(query).cursor
    while cursor is not None and (rows := cursor.fetchmany(AT_ONCE)):
        yield list(zip(*rows, strict=True))


# what is asked


def _instant(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.substr(type_coerce(column, String), 1, 26)  # without its Z, as numpy reads it


def _position(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[Any]:
    """Ask for where a word is among these, or for none of them their number: that costs less than to fetch the word."""
    text = type_coerce(column, String)
    return case(*((text == word, number) for number, word in enumerate(values)), else_=len(values))


_WHOSE = (
    func.coalesce(SLICES.c.run_id, NOBODY), SLICES.c.device,
    _position(SLICES.c.component, COMPONENTS), _position(SLICES.c.quality, QUALITIES),
    SLICES.c.pue,
)  # fmt: skip


def _merged(start: datetime, end: datetime) -> Select[Any]:
    query = select(
        *_WHOSE,
        _instant(SLICES.c.started_at),
        _instant(SLICES.c.ended_at),
        SLICES.c.share,
        SLICES.c.energy_j,
        SLICES.c.busy_s,
        SLICES.c.split_j,
        SLICES.c.peak_w,
        *(column for price in (BOOKED, SETTLED) for column in (*_keys(price), *_figures(price))),
        BASELINE.emissions_g,
        MARGINAL.emissions_g,
    )
    return _of_period(query, start, end).where(MERGED)


def _unmerged(start: datetime, end: datetime) -> Select[Any]:
    hour, is_told = func.substr(type_coerce(SLICES.c.started_at, String), 1, 13), SLICES.c.busy_s.is_not(None)
    keys = (*_WHOSE, *_keys(BOOKED), *_keys(SETTLED), hour, is_told)
    query = select(
        *keys,
        func.min(_instant(SLICES.c.started_at)),
        func.max(_instant(SLICES.c.ended_at)),
        func.sum(DEVICE_S),
        func.sum(SLICES.c.energy_j),
        func.total(SLICES.c.busy_s),
        func.sum(SLICES.c.split_j),
        *(column for price in (BOOKED, SETTLED) for column in _sums(price)),
        func.sum(MARGINAL.emissions_g),
        func.sum(case((MARGINAL.emissions_g.is_not(None), SLICES.c.energy_j))),
        func.sum(BASELINE.emissions_g),
        func.sum(case((BASELINE.at.is_not(None), SETTLED.emissions_g))),
    )
    return _of_period(query, start, end).where(UNMERGED).group_by(*keys)


def _of_period(query: Select[Any], start: datetime, end: datetime) -> Select[Any]:
    return query.where(SLICES.c.started_at >= start, SLICES.c.started_at < end)


def _keys(price: PriceColumns) -> tuple[ColumnElement[Any], ...]:
    return func.coalesce(price.series_id, 0), _position(price.intensity_kind, KINDS)


def _figures(price: PriceColumns) -> tuple[ColumnElement[Any], ...]:
    return price.emissions_g, price.intensity_g_per_kwh


def _sums(price: PriceColumns) -> tuple[ColumnElement[Any], ...]:
    grams, intensity = _figures(price)
    return func.sum(grams), func.min(intensity), func.max(intensity)


def _edges(start: datetime, end: datetime) -> Select[Any]:
    """Ask for the slices that reach over the start or the end of the period."""
    over_start = SLICES.c.started_at.between(start - LONGEST_SLICE, start) & (SLICES.c.started_at < start)
    over_end = (SLICES.c.started_at >= max(start, end - LONGEST_SLICE)) & (SLICES.c.started_at < end)
    is_over = (over_start & (SLICES.c.ended_at > start)) | (over_end & (SLICES.c.ended_at > end))
    return select(
        SLICES.c.device, type_coerce(SLICES.c.component, String), type_coerce(SLICES.c.quality, String),
        SLICES.c.share, _instant(SLICES.c.started_at), _instant(SLICES.c.ended_at),
    ).where(is_over)  # fmt: skip


def _peaks(start: datetime, end: datetime) -> Select[Any]:
    """Ask for the highest mean power of an unmerged slice of each run, of one GPU."""
    return (
        select(SLICES.c.run_id, func.max(SLICES.c.energy_j / LENGTH_S))
        .where(
            UNMERGED,
            SLICES.c.started_at >= start,
            SLICES.c.started_at < end,
            SLICES.c.run_id.is_not(None),
            SLICES.c.component == Component.GPU,
            SLICES.c.energy_j.is_not(None),
            SLICES.c.quality != Quality.BRIDGED,
            LENGTH_S >= PEAK_S,
        )
        .group_by(SLICES.c.run_id)
    )
