"""What else could be done with a job that waits: start it now, at its cleanest or at its latest, in grams and delay."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.api.job_models import ExplainOut
from greenrun.core.carbon.intensity import Series, Signal

_MOST_TRIED = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A start that was possible, with what it would mean; None where the forecast does not say."""

    name: str
    start: datetime
    delay: timedelta
    g_per_kwh: float | None
    signal: Signal | None
    emissions_g: float | None
    is_planned: bool = False


def alternatives(told: ExplainOut, series: Series | None, now: datetime) -> list[Alternative]:
    """Return starts of a planned job to compare, in order; empty for one that is not planned."""
    if told.planned is None:
        return []
    return sorted(_alternatives(told, series, now), key=lambda row: (row.start, not row.is_planned))


def _alternatives(told: ExplainOut, series: Series | None, now: datetime) -> Iterator[Alternative]:
    planned = told.planned
    assert planned is not None
    yield Alternative(
        name="start now", start=now, delay=timedelta(0), g_per_kwh=planned.start_now_g_per_kwh,
        signal=planned.signal, emissions_g=planned.start_now_g,
    )  # fmt: skip
    yield Alternative(
        name="as planned", start=planned.start, delay=max(timedelta(0), planned.start - now),
        g_per_kwh=planned.g_per_kwh, signal=planned.signal, emissions_g=planned.expected_g, is_planned=True,
    )  # fmt: skip
    if series is None:
        return
    length = timedelta(seconds=told.duration_s)
    is_same = (planned.signal or Signal.AVERAGE) is series.id.signal  # else the plan's grams count something else
    grams_per_unit = None
    if is_same and planned.expected_g and planned.g_per_kwh:
        grams_per_unit = planned.expected_g / planned.g_per_kwh
    first, last = max(now, told.earliest_start), max(now, told.latest_start)
    starts = _candidates(series, first, last, length)
    means = [(mean, start) for start in starts if (mean := series.mean(start, start + length)) is not None]
    found = [("cleanest that the forecast has, if GPUs were free", *min(means))] if means else []
    at_last = series.mean(last, last + length)
    for name, mean, start in [*found, *([("at the latest", at_last, last)] if at_last is not None else [])]:
        yield Alternative(
            name=name, start=start, delay=max(timedelta(0), start - now), g_per_kwh=mean,
            signal=series.id.signal, emissions_g=None if grams_per_unit is None else mean * grams_per_unit,
        )  # fmt: skip


def _candidates(series: Series, first: datetime, last: datetime, length: timedelta) -> list[datetime]:
    """Return the starts among which the cleanest is: a window of a step function begins or ends where a step does."""
    ends = (edge - length for edge in series.edges(first + length, last + length))
    return [first, last, *series.edges(first, last), *ends][:_MOST_TRIED]
