"""Make the report of a period: one document of plain values, from which every form of it is written."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import fsum
from typing import Any, Protocol

from greenrun import __version__
from greenrun.core.accounting.period import Part, Period
from greenrun.core.carbon.intensity import Kind
from greenrun.core.energy.model import BOOKED, Device
from greenrun.core.units import J_PER_KWH
from greenrun.reports import caveats, rows
from greenrun.reports.bases import Bases, Rates
from greenrun.reports.cost import cost_of
from greenrun.reports.figures import Figures, brief, kwh, measure
from greenrun.reports.identity import Hardware, Place
from greenrun.reports.idle import LEARNED_OVER
from greenrun.reports.uncertainty import Widths

SCHEMA_VERSION = 1
BY = ("project", "user", "job", "month", "zone")

Report = dict[str, Any]


class Archive(Protocol):
    """What a report needs of the store."""

    def period(self, start: datetime, end: datetime) -> Period:
        """Return what the books hold of `[start, end)`."""

    def waits(self, start: datetime, end: datetime, *, settles: bool) -> bool:
        """Whether a run that began before the end goes on, or (`settles`) a slice of then waits for its price."""

    def hourly_kwh(self, run_ids: Collection[int]) -> Mapping[datetime, float]:
        """Return the known facility energy of these runs together, by the hour in which it was used."""

    def idle_powers_w(self, since: datetime, until: datetime) -> Mapping[str, float]:
        """Return the median power of each GPU while nobody held it."""

    def peak_powers_w(self, start: datetime, end: datetime) -> Mapping[int, float]:
        """Return the highest mean power of a slice of each run, of one GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What reports say of this host; `attributions` are what the sources' licences ask to be shown, by provider.

    `boamps` are fields of BoAmps that hold for every job that says nothing else. `config_hash` tells by which settings
    the figures are made. Where no source tells what was measured, nothing ever `settles`.
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
    """Makes reports of what is in the books; `devices` tells the devices of this host as they are now."""

    def __init__(self, archive: Archive, devices: Callable[[], Sequence[Device]], settings: ReportSettings) -> None:
        self._archive = archive
        self._devices = devices
        self._settings = settings
        self.idle_w: Mapping[str, float] = {}

    def learn_idle(self, now: datetime) -> None:
        """Keep at hand what GPUs drew lately while nobody held them; raise StoreError."""
        self.idle_w = self._archive.idle_powers_w(now - LEARNED_OVER, now)

    def report(self, start: datetime, end: datetime, by: str, now: datetime) -> Report:
        """Return the report of `[start, end)` with a row for each `by` of BY; raise StoreError.

        Missing values are None; `data_quality` says why.
        """
        preliminary = end > now or self.waits(
            start, end
        )  # before they are read: what settles in between is in no figure
        books = self._books(start, end, now)
        period, settings = books.period, self._settings
        report: Report = {
            "report_schema_version": SCHEMA_VERSION,
            "greenrun_version": __version__,
            "config_hash": settings.config_hash,
            "generated_at": _text(now),
            "from": _text(start),
            "to": _text(end),
            "preliminary": preliminary,
            "by": by,
            "zone": settings.zone,
            "host": settings.place.host,
            "site": settings.place.site,
            "total": rows.total(books),
            "unattributed": rows.unattributed(books),
            "rows": rows.rows(books, by),
            "days": _days(period.parts),
            "series": _series(period.parts),
            "waste": rows.waste(books),
            "forecast_against_settled": books.forecasts,
            "uncertainty": settings.widths.told(),
            "boamps": dict(settings.boamps),
        }
        texts = caveats.texts(report, _used(books), settings.pue, settings.attributions)
        return {**report, **_with(books.rates, report["total"], texts)}

    def waits(self, start: datetime, end: datetime) -> bool:
        """Whether figures of `[start, end)` can still change; raise StoreError."""
        return self._archive.waits(start, end, settles=self._settings.settles)

    def cost_of(self, run_ids: Sequence[int]) -> Figures:
        """Return cost, currency and cost_missing_kwh of what these runs used so far; raise StoreError."""
        bases = self._settings.bases
        used = self._archive.hourly_kwh(run_ids) if bases.price else {}
        return cost_of(used.items(), bases.prices(used), bases.currency)

    def _books(self, start: datetime, end: datetime, now: datetime) -> rows.Books:
        period, hardware, settings = self._archive.period(start, end), self._hardware(start, end, now), self._settings
        return rows.Books(
            period=period,
            jobs={job.id: job for job in period.jobs},
            runs={run.id: run for run in period.runs},
            hardware=hardware,
            now=now,
            forecasts=_compared_forecasts(period.parts),
            place=settings.place,
            zone=settings.zone,
            widths=settings.widths,
            rates=settings.bases.rates({part.hour for part in period.parts}, hardware.devices),
        )

    def _hardware(self, start: datetime, end: datetime, now: datetime) -> Hardware:
        until = min(end, now)
        return Hardware(
            devices={device.id: device for device in self._devices()},
            idle_w=self._archive.idle_powers_w(until - LEARNED_OVER, until),
            peaks_w=self._archive.peak_powers_w(start, end),
        )


