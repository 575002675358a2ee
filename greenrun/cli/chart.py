"""Draw intensities and plans with characters; pure functions from numbers to lines."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_MAX_ROWS = 48


class Step(NamedTuple):
    """A mean intensity in g/kWh over `[start, end)`."""

    start: datetime
    end: datetime
    g_per_kwh: float


class Bar(NamedTuple):
    """A labelled interval; with `pieces`, those parts of it in which something runs."""

    label: str
    start: datetime
    end: datetime
    pieces: Sequence[tuple[datetime, datetime]] = ()


def merged(steps: Sequence[Step], limit: int = _MAX_ROWS) -> list[Step]:
    """Return at most `limit` steps: neighbours merged evenly, each with the mean of its parts weighted by time."""
    size = max(1, -(-len(steps) // limit))
    return [_mean(steps[at : at + size]) for at in range(0, len(steps), size)]


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
        f"{step.start.astimezone(zone):{form}}  {step.g_per_kwh:>5.0f}  {_bar(step.g_per_kwh / top, width)}"
        + ("  ◀ cleanest" if step is cleanest else "")
        for step in steps
    ]


def are_different(steps: Sequence[Step]) -> bool:
    """Whether one of several steps can be cleaner than another."""
    return len(steps) < 2 or len({step.g_per_kwh for step in steps}) > 1


def strip(steps: Sequence[Step], start: datetime, end: datetime, width: int) -> str:
    """Return one character per column of `[start, end)`, higher for dirtier hours, blank where nothing is known."""
    values = [_at(steps, start + (end - start) * (column + 0.5) / width) for column in range(width)]
    known = [value for value in values if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    spread = (high - low) or 1
    return "".join(" " if value is None else _LEVELS[round((value - low) / spread * 7)] for value in values)


def gantt_lines(bars: Sequence[Bar], start: datetime, end: datetime, width: int) -> list[str]:
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


def _mean(steps: Sequence[Step]) -> Step:
    seconds = [(step.end - step.start).total_seconds() for step in steps]
    weighted = sum(step.g_per_kwh * length for step, length in zip(steps, seconds, strict=True))
    return Step(steps[0].start, steps[-1].end, weighted / sum(seconds))


def _bar(share: float, width: int) -> str:
    eighths = round(max(0.0, share) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _at(steps: Sequence[Step], at: datetime) -> float | None:
    return next((step.g_per_kwh for step in steps if step.start <= at < step.end), None)
