"""The sentence that goes with each reason code of a plan."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from greenrun.core.carbon.intensity import Kind
from greenrun.core.formatting import (
    compared_text,
    count_text,
    duration_text,
    instant_text,
    intensity_text,
    percent_text,
)
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import SENTENCES, Reason, ReasonCode, because
from greenrun.core.planning.model import MOVED, Interval, Options, Situation
from greenrun.core.planning.site_limits.reserved import Reserved, whose_text
from greenrun.core.planning.stability import MOST_PUT_OFFS

MOST_NAMED = 3  # jobs named in a sentence


class Held(NamedTuple):
    """The jobs, by id, at whose end a row gets its GPUs, and when it would have started if there were enough.

    `reserved` is what keeps it from GPUs that are free, where that is so.
    """

    by: tuple[int, ...]
    wanted: datetime | None
    reserved: tuple[Reserved, ...] = ()


STARTS_WHEN_FREE = frozenset(
    {ReasonCode.ASKED_NOW, ReasonCode.DEADLINE, ReasonCode.NO_FORECAST, ReasonCode.FORECAST_TOO_SHORT}
    | {ReasonCode.DUE, ReasonCode.SOONEST, ReasonCode.NO_LIMIT_LEFT, ReasonCode.CLEAN_ENOUGH}
    | {ReasonCode.NOT_WORTH_WAITING}
)


def placement_reason(
    job: Job,
    situation: Situation,
    code: ReasonCode,
    start: datetime,
    *,
    window: float | None,
    at_once: float | None,
    least: float | None,
    held: Held | None = None,
    spared: Sequence[int] = (),
    is_out_of_reach: bool = False,
) -> Reason:
    """Return why `job` is placed at `start`; `held` tells of the GPUs that it waits for, `spared` whom it gives way to.

    `is_out_of_reach`: it needs GPUs that somebody outside this daemon holds.

    `window`, `at_once` and `least` are mean intensities in g/kWh: over its window, over one that begins now, and over
    the cleanest one it could have, or would get if it waited; None where unknown.
    """
    if code is ReasonCode.GPUS_BUSY:
        wanted = situation.now if held is None or held.wanted is None else held.wanted
        why = f"with more of them it would start {'now' if wanted <= situation.now else f'at {instant_text(wanted)}'}"
    elif code not in STARTS_WHEN_FREE or start <= max(situation.now, job.earliest_start):
        return because(code, **_details(job, situation, code, window=window, at_once=at_once, least=least))
    else:
        details = _details(job, situation, code, window=window, at_once=at_once, least=least)
        why = because(code, **details).text
        if code is ReasonCode.DEADLINE and job.expires:
            why = f"its latest start of {details['latest']} cannot be met"  # what follows of it is said at the end
        if spared:
            return because(ReasonCode.GIVES_WAY, jobs=_named(spared), at=instant_text(start), why=why)
    if is_out_of_reach:
        return because(ReasonCode.GPUS_HELD_ELSEWHERE, who=_holders(situation))
    if held and held.reserved:
        what = f"waits for {_wanted(job)}, expected at {instant_text(start)}"
        who = whose_text(held.reserved, situation.now)
        return because(ReasonCode.RESERVED, what=what, who=who, why=why)
    holders = _when_they_end(held.by if held else ())
    return because(ReasonCode.GPUS_BUSY, what=_wanted(job), at=instant_text(start), holders=holders, why=why)


def _when_they_end(ids: Sequence[int]) -> str:
    """Say which jobs end then: ` when job 3 ends`; nothing where that is not known."""
    return f" when {_named(ids)} end{'s' if len(ids) == 1 else ''}" if ids else ""


def _named(ids: Sequence[int]) -> str:
    """Name jobs: `job 3`, `jobs 3, 4, 5 and 2 more`."""
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    listed = ", ".join(str(job_id) for job_id in ids[:MOST_NAMED])
    return f"job{'s' if len(ids) > 1 else ''} {listed}{more}"


def _details(
    job: Job,
    situation: Situation,
    code: ReasonCode,
    *,
    window: float | None,
    at_once: float | None,
    least: float | None,
) -> dict[str, str]:
    """Return what the sentence of a code names, and no more: a plan explains thousands of jobs."""
    options = situation.options
    ways: dict[str, Callable[[], str]] = {
        "window": lambda: _window_text(window, situation),
        "below": lambda: _below_now(window, at_once, _signal(situation)),
        "limit": lambda: _limit_text(job, code, options),
        "saving": lambda: _saving(least, window),
        "latest": lambda: instant_text(job.latest_start(options.default_max_delay)),
        "duration": lambda: duration_text(job.spec.duration),
    }
    sentence = SENTENCES[code]
    return {name: text() for name, text in ways.items() if f"{{{name}}}" in sentence}


def _window_text(window: float | None, situation: Situation) -> str:
    if window is None:
        return "an unknown intensity"
    return intensity_text(window, _signal(situation)) + _doubt(situation)


def _signal(situation: Situation) -> str | None:
    return situation.forecast.id.signal if situation.forecast else None


def _doubt(situation: Situation) -> str:
    """Say that nothing but estimates is known of the hours ahead: no source has forecast any of them."""
    kinds = situation.forecast.kinds if situation.forecast else ()
    return " (estimated)" if kinds and all(kind is Kind.ESTIMATED for kind in kinds) else ""


def with_promise(reason: Reason, job: Job, end: datetime, promised: Interval | None, put_offs: int) -> Reason:
    """Add to a reason, where the job now ends later than first planned, what that was and how often it was put off."""
    if promised is None or end <= promised[1] + MOVED:
        return reason
    first = f"to end by {instant_text(promised[1])}" if job.spec.interruptible else f"for {instant_text(promised[0])}"
    counted = f", put off {count_text(put_offs, 'time')}" if put_offs else ""
    forced = f", the last {put_offs - MOST_PUT_OFFS} for want of room" if put_offs > MOST_PUT_OFFS else ""
    held = ", and not again for less carbon" if put_offs >= MOST_PUT_OFFS else ""
    return replace(reason, text=f"{reason.text}; first planned {first}{counted}{forced}{held}")


def with_expiry(reason: Reason, job: Job, start: datetime, options: Options) -> Reason:
    """Add to the reason of a job that is placed too late and asked not to start late what will come of it."""
    latest = job.latest_start(options.default_max_delay)
    if not job.expires or start <= latest + options.due_grace:
        return reason
    told = f"it expires at {instant_text(latest)} unless it can start by then"
    return replace(reason, text=f"{reason.text}; {told}")


def _limit_text(job: Job, code: ReasonCode, options: Options) -> str:
    if code is ReasonCode.CLEAN_ENOUGH:
        own = job.spec.run_below_g_per_kwh
        return intensity_text(options.run_below_g_per_kwh if own is None else own)
    ratio = options.min_saving if job.spec.min_saving is None else job.spec.min_saving
    return percent_text(ratio, 1)


def _below_now(window: float | None, at_once: float | None, signal: str | None) -> str:
    if window is None:
        return "for there is no forecast of all of it"
    if at_once is None:
        return "the intensity now is unknown"
    return compared_text(window, at_once) if at_once else f"and {intensity_text(at_once, signal)} now"


def _saving(window: float | None, at_once: float | None) -> str:
    """Return what a window saves against starting now."""
    if window is None or not at_once:
        return "an unknown share"
    return percent_text(1 - window / at_once, 1) if window < at_once else "nothing"


def _wanted(job: Job) -> str:
    return count_text(job.spec.gpus, "free GPU") if job.spec.gpus else "a free CPU slot"


def _holders(situation: Situation) -> str:
    return "; ".join(f"{device} by {who}" for device, who in sorted(situation.elsewhere.items()))