def _used(books: rows.Books) -> list[Device]:
    """Return the devices that have a part in the period, and those that are metered beside the books."""
    names = {part.device for part in books.period.parts}
    devices = books.hardware.devices.items()
    used = [device for key, device in devices if key in names]
    return used + [device for _, device in devices if device.kind not in BOOKED]


def _with(rates: Rates, total: Figures, texts: Mapping[str, Any]) -> Report:
    """Return the texts with what is to be said of the other bases of accounting."""
    return {
        **texts,
        "method": [*texts["method"], *rates.method()],
        "data_quality": [*texts["data_quality"], *rates.notes(total)],
        "attribution": [*texts["attribution"], *rates.attribution(total)],
        "missing": {**texts["missing"], **rates.missing(total)},
    }


def _days(parts: Sequence[Part]) -> list[Figures]:
    """Return the energy and emissions of each day (UTC) from the first to the last that has any; in between: None."""
    days: defaultdict[date, list[Part]] = defaultdict(list)
    for part in parts:
        days[part.hour.date()].append(part)
    found = []
    for number in range((max(days) - min(days)).days + 1 if days else 0):
        day = min(days) + timedelta(days=number)
        mine = days.get(day, [])
        held = brief([part for part in mine if part.run_id is not None])
        attributed = {"attributed_energy_kwh": held["it_energy_kwh"]}
        attributed["attributed_emissions_g"] = held["emissions_location_g"]
        found.append({"day": day.isoformat(), **brief(mine), **attributed})
    return found


def _series(parts: Sequence[Part]) -> list[Figures]:
    """Return each series that priced something, with its energy and grams as booked and as settled."""
    ids = dict.fromkeys(price.series for part in parts for price in (part.booked, part.settled) if price is not None)
    found = []
    for each in ids:
        stages: Figures = {}
        for stage in ("booked", "settled"):
            mine = [(part, price) for part in parts if (price := getattr(part, stage)) and price.series == each]
            grams = [price.emissions_g for _, price in mine if price.emissions_g is not None]
            stages |= {f"{stage}_kwh": kwh([part for part, _ in mine]), f"emissions_{stage}_g": fsum(grams)}
        found.append(
            {
                "provider": each.provider,
                "zone": each.zone,
                "signal": each.signal.value,
                "accounting": each.accounting.value if each.accounting else None,
                "basis": each.basis.value if each.basis else None,
                **stages,
            }
        )
    return sorted(found, key=lambda row: -(row["settled_kwh"] or row["booked_kwh"] or 0.0))


def _compared_forecasts(parts: Sequence[Part]) -> Figures:
    """Compare what was booked by a forecast with what settled it, where both count the same."""
    both = [
        (part, part.booked.emissions_g, part.settled.emissions_g)
        for part in parts
        if part.booked is not None and part.settled is not None and part.booked.kind is Kind.FORECAST
        if measure(part.booked.series) == measure(part.settled.series)
    ]
    known = [(part, told, came) for part, told, came in both if told is not None and came is not None]
    told_g, came_g = fsum(told for _, told, _ in known), fsum(came for _, _, came in known)
    error = fsum(abs(told - came) for _, told, came in known)
    return {
        "energy_kwh": fsum((part.energy_j or 0.0) / J_PER_KWH for part, _, _ in known) if known else None,
        "booked_g": told_g if known else None,
        "settled_g": came_g if known else None,
        "difference_g": told_g - came_g if known else None,
        "mean_absolute_error_pct": 100 * error / came_g if came_g else None,
    }


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
