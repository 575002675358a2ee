"""The demo on a terminal: the forecast as a chart, the GPUs and their jobs below it, and the jobs as a table."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from greenrun.charts.terminal import bar_column
from greenrun.cli import text
from greenrun.cli.demonstration.scenario import LENGTH_S, SPEED
from greenrun.cli.demonstration.view import View, expected_span, intensity_of, is_finished, is_live, started_at
from greenrun.core.formatting import decimal_text, intensity_text
from greenrun.core.units import J_PER_KWH

Answer = Mapping[str, Any]
Cell = tuple[str, str]

GUTTER = 7
LEAST_WIDTH, LEAST_HEIGHT = 76, 23
_TALL, _WIDE = 32, 110
_COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red", "bright_cyan", "bright_magenta")
_STATES = {"queued": "dim", "starting": "bold green", "running": "bold green", "succeeded": "", "failed": "bold red"}
_NOW = ("│", "bold white")


class Screen:
    """Redraws the view in place; the last drawing stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> "Screen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: View) -> None:
        """Draw the view in the size that the terminal has now."""
        self._live.update(frame(view, self._console.width, self._console.height), refresh=True)


def can_draw(console: Console) -> bool:
    """Whether the terminal can show the drawing: it can move the cursor, has the characters, and is large enough."""
    moves = console.is_terminal and not console.is_dumb_terminal
    return (
        moves and console.encoding.startswith("utf") and console.width >= LEAST_WIDTH and console.height >= LEAST_HEIGHT
    )


def frame(view: View, width: int, height: int) -> RenderableType:
    """Return the drawing: no wider than `width`, no higher than `height`, which must be at least the least ones."""
    tall = height >= _TALL
    blank = [Text("")] if tall else []
    chart = 10 if tall else height - LEAST_HEIGHT + 5
    columns = width - GUTTER - 1
    return Group(
        _title(), _status(view), *blank,
        *_chart(view, columns, chart), *blank,
        *_gantt(view, columns), *blank,
        _table(view, width), *blank,
        *([Text(f"in a browser, once: {view.page_url}", style="dim")] if tall else []),
    )  # fmt: skip


def _title() -> Text:
    hour = 3600 / SPEED
    line = Text("greenrun demo", style="bold green")
    line.append("  SYNTHETIC grid, EMULATED GPUs", style="bold yellow")
    line.append(f"; a day is {24 * hour:.0f} s, an hour {hour:g} s", style="dim")
    return line


def _status(view: View) -> Text:
    now = intensity_text(view.g_per_kwh)
    line = Text(f"{view.clock(view.now)}, {now}", style="bold")
    waits, runs = view.count("queued"), view.count("starting", "running")
    line.append(f"   {waits} waiting, {runs} running, {len(view.jobs) - waits - runs} ended")
    line.append(f"   {view.elapsed_s:.0f} s of about {LENGTH_S:.0f} s", style="dim")
    return line


# the grid


