"""Charts drawn with characters: bars, steps and intervals; pure functions from numbers to lines of text.

It is on the command line's quick path: the standard library alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import NamedTuple

ROWS = 12  # of a large chart
CLEAN = timedelta(hours=4)
_SCALES = (4, 3, 6)  # how many ticks the left axis may have
_RIGHTWARDS = " ▏▎▍▌▋▊▉█"
_UPWARDS = " ▁▂▃▄▅▆▇█"
_ESTIMATED = "░"
_MAX_LINES = 48
_LABEL = 12  # columns that a label of the time axis and the room after it take
_EVERY_S = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400)


class Step(NamedTuple):
    """A mean intensity in g/kWh over `[start, end)`."""

    start: datetime
    end: datetime
    g_per_kwh: float


class GanttBar(NamedTuple):
    """A labelled interval; with `pieces`, those parts of it in which something runs."""

    label: str
    start: datetime
    end: datetime
    pieces: Sequence[tuple[datetime, datetime]] = ()


class CleanWindow(NamedTuple):
    """An interval and its mean intensity in g/kWh."""

    start: datetime
    end: datetime
    g_per_kwh: float


def merged(steps: Sequence[Step], limit: int = _MAX_LINES) -> list[Step]:
    """Return at most `limit` steps: neighbours merged evenly, each with the mean of its parts weighted by time."""
    size = max(1, -(-len(steps) // limit))
    return [_whole(steps[at : at + size]) for at in range(0, len(steps), size)]


def forecast_lines(steps: Sequence[Step], width: int, zone: tzinfo | None = None) -> list[str]:
    """Return one line per step: local time, g/kWh, a bar `width` columns at most, and a mark at the cleanest.

    Where all are alike, as those of a yearly mean, none is marked.
    """
    if not steps:
        return []
    top = max(max(step.g_per_kwh for step in steps), 1)
    cleanest = min(steps, key=lambda step: step.g_per_kwh) if are_different(steps) else None
    form = "%a %H:%M:%S" if steps[0].end - steps[0].start < timedelta(minutes=1) else "%a %H:%M"
    return [
        f"{step.start.astimezone(zone):{form}}  {step.g_per_kwh:>5.0f}  {_row(step.g_per_kwh / top, width)}"
        + ("  ◀ cleanest" if step is cleanest else "")
        for step in steps
    ]


def are_different(steps: Sequence[Step]) -> bool:
    """Whether one of several steps can be cleaner than another."""
    return len(steps) < 2 or len({step.g_per_kwh for step in steps}) > 1


def strip(steps: Sequence[Step], start: datetime, end: datetime, width: int) -> str:
    """Return one character per column of `[start, end)`, higher for dirtier hours, blank where nothing is known."""
    values = [value_at(steps, start + (end - start) * (column + 0.5) / width) for column in range(width)]
    known = [value for value in values if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    spread = (high - low) or 1
    return "".join(" " if value is None else _UPWARDS[1 + round((value - low) / spread * 7)] for value in values)


def gantt_lines(bars: Sequence[GanttBar], start: datetime, end: datetime, width: int) -> list[str]:
    """Return one line per bar on the axis `[start, end)`, dots for pauses; a bar or piece has at least one column."""
    column_of = width / max((end - start).total_seconds(), 1e-9)

    def columns(since: datetime, until: datetime) -> slice:
        first = min(width - 1, max(0, int((since - start).total_seconds() * column_of)))
        return slice(first, min(width, max(first + 1, round((until - start).total_seconds() * column_of))))

    lines = []
    for bar in bars:
        cells = [" "] * width
        for sign, parts in (("·", [(bar.start, bar.end)]), ("█", bar.pieces or [(bar.start, bar.end)])):
            for columns_of in (columns(since, until) for since, until in parts):
                cells[columns_of] = sign * (columns_of.stop - columns_of.start)
        lines.append(f"{bar.label}  {''.join(cells)}".rstrip())
    return lines


def time_axis(start: datetime, end: datetime, width: int, zone: tzinfo | None = None) -> str:
    """Return local times of day over `width` columns of `[start, end)`, each where it begins."""
    return _times([start + (end - start) * (column / width) for column in range(width + 1)], zone).rstrip()


def plot_lines(steps: Sequence[Step], estimated: Sequence[bool], width: int, zone: tzinfo | None = None) -> list[str]:
    """Return the chart of steps in time order, `width` columns wide with its axes, the cleanest hours marked below.

    `estimated` says of each step whether nobody forecast it: those are lighter. Where nothing is known it is blank.
    """
    if not steps:
        return []
    start, end = steps[0].start, steps[-1].end
    top, ticks = _scale(max(step.g_per_kwh for step in steps))
    margin = 2 + max(len(f"{top * tick / ticks:g}") for tick in range(1, ticks + 1))
    columns = max(20, width - margin)
    edges = [start + (end - start) * (column / columns) for column in range(columns + 1)]
    bars = [_column(steps, estimated, first, last, top) for first, last in pairwise(edges)]
    window = cleanest(steps)
    lines = [_axis(row, top, ticks, margin) + "".join(bar[row] for bar in bars) for row in reversed(range(ROWS))]
    lines.append(" " * (margin - 1) + "└" + _marked(edges, window))
    lines.append(" " * margin + _times(edges, zone))
    if any(estimated):
        lines.append(f"{_ESTIMATED} estimated, for nobody forecasts it")
    return [line.rstrip() for line in lines]


def cleanest(steps: Sequence[Step], length: timedelta = CLEAN) -> CleanWindow | None:
    """Return the window of this length with the least mean, the first of equals.

    None where none is known wholly, and where all hours are alike.
    Means are of a step function, so the best window begins or ends at the edge of a step.
    """
    starts = sorted({step.start for step in steps} | {step.end - length for step in steps})
    known = [(mean, at) for at in starts if (mean := _mean(steps, at, at + length)) is not None]
    if not known or not are_different(steps):
        return None
    mean, at = min(known)
    return CleanWindow(at, at + length, mean)


def bar_column(value: float, top: float, rows: int) -> str:
    """Return a bar from the bottom up: a character for each of `rows` rows, which `top` fills."""
    full, rest = divmod(min(rows * 8, max(0, round(value / top * rows * 8))), 8)
    return ("█" * full + _UPWARDS[rest].strip()).ljust(rows)


def value_at(steps: Sequence[Step], at: datetime) -> float | None:
    """Return the intensity at an instant in g/kWh, None where none is known."""
    return next((step.g_per_kwh for step in steps if step.start <= at < step.end), None)


def _whole(steps: Sequence[Step]) -> Step:
    start, end = steps[0].start, steps[-1].end
    return Step(start, end, _parts(steps, start, end)[1])


def _row(share: float, width: int) -> str:
    full, rest = divmod(round(max(0.0, share) * width * 8), 8)
    return "█" * full + _RIGHTWARDS[rest].strip()


def _touched(steps: Sequence[Step], start: datetime, end: datetime) -> slice:
    """Where the steps are that have a part in an interval."""
    return slice(
        bisect_right(steps, start, key=lambda step: step.end), bisect_left(steps, end, key=lambda step: step.start)
    )


def _parts(steps: Sequence[Step], start: datetime, end: datetime) -> tuple[float, float]:
    """How many seconds of an interval the steps cover, and the mean over those."""
    lengths_s = [(min(step.end, end) - max(step.start, start)).total_seconds() for step in steps]
    covered_s = sum(lengths_s)
    return covered_s, sum(s * step.g_per_kwh for s, step in zip(lengths_s, steps, strict=True)) / max(covered_s, 1e-9)


def _mean(steps: Sequence[Step], start: datetime, end: datetime) -> float | None:
    """The mean over an interval; None where a part of it is not known."""
    covered_s, mean = _parts(steps[_touched(steps, start, end)], start, end)
    return mean if covered_s >= (end - start).total_seconds() - 1e-3 else None


def _scale(highest: float) -> tuple[float, int]:
    """The value at the top of the chart, the lowest that holds the highest bar, and how many ticks lead to it."""
    return min(((ticks * _nice(highest / ticks), ticks) for ticks in _SCALES), key=lambda scale: scale[0])


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and their tenfolds from a value on."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= value)


def _column(steps: Sequence[Step], estimated: Sequence[bool], start: datetime, end: datetime, top: float) -> str:
    """One column from the bottom up."""
    touched = _touched(steps, start, end)
    if not steps[touched]:
        return " " * ROWS
    mean = _parts(steps[touched], start, end)[1]
    if any(estimated[touched]):
        return (_ESTIMATED * max(1, round(round(mean / top * ROWS * 8) / 8))).ljust(ROWS)
    return bar_column(max(mean, top / ROWS / 8), top, ROWS)


def _axis(row: int, top: float, ticks: int, margin: int) -> str:
    """The left margin: the values that bars reach with a tick's row, which is the highest of its group."""
    is_tick = (row + 1) * ticks % ROWS == 0
    label = f"{top * (row + 1) / ROWS:g}" if is_tick else ""
    return label.rjust(margin - 2) + " " + ("┤" if is_tick else "│")


