"""`greenrun plan` and `greenrun forecast`: what is to come, as tables and small drawings."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from greenrun.cli import chart, planned, text
from greenrun.cli.options import AsJson, Config, Socket, connect, print_json
from greenrun.cli.tables import print_table, terminal_width
from greenrun.cli.verb import USAGE, LocalError
from greenrun.clock import utc_now

_MAX_BARS = 40
_MAX_CHART = 60
_RUNGS = {
    "stale": "It is stale: the source has not answered for a while.",
    "climatology": "The source gives none: this is what the same hours of past days were.",
    "static": "The source gives none: this is the zone's yearly mean.",
}


def plan(ctx: typer.Context, as_json: AsJson = False, socket: Socket = None, config: Config = None) -> None:
    """Show what starts when, and why; what waits without a place; and both against the forecast.

    \b
    greenrun plan
    """
    client = connect(ctx, socket, config)
    answer = client.plan()
    if as_json:
        print_json(answer)
        return
    if not answer["placements"] and not answer["waiting"]:
        print("nothing waits to be started")
        return
    now = utc_now()
    if answer["placements"]:
        forecast = client.forecast()
        _print_drawing(answer, forecast, now)
        print_table(
            ("job", "when", "gpus", "g/kWh", "CO2e", "why"),
            [_placement(row, now) for row in answer["placements"]],
            right=("job", "gpus", "g/kWh", "CO2e"),
        )
        for line in planned.notes(answer, forecast, now):
            print(line)
    for row in answer["waiting"]:
        print(f"job {row['job']} waits without a place in the plan: {text.reason_text(row)}")


def _placement(row: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        str(row["job"]),
        text.span_text(text.instant(row["start"]), text.instant(row["end"]), now)
        + (" late" if row.get("late") else ""),
        str(row["gpus"]),
        "unknown" if row["g_per_kwh"] is None else f"{row['g_per_kwh']:.0f}",
        text.grams_text(row.get("expected_g")),
        text.reason_text(row),
    ]


def _print_drawing(answer: Mapping[str, Any], forecast: Mapping[str, Any], now: datetime) -> None:
    rows = answer["placements"][:_MAX_BARS]
    bars = [
        chart.Bar(f"{row['job']:>6}", text.instant(row["start"]), text.instant(row["end"]), planned.pieces(row))
        for row in rows
    ]
    start, end = min(now, min(bar.start for bar in bars)), max(bar.end for bar in bars)
    width = max(20, min(terminal_width() - 10, 100))
    strip = chart.strip(_steps(forecast), start, end, width)
    short = end - start < timedelta(minutes=5)
    first, last = (text.clock_text(at, now, seconds=short) for at in (start, end))
    print(" " * 8 + first + last.rjust(width - len(first)))
    if strip.strip():
        print(f" g/kWh  {strip}")
    for line in chart.gantt_lines(bars, start, end, width):
        print(line)
    print()


def forecast(
    ctx: typer.Context,
    hours: Annotated[
        str | None, typer.Option("--hours", metavar="N", help="How many hours ahead; else as far as it reaches.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="The zone; else the configured one.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = None,
    config: Config = None,
) -> None:
    """Show the carbon intensity of the hours to come, the cleanest marked.

    \b
    greenrun forecast
    greenrun forecast --hours 12
    """
    answer = connect(ctx, socket, config).forecast(zone, _hours(hours))
    if as_json:
        print_json(answer)
        return
    for line in _forecast_lines(answer, utc_now(), terminal_width()):
        print(line)


def _hours(said: str | None) -> float | None:
    if said is None:
        return None
    try:
        hours = float(said.lower().removesuffix("h"))
    except ValueError:
        hours = 0
    if not 0 < hours < 10_000:
        raise LocalError(f"--hours: '{said}' is not a number of hours above 0", USAGE)
    return hours


def _forecast_lines(answer: Mapping[str, Any], now: datetime, width: int) -> Sequence[str]:
    steps = chart.merged(_steps(answer))
    if not steps and answer["zone"] is None:
        return [
            "no zone is set, so there is no forecast: set [grid] zone; until then jobs start as soon as GPUs are free"
        ]
    if not steps:
        return [f"there is no forecast for {answer['zone']} now: jobs start as soon as GPUs are free"]
    issued = answer.get("issued_at")
    said = f", issued {text.clock_text(text.instant(issued), now)}" if issued else ""
    rung = _RUNGS.get(answer.get("rung") or "")
    return [
        f"{answer['zone']}: forecast by {answer['provider']}{said}; g CO2e/kWh, local time",
        *([rung] if rung else []),
        *chart.forecast_lines(steps, max(10, min(width - 36, _MAX_CHART))),
    ]


def _steps(answer: Mapping[str, Any]) -> list[chart.Step]:
    return [
        chart.Step(text.instant(slot["start"]), text.instant(slot["end"]), slot["g_per_kwh"])
        for slot in answer.get("slots") or ()
        if slot["g_per_kwh"] is not None
    ]
