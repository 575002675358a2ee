"""`greenrun forecast`: the carbon intensity of the coming hours, as bars, as a chart or as a page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from greenrun.charts import terminal
from greenrun.cli import text
from greenrun.cli.command import USAGE, Command, LocalError
from greenrun.cli.grid.forecast_quality import print_quality
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import print_wrapped, terminal_width
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, duration_text, intensity_text, span_text
from greenrun.submission.local_zone import local_zone, zones_text

_MAX_CHART = 60
_PLOT_WIDTH = 100
_ROUGH = {"stale": "stale", "climatology": "estimated", "static": "estimated"}


@click.command("forecast", cls=Command)
@click.argument("page", metavar="[FILE]", required=False)
@click.option("--hours", metavar="N", help="How many hours ahead; else as far as it reaches.")
@click.option("--zone", metavar="ZONE", help="The zone; else the configured one.")
@click.option("--plot", is_flag=True, help="Draw it large, the cleanest 4 hours marked.")
@click.option("--quality", is_flag=True, help="Show how good forecasts were over the last eight weeks instead.")
@daemon_options
@click.pass_context
def forecast(
    ctx: click.Context,
    page: str | None,
    hours: str | None,
    zone: str | None,
    plot: bool,
    quality: bool,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Show the carbon intensity of the hours to come, the cleanest marked; with --plot, FILE is an .html page of it.

    \b
    greenrun forecast
    greenrun forecast --hours 12
    greenrun forecast --plot
    greenrun forecast --plot day.html
    greenrun forecast --quality
    """
    if quality and (plot or hours):
        raise LocalError("--quality is about the past, --plot and --hours about the future: leave one out", USAGE)
    path = None if page is None else _page_path(page, plot=plot)
    client = connect(ctx, socket, config)
    answer = client.forecast_quality(zone) if quality else client.forecast(zone, _hours(hours))
    if path is not None:
        _write_page(path, answer, utc_now())
    if as_json:
        print_json(answer)
    elif path is not None:
        print(f"written: {path}")
    elif quality:
        print_quality(answer, utc_now())
    else:
        lines = _plot_lines if plot else _forecast_lines
        print_wrapped(map(text.printable, _heading(answer, utc_now())), "  ")
        for line in lines(answer, terminal_width()):
            print(line)


def _hours(raw: str | None) -> float | None:
    if raw is None:
        return None
    try:
        hours = float(raw.lower().removesuffix("h"))
    except ValueError:
        hours = 0
    if not 0 < hours < 10_000:
        raise LocalError(f"--hours: '{raw}' is not a number of hours above 0", USAGE)
    return hours


def _heading(answer: Mapping[str, Any], now: datetime) -> list[str]:
    """What the forecast is, or why there is none."""
    if not steps_of(answer):
        return [_absence(answer)]
    issued, age_s = answer.get("issued_at"), answer.get("age_s")
    issue = f", issued {clock_text(text.instant(issued), now)}" if issued else ""
    rough = _ROUGH.get(answer.get("rung") or "")
    old = f", {duration_text(age_s)} old" if age_s is not None else ""
    why = f": {answer['why']}" if answer.get("why") else ""
    what = f"{_signal(answer)}forecast by {answer['provider']}{issue}"
    return [
        f"{answer['zone']}: {what}; g CO2e/kWh, times in {_zones(answer)}",
        *([f"It is {rough}{old}{why}."] if rough else []),
    ]


def _signal(answer: Mapping[str, Any]) -> str:
    """Return the word that a forecast of another signal than the average is told with."""
    return f"{answer['signal']} " if answer.get("signal") not in (None, "average") else ""


def _zones(answer: Mapping[str, Any]) -> str:
    steps = steps_of(answer)
    return zones_text(steps[0].start, steps[-1].end)


def _absence(answer: Mapping[str, Any]) -> str:
    if answer["zone"] is None:
        return (
            "no zone is set, so there is no forecast: set [grid] zone; until then jobs start as soon as GPUs are free"
        )
    why = answer.get("why") or "jobs start as soon as GPUs are free"
    return f"there is no forecast for {answer['zone']} now: {why}"


def _forecast_lines(answer: Mapping[str, Any], width: int) -> Sequence[str]:
    return terminal.forecast_lines(terminal.merged(steps_of(answer)), max(10, min(width - 36, _MAX_CHART)))


def _plot_lines(answer: Mapping[str, Any], width: int) -> Sequence[str]:
    steps = steps_of(answer)
    window = terminal.cleanest(steps)
    marked = [f"▲ {_window_text(window)}"] if window else []
    return [*terminal.plot_lines(steps, _estimated(answer), min(width, _PLOT_WIDTH), local_zone()), *marked]


def _window_text(window: terminal.CleanWindow | None) -> str:
    if window is None:
        return ""
    return f"the cleanest 4 hours: {span_text(window.start, window.end, utc_now())}, {intensity_text(window.g_per_kwh)}"


def _estimated(answer: Mapping[str, Any]) -> list[bool]:
    """Return for each step whether it is estimated rather than forecast."""
    return [slot.get("kind") == "estimated" for slot in answer.get("slots") or () if slot["g_per_kwh"] is not None]


def _page_path(page: str, *, plot: bool) -> Path:
    if not plot:
        raise LocalError(f"'{page}' would be the page that --plot draws, which is not asked for", USAGE)
    from greenrun.cli.output import page_problems

    if problems := page_problems(page):
        raise LocalError(f"--plot: {'; '.join(problems)}", USAGE)
    return Path(page)


def _write_page(path: Path, answer: Mapping[str, Any], now: datetime) -> None:
    from greenrun.charts.forecast import page
    from greenrun.cli.output import write_whole

    steps = steps_of(answer)
    window = terminal.cleanest(steps)
    drawn = page(
        steps, _estimated(answer), title=f"greenrun forecast: {answer['zone'] or 'no zone'}",
        lines=_heading(answer, now), window=window, marked=_window_text(window), zone=local_zone(),
    )  # fmt: skip
    write_whole(path, drawn)


def steps_of(answer: Mapping[str, Any]) -> list[terminal.Step]:
    """Return the steps of the API's forecast whose intensity is known."""
    return [
        terminal.Step(text.instant(slot["start"]), text.instant(slot["end"]), slot["g_per_kwh"])
        for slot in answer.get("slots") or ()
        if slot["g_per_kwh"] is not None
    ]
