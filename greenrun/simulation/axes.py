"""Where the marks of an axis lie and what they say: round numbers, and round times in UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil, floor, log10

HOUR_S, DAY_S = 3600, 86_400
_STEPS_S = (60, 300, 900, 1800, *(hours * HOUR_S for hours in (1, 2, 3, 6, 12)), *(DAY_S * n for n in (1, 2, 4, 7, 14)))
_MONTHS = (1, 2, 3, 6, 12)
_MONTH_S = 30 * DAY_S


def numbers(top: float, most: int = 5, least_step: float = 0.0) -> list[float]:
    """Return round numbers from 0, the last at or above `top`: at most `most` + 1, but at least two."""
    if top <= 0:
        return [0.0, max(1.0, least_step)]
    magnitude = 10.0 ** floor(log10(top / most))
    step = next(factor * magnitude for factor in (1, 2, 5, 10, 20) if factor * magnitude * most >= top)
    step = max(step, least_step)
    return [step * index for index in range(ceil(top / step - 1e-9) + 1)]


def times(start_s: float, end_s: float, most: int = 10) -> list[tuple[float, str]]:
    """Return round instants from `start_s` to `end_s` with what to write there, about `most` of them at the most."""
    span_s = end_s - start_s
    step_s = next((step_s for step_s in _STEPS_S if span_s / step_s <= most), None)
    marks = _months(start_s, end_s, most) if step_s is None else _even(start_s, end_s, step_s)
    return [(at_s, text) for at_s, text in marks if start_s <= at_s <= end_s]


def instant_text(at_s: float) -> str:
    """Return `2022-10-19 16:00`, in UTC."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"


def _even(start_s: float, end_s: float, step_s: int) -> Iterator[tuple[float, str]]:
    at_s = floor(start_s / DAY_S) * DAY_S
    while at_s <= end_s:
        at = datetime.fromtimestamp(at_s, UTC)
        yield at_s, f"{at:%b} {at.day}" if at_s % DAY_S == 0 else f"{at:%H:%M}"
        at_s += step_s


def _months(start_s: float, end_s: float, most: int) -> Iterator[tuple[float, str]]:
    step = next((step for step in _MONTHS if (end_s - start_s) / (step * _MONTH_S) <= most), None)
    step = step or 12 * ceil((end_s - start_s) / (12 * _MONTH_S * most))
    number = datetime.fromtimestamp(start_s, UTC).year * 12
    while (at := datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)).timestamp() <= end_s:
        yield at.timestamp(), f"{at:%Y}" if at.month == 1 else f"{at:%b}"
        number += step
