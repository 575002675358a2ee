"""`greenrun estimate`: the energy and emissions of a job before it runs, and how much a cleaner window would avoid."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.estimate_inputs import Size, read_size
from greenrun.cli.option_headings import OF_ESTIMATES
from greenrun.cli.options import config_path, connect, daemon_options, print_json
from greenrun.cli.tables import Column, print_table, terminal_width
from greenrun.clock import utc_now
from greenrun.core.carbon.intensity import FallbackLevel, Kind, Series, SeriesId, Signal, Slot
from greenrun.core.formatting import (
    clock_text,
    count_text,
    duration_text,
    iso_text,
    mass_text,
    mass_unit,
    number_text,
    percent_text,
    power_text,
    whole_text,
)
from greenrun.core.jobs.estimate import Figure, Window, energy_kwh, windows
from greenrun.submission.local_zone import zones_text

UNNAMED = "unnamed"  # the zone of a trace whose zone is not given
_WIDTH = 120
_NO_ZONE = "the daemon's settings name no zone, so it has no forecast: set [grid] zone"
_RUNGS = {
    "stale": ", stale",
    "climatology": ", which is what the same hours of past days were",
    "static": ", which is the zone's yearly mean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The future intensities and their provenance, or the reason why none are known."""

    series: Series | None = None
    is_trace: bool = False
    rung: FallbackLevel = FallbackLevel.NONE
    issued_at: str | None = None
    reason: str | None = None