def _marked(edges: Sequence[datetime], window: CleanWindow | None) -> str:
    """The line below the bars, heavy under the cleanest window."""
    middles = [first + (last - first) / 2 for first, last in pairwise(edges)]
    return "".join("▲" if window and window.start <= middle < window.end else "─" for middle in middles)


def _times(edges: Sequence[datetime], zone: tzinfo | None) -> str:
    """Labels of local times of day, each where it begins; midnight is labelled with its weekday."""
    start, end, columns = edges[0], edges[-1], len(edges) - 1
    span_s = (end - start).total_seconds()
    room_s = span_s * _LABEL / columns
    every_s = next((every for every in _EVERY_S if every >= room_s), _EVERY_S[-1] * -(-int(room_s) // _EVERY_S[-1]))
    line = [" "] * (columns + _LABEL)
    for at in _ticks(start.astimezone(zone), end, every_s):
        column = round((at - start).total_seconds() / span_s * columns)
        text = _time(at, every_s)
        if column + len(text) <= columns:
            line[column : column + len(text)] = text
    return "".join(line)


def _time(at: datetime, every_s: int) -> str:
    if at.hour == at.minute == at.second == 0:
        return f"{at:%a %d}"
    return f"{at:%H:%M:%S}" if every_s < 60 else f"{at:%H:%M}"


def _ticks(start: datetime, end: datetime, every_s: int) -> list[datetime]:
    """The instants of local time that are whole multiples of `every_s` since midnight."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    count = int((end - midnight).total_seconds() // every_s) + 1
    ticks = [midnight + timedelta(seconds=number * every_s) for number in range(count)]
    return [at for at in ticks if start <= at < end]