def _chart(view: View, columns: int, rows: int) -> list[Text]:
    """Return the chart's caption, its rows from the top, and its axis."""
    values = [view.intensity_at(_instant(view, column + 0.5, columns)) for column in range(columns)]
    top = -(-max((value for value in values if value is not None), default=1) // 50) * 50
    now = _column(view, view.now, columns)
    lines = [Text("SYNTHETIC carbon intensity, g CO2e/kWh", style="dim")]
    bars = [_bar(value, top, rows, past=column < now) for column, value in enumerate(values)]
    for row in reversed(range(rows)):
        label = f"{top:.0f}" if row == rows - 1 else "" if row else "0"
        lines.append(_line(label, _marked([bar[row] for bar in bars], now)))
    return [*lines, _axis(view, columns)]


def _bar(value: float | None, top: float, rows: int, *, past: bool) -> list[Cell]:
    """Return a column's cells from the bottom up."""
    if value is None:
        return [(" ", "")] * rows
    color = "green" if value < 0.4 * top else "yellow" if value < 0.7 * top else "red"
    return [(sign, f"dim {color}" if past else color) for sign in bar_column(value, top, rows)]


def _axis(view: View, columns: int) -> Text:
    """Return the grid's own hours, every third, each beginning at its column."""
    cells = [" "] * columns
    there = view.replay.time_there(view.began)
    hour = there.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    while hour < there + timedelta(seconds=LENGTH_S * SPEED):
        at = _column(view, view.began + (hour - there) / SPEED, columns)
        label = f"{hour:%a}" if hour.hour == 0 else f"{hour:%H:%M}"
        if hour.hour % 3 == 0 and at + len(label) <= columns:
            cells[at : at + len(label)] = label
        hour += timedelta(hours=1)
    return _line("", [(cell, "dim") for cell in cells])


# the GPUs


def _gantt(view: View, columns: int) -> list[Text]:
    """Return the caption and a row per GPU: what ran, runs and is planned on it, with the jobs' numbers."""
    rows: list[list[Cell]] = [[("·", "dim")] * columns for _ in view.gpus]
    for index, job in _seats(view):
        span = expected_span(job)
        if span:
            _paint(rows[index], view, job, span)
    now = _column(view, view.now, columns)
    caption = Text("EMULATED GPUs   ", style="dim").append("█ ran or runs   ▒ still to run   ░ planned", style="dim")
    return [caption, *(_line(f"GPU {index}", _marked(cells, now)) for index, cells in enumerate(rows))]


def _seats(view: View) -> list[tuple[int, Answer]]:
    """Return which job is on which GPU. A plan counts GPUs without naming them: planned jobs take what is free then."""
    seats: list[tuple[int, Answer]] = []
    for job in sorted(view.jobs, key=lambda job: (started_at(job) is None, expected_span(job) or (view.now,))):
        if started_at(job):
            seats += [(view.gpus.index(name), job) for name in job["runs"][-1]["devices"] if name in view.gpus]
        else:
            free = [index for index in range(len(view.gpus)) if not _overlaps(job, index, seats)]
            seats += [(index, job) for index in free[: job["gpus"]]]
    return seats


def _overlaps(job: Answer, index: int, seats: Sequence[tuple[int, Answer]]) -> bool:
    mine = expected_span(job)
    others = [expected_span(other) for seat, other in seats if seat == index]
    return mine is None or any(span and span[0] < mine[1] and mine[0] < span[1] for span in others)


def _paint(row: list[Cell], view: View, job: Answer, span: tuple[datetime, datetime]) -> None:
    first = _column(view, span[0], len(row))
    last = max(first + 1, _column(view, span[1], len(row)))
    now = _column(view, view.now, len(row))
    color = _color(job)
    for column in range(first, min(last, len(row))):
        sign = "░" if not started_at(job) else "▒" if is_live(job) and column >= now else "█"
        row[column] = (sign, color)
    if first < len(row):
        row[first] = (f"{job['id']}"[-1], f"bold reverse {color}" if started_at(job) else f"bold {color}")


# the jobs


def _table(view: View, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", width=width)
    table.add_column("#", no_wrap=True)
    table.add_column("job", no_wrap=True, min_width=12)
    table.add_column("state", no_wrap=True, min_width=9)
    table.add_column("start", no_wrap=True, min_width=9)
    table.add_column("Wh", justify="right", no_wrap=True, min_width=5)
    table.add_column("g CO2e", justify="right", no_wrap=True, min_width=6)
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in view.jobs:
        table.add_row(*_row(view, job, wide=width >= _WIDE))
    return table


def _row(view: View, job: Answer, *, wide: bool) -> list[Text]:
    run = job["runs"][-1] if job["runs"] else {}
    span = expected_span(job)
    energy_j, grams = run.get("energy_j"), run.get("emissions_g")
    unknown = "?" if run else ""
    return [
        Text(str(job["id"]), style=f"bold {_color(job)}"),
        Text(job["name"], style=_color(job)),
        Text(job["state"], style=_STATES.get(job["state"], "")),
        Text(view.clock(span[0]) if span else "", style="" if started_at(job) else "dim"),
        Text(unknown if energy_j is None else decimal_text(energy_j / J_PER_KWH * 1000, 3)),
        Text(unknown if grams is None else decimal_text(grams, 3)),
        Text(_why(view, job, wide=wide), style="dim"),
    ]


def _why(view: View, job: Answer, *, wide: bool) -> str:
    """Return the reason of the wait or the start in a few words, with the expected or actual intensity."""
    if is_finished(job) and job["state"] != "succeeded":
        return text.reason_text(job)
    reason = view.why.get(job["id"]) or job.get("reason") or {}
    words = str(reason.get("code", "")).replace("_", " ")
    planned = job.get("planned")
    if planned:
        below = text.below_text(planned) if wide else ""
        return ", ".join(part for part in (text.forecast_text(planned["g_per_kwh"]), words, below) if part)
    price = intensity_of(job["runs"][-1]) if job["runs"] else None
    return f"{intensity_text(price)}, {words}" if price is not None else words


# the common axis


def _instant(view: View, column: float, columns: int) -> datetime:
    return view.began + timedelta(seconds=LENGTH_S * column / columns)


def _column(view: View, at: datetime, columns: int) -> int:
    return max(0, int((at - view.began).total_seconds() / LENGTH_S * columns))


def _color(job: Answer) -> str:
    return _COLORS[(job["id"] - 1) % len(_COLORS)]


def _marked(cells: list[Cell], now: int) -> list[Cell]:
    """Draw the present as a line through the row, behind nothing but blanks, dots and bars."""
    return [_NOW if column == now and not cell[0].isdigit() else cell for column, cell in enumerate(cells)]


def _line(label: str, cells: Sequence[Cell]) -> Text:
    line = Text(label.rjust(GUTTER - 1) + " ", style="dim", no_wrap=True)
    for sign, style in cells:
        line.append(sign, style=f"not dim {style}" if "dim" not in style else style)
    return line