@click.command("estimate", cls=Command, headings=OF_ESTIMATES)
@click.option("--gpus", metavar="N", help="GPUs it runs on. [default: 1]")
@click.option("--gpu-model", metavar="M", help="Which GPUs: H100, 'A100 PCIe 40GB', L4, MI300X...")
@click.option("--gpu-hours", metavar="H", help="How much work it is, in GPU-hours.")
@click.option("--flops", metavar="F", help="Or in operations, such as 6.3e23; with --mfu.")
@click.option("--params", metavar="N", help="Or as a dense transformer's parameters; with --tokens.")
@click.option("--tokens", metavar="D", help="The tokens it is trained on: 6 x N x D operations.")
@click.option("--mfu", metavar="U", help="The share of the GPUs' peak it reaches, such as 0.4 or 40%.")
@click.option("--peak-flops", metavar="F", help="One GPU's peak per second, else its model's.")
@click.option("--power", metavar="W", help="The job's power in watts, else its GPUs' rated power x 0.76.")
@click.option("--pue", metavar="P", help="Facility's energy for each unit of IT energy, else the settings'.")
@click.option("--finish-by", metavar="T", help="It must end by then.")
@click.option("--max-delay", metavar="D", help="It may start this much later.")
@click.option("--at", metavar="T", help="Count from then, not from now.")
@click.option("--zone", metavar="ZONE", help="The zone; else the configured one.")
@click.option("--intensity", metavar="FILE", help="Take a CSV's intensities, not the daemon's.")
@daemon_options
@click.pass_context
def estimate(
    ctx: click.Context,
    gpus: str | None,
    gpu_model: str | None,
    gpu_hours: str | None,
    flops: str | None,
    params: str | None,
    tokens: str | None,
    mfu: str | None,
    peak_flops: str | None,
    power: str | None,
    pue: str | None,
    finish_by: str | None,
    max_delay: str | None,
    at: str | None,
    zone: str | None,
    intensity: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Estimate a job's hours, energy and emissions: started now, in the cleanest window, and as late as it may.

    Each figure has its method and range; what is not known is reported as unknown. Without a daemon and without
    --intensity the energy is estimated and the emissions are not.

    \b
    greenrun estimate --gpus 8 --gpu-model H100 --gpu-hours 96 --max-delay 24h
    greenrun estimate --gpu-model "A100 PCIe 40GB" --flops 1e20 --mfu 0.35
    greenrun estimate --gpus 64 --gpu-model H100 --params 7e9 --tokens 2e12 \\
        --mfu 40% --finish-by "friday 18:00"
    greenrun estimate --gpu-hours 10 --power 350 --intensity grid.csv \\
        --at 2026-06-01T00:00Z --json
    """
    from greenrun.config import load_config

    given = {str(name).replace("_", "-"): value for name, value in ctx.params.items() if isinstance(value, str)}
    size = read_size(given, now=utc_now())
    settings = load_config(config_path(ctx, config))
    pue_used = settings.devices.pue if size.pue is None else size.pue
    latest = size.latest or size.at + settings.planner.default_max_delay
    outlook = _from_file(intensity, zone, size.at) if intensity else _from_daemon(ctx, socket, config, zone)
    energy = energy_kwh(size.power_w, size.duration, pue_used)
    found = windows(outlook.series, size.at, latest, size.duration, energy) if outlook.series else {}
    answer = _answer(size, latest, pue_used, energy, outlook, found)
    if as_json:
        print_json(answer)
        return
    _print(answer, size, utc_now())


def _from_file(path: str, zone: str | None, at: datetime) -> Outlook:
    from greenrun.providers.file import FileProvider
    from greenrun.providers.settings import FileSettings

    settings = FileSettings(path=Path(path).expanduser(), holes="keep")
    source = FileProvider(Path(path).name, settings, anchor=lambda _: at, settle_after=timedelta(0))
    forecast = source.forecast(zone or UNNAMED, at)
    issued_at = iso_text(forecast.issued_at) if forecast.issued_at else None
    return Outlook(series=forecast.series, is_trace=True, rung=forecast.fallback_level, issued_at=issued_at)


def _from_daemon(ctx: click.Context, socket: str | None, config: str | None, zone: str | None) -> Outlook:
    from greenrun.client import NotReachable

    try:
        answer = connect(ctx, socket, config).forecast(zone)
    except NotReachable as exc:
        return Outlook(reason=f"there is no forecast: {exc}; or name a trace with --intensity")
    if not answer.get("slots"):
        return Outlook(reason=_NO_ZONE if answer["zone"] is None else f"there is no forecast for {answer['zone']} now")
    slots = [
        Slot(text.instant(row["start"]), text.instant(row["end"]), row["g_per_kwh"], Kind(row["kind"]))
        for row in answer["slots"]
    ]
    signal = Signal(answer.get("signal") or Signal.AVERAGE)
    series = Series.of(SeriesId(provider=answer["provider"], zone=answer["zone"], signal=signal), slots)
    return Outlook(series=series, rung=FallbackLevel(answer.get("rung") or "fresh"), issued_at=answer.get("issued_at"))


def _answer(
    size: Size, latest: datetime, pue: float, energy: Figure, outlook: Outlook, found: Mapping[str, Window]
) -> dict[str, Any]:
    return {
        "at": iso_text(size.at),
        "gpus": size.gpus,
        "gpu_model": _model(size),
        "gpu_hours": asdict(size.hours),
        "duration_s": size.duration.total_seconds(),
        "power_w": asdict(size.power_w),
        "pue": pue,
        "energy_kwh": asdict(energy),
        "latest_start": iso_text(latest),
        "limit": "default" if size.latest is None else "given",
        "intensity": _intensity(outlook),
        "reason": outlook.reason,
        "windows": {name: _window(row, _signal(outlook)) for name, row in found.items()} or None,
    }


def _model(size: Size) -> dict[str, Any] | None:
    model = size.model
    if model is None:
        return None
    names = ("name", "tdp_w", "peak_flops", "memory_gib", "source")
    return {name: getattr(model, name) for name in names}


def _intensity(outlook: Outlook) -> dict[str, Any] | None:
    series = outlook.series
    if series is None:
        return None
    return {
        "zone": None if series.id.zone == UNNAMED else series.id.zone,
        "source": "trace" if outlook.is_trace else "daemon",
        "provider": series.id.provider,
        "signal": series.id.signal,
        "rung": outlook.rung,
        "issued_at": outlook.issued_at,
        "start": series.start and iso_text(series.start),
        "end": series.end and iso_text(series.end),
    }


def _signal(outlook: Outlook) -> Signal:
    return outlook.series.id.signal if outlook.series else Signal.AVERAGE


def _window(row: Window, signal: Signal) -> dict[str, Any]:
    """Return a window; what a marginal signal tells is under a name of its own."""
    grams, is_marginal = asdict(row.emissions_g) if row.emissions_g else None, signal is Signal.MARGINAL
    return {
        "start": iso_text(row.start),
        "end": iso_text(row.end),
        "g_per_kwh": row.g_per_kwh,
        "emissions_g": None if is_marginal else grams,
        "emissions_marginal_g": grams if is_marginal else None,
        "kinds": dict(row.kinds),
        "reason": row.reason,
    }


def _print(answer: Mapping[str, Any], size: Size, now: datetime) -> None:
    print(_headline(answer, size))
    print()
    rows = answer["windows"]
    if rows:
        cells = [_row(name, row, rows["now"], now) for name, row in rows.items()]
        edges = (text.instant(row[edge]) for row in rows.values() for edge in ("start", "end"))
        print_table(_columns(zones_text(now, *edges)), cells)
        print()
    for line in _methods(answer, now):
        print(textwrap.fill(line, min(terminal_width(), _WIDTH), subsequent_indent=" " * 11))


def _columns(zones: str) -> list[Column]:
    return [
        Column("start"), Column(f"when ({zones})"), Column("g/kWh", right=True, rank=1), Column("CO2e", right=True),
        Column("range", rank=2), Column("", wraps=True),
    ]  # fmt: skip


def _headline(answer: Mapping[str, Any], size: Size) -> str:
    whose = f"{size.gpus} x {size.model.name}" if size.model else count_text(size.gpus, "GPU")
    lasts, energy = duration_text(answer["duration_s"]), answer["energy_kwh"]
    return f"{whose}, {number_text(size.hours.value)} GPU-hours: {lasts} by the clock, {_ranged(energy, 'kWh')}"


def _row(name: str, row: Mapping[str, Any], first: Mapping[str, Any], now: datetime) -> list[str]:
    when = " to ".join(clock_text(text.instant(row[key]), now) for key in ("start", "end"))
    grams, marginal = row["emissions_g"] or row["emissions_marginal_g"], row["emissions_marginal_g"] is not None
    if grams is None:
        return [name, when, "unknown", "unknown", "", row["reason"]]
    scale, _ = mass_unit(grams["value"])
    least_g, most_g = grams["least"], grams["most"]
    spread = "" if least_g is None else f"{number_text(least_g / scale)} to {number_text(most_g / scale)}"
    below = text.below_text({"g_per_kwh": row["g_per_kwh"], "start_now_g_per_kwh": first["g_per_kwh"]})
    notes = [
        *(["marginal"] if marginal else []),
        *([below] if name != "now" and below else []),
        *_uncertain(row["kinds"]),
    ]
    return [name, when, whole_text(row["g_per_kwh"]), mass_text(grams["value"]), spread, ", ".join(notes)]


def _uncertain(kinds: Mapping[str, float]) -> Iterator[str]:
    share = kinds.get(Kind.ESTIMATED, 0.0)
    if share > 0:
        yield f"{percent_text(share)} of it beyond the forecast, from past days"


def _ranged(figure: Mapping[str, Any], unit: str) -> str:
    value = f"{number_text(figure['value'])} {unit}"
    if figure["least"] is None:
        return value
    return f"{value} ({number_text(figure['least'])} to {number_text(figure['most'])})"


def _methods(answer: Mapping[str, Any], now: datetime) -> Iterator[str]:
    if answer["gpu_hours"]["method"] != "as given":
        yield f"hours      {answer['gpu_hours']['method']}"
    power = answer["power_w"]
    yield f"power      {power_text(power['value'])}: {power['method']}; PUE {answer['pue']:g}"
    if answer["intensity"] is None:
        yield f"emissions  unknown, because {answer['reason']}"
        return
    yield f"intensity  {_source(answer['intensity'], now)}; how far it may be wrong is not in the range"
    if answer["limit"] == "default":
        yield "limit      none was given, so it starts within planner.default_max_delay"


def _source(source: Mapping[str, Any], now: datetime) -> str:
    issued = source["issued_at"]
    issue = f", issued {clock_text(text.instant(issued), now)}" if issued else ""
    whose = f"the trace {source['provider']}" if source["source"] == "trace" else f"forecast by {source['provider']}"
    return f"{source['zone'] + ', ' if source['zone'] else ''}{whose}{issue}{_RUNGS.get(source['rung'], '')}"
