"""Put a placement's grounds into words, and its expected emissions into grams."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import SENTENCES, Reason, ReasonCode, because
from greenrun.core.planning.model import MOVED, Interval, Options, Situation
from greenrun.core.planning.stability import MOST_PUT_OFFS
from greenrun.core.units import emissions_g, energy_j

_STARTS_WHEN_FREE = frozenset(
    {ReasonCode.ASKED_NOW, ReasonCode.DEADLINE, ReasonCode.NO_FORECAST, ReasonCode.FORECAST_TOO_SHORT}
    | {ReasonCode.DUE, ReasonCode.SOONEST, ReasonCode.NO_LIMIT_LEFT, ReasonCode.CLEAN_ENOUGH}
)


def placement_reason(
    job: Job, situation: Situation, code: ReasonCode, start: datetime, means: tuple[float | None, ...]
) -> Reason:
    """Return why `job` is placed at `start`; `means` over its window, one from now on and the cleanest, in g/kWh."""
    own = because(code, **_details(job, situation.options, code, means))
    if code not in _STARTS_WHEN_FREE or start <= max(situation.now, job.earliest_start):
        return own
    if job.spec.gpus > len(situation.devices) - len(situation.elsewhere) and situation.elsewhere:
        return because(ReasonCode.GPUS_HELD_ELSEWHERE, who=_holders(situation))
    return because(ReasonCode.GPUS_BUSY, what=_wanted(job), at=time_text(start), why=own.text)


def _details(job: Job, options: Options, code: ReasonCode, means: tuple[float | None, ...]) -> dict[str, str]:
    """Return what the sentence of a code names, and no more: thousands of jobs are told of in a plan."""
    window, at_once, least = means
    ways: dict[str, Callable[[], str]] = {
        "window": lambda: "an unknown intensity" if window is None else f"{grams_text(window)} g/kWh",
        "below": lambda: below_text(window, at_once),
        "limit": lambda: _limit_text(job, code, options),
        "saving": lambda: percent_text(least, window),
        "latest": lambda: time_text(job.latest_start(options.default_max_delay)),
        "duration": lambda: duration_text(job.spec.duration),
    }
    sentence = SENTENCES[code]
    return {name: text() for name, text in ways.items() if f"{{{name}}}" in sentence}


def with_promise(reason: Reason, job: Job, end: datetime, promised: Interval | None, put_offs: int) -> Reason:
    """Add to a reason, where the job now ends later than first planned, what that was and how often it was put off."""
    if promised is None or end <= promised[1] + MOVED:
        return reason
    first = f"to end by {time_text(promised[1])}" if job.spec.interruptible else f"for {time_text(promised[0])}"
    counted = f", put off {counted_text(put_offs, 'time')}" if put_offs else ""
    forced = f", the last {put_offs - MOST_PUT_OFFS} for want of room" if put_offs > MOST_PUT_OFFS else ""
    held = ", and not again for less carbon" if put_offs >= MOST_PUT_OFFS else ""
    return replace(reason, text=f"{reason.text}; first planned {first}{counted}{forced}{held}")


def expected_g(job: Job, intensity_g_per_kwh: float | None, run_s: float, options: Options) -> float | None:
    """Return what the job would emit in `run_s` at a mean intensity, in g; None when its power or that is unknown."""
    power_w = job.spec.power_w
    if power_w is None and options.gpu_power_w is not None and job.spec.gpus:
        power_w = options.gpu_power_w * job.spec.gpus
    if power_w is None or intensity_g_per_kwh is None:
        return None
    return emissions_g(energy_j(power_w, timedelta(seconds=run_s)), intensity_g_per_kwh, options.pue)


def below_text(window: float | None, at_once: float | None) -> str:
    """`41 % below now`, `3 % above now`, or that it cannot be told."""
    if window is None:
        return "for there is no forecast of all of it"
    if not at_once:
        return "the intensity now is unknown"
    change = window / at_once - 1
    if abs(change) < 0.005:
        return "as now"
    return f"{abs(change):.0%} {'above' if change > 0 else 'below'} now".replace("%", " %")


def percent_text(window: float | None, at_once: float | None) -> str:
    """The saving of a window against starting now, in per cent."""
    return "an unknown share" if window is None or not at_once else f"{1 - window / at_once:.1%}".replace("%", " %")


def grams_text(intensity_g_per_kwh: float | None) -> str:
    """An intensity as people read it, without its unit."""
    return "unknown" if intensity_g_per_kwh is None else f"{intensity_g_per_kwh:.0f}"


def counted_text(count: int, thing: str) -> str:
    """A number of things: `1 GPU`, `2 GPUs`."""
    return f"{count} {thing}" + ("" if count == 1 else "s")


def mass_text(mass_g: float) -> str:
    """A mass as people read it: three figures below a kilogram, kilograms from there on."""
    return f"{mass_g / 1000:,.1f} kg" if mass_g >= 1000 else f"{mass_g:.3g} g"


def time_text(instant: datetime) -> str:
    """An instant as UTC text; interfaces that know the reader's zone print their own."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def duration_text(duration: timedelta) -> str:
    """`6h`, `1h30m`, `45s`: the form that settings and options take."""
    seconds = round(duration.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds % 86400 // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or f"{duration.total_seconds():g}s"


def time_to_follow(duration: timedelta) -> timedelta:
    """How long advice about a job of this duration must hold, for somebody has to read it first."""
    return min(max(duration / 10, timedelta(seconds=5)), timedelta(minutes=1))


def finish_by_text(end: datetime, duration: timedelta) -> str:
    """The earliest finish-by to advise for a job that can end at `end`: to the second, with time to follow it."""
    whole = (end + time_to_follow(duration)).replace(microsecond=0) + timedelta(seconds=1)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def shorter_text(room: timedelta, duration: timedelta) -> str | None:
    """The longest duration to advise for a job that has `room`, with time to follow it; None when there is none."""
    seconds = int((room - time_to_follow(duration)).total_seconds())
    return duration_text(timedelta(seconds=seconds)) if seconds >= 1 else None


def _limit_text(job: Job, code: ReasonCode, options: Options) -> str:
    if code is ReasonCode.CLEAN_ENOUGH:
        own = job.spec.run_below_g_per_kwh
        return grams_text(options.run_below_g_per_kwh if own is None else own)
    ratio = options.min_saving if job.spec.min_saving is None else job.spec.min_saving
    return f"{ratio:.1%}".replace("%", " %")


def _wanted(job: Job) -> str:
    return counted_text(job.spec.gpus, "free GPU") if job.spec.gpus else "a free CPU slot"


def _holders(situation: Situation) -> str:
    return "; ".join(f"{device} by {who}" for device, who in sorted(situation.elsewhere.items()))
