"""The rules by which other schedulers choose a start, so that greenrun can be compared with them on the same jobs.

Each rule looks at one job when it arrives, at the forecast in hand then, and names the instant at which the job is to
start; none of them reserves GPUs. `dispatch` then starts a job at its instant or, if its GPUs are not free then, as
soon as they are. Instants are epoch seconds, durations seconds, intensities g/kWh.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Protocol

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.errors import InputProblem
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.power_cap.site_power import whole_mw

DAY_S = 86_400.0
_TIE = 9  # decimals, in g/kWh, to which means that are equal agree


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A job as it came in: what it needs, what it draws in all (watts), how long its start may be put off, whose.

    `power_limit` is what it allows of its GPUs in dirty hours, which greenrun alone knows of.
    """

    submitted_s: float
    duration_s: float
    gpus: int
    power_w: float
    max_delay_s: float
    interruptible: bool = False
    user: str = ""
    project: str = ""
    power_limit: str = ""

    @property
    def latest_start_s(self) -> float:
        """The last instant at which it should start, run in one piece."""
        return self.submitted_s + self.max_delay_s

    @property
    def latest_end_s(self) -> float:
        """The last instant at which it should end."""
        return self.latest_start_s + self.duration_s


class ForecastView(Protocol):
    """What could be known when: nothing here looks further ahead than the forecast in hand."""

    news_s: Floats
    """The instants, in order, at which what is known changes: slot edges and issues; shape (n,)."""

    def forecast(self, at_s: float) -> Series:
        """Return the forecast in hand at an instant, from the slot that holds it on."""


Rule = Callable[[Arrival], float]  # the instant at which a job is to start


def start_at_once(job: Arrival) -> float:
    """Do not wait: what a queue without a forecast does."""
    return job.submitted_s


def own_best_window(view: ForecastView) -> Rule:
    """Take the start with the least mean intensity over the job's duration, within its limit, as if it were alone.

    The rule of the Carbon Aware SDK (its best execution time) and of CATS, on step functions: the best start is among
    those at which the window begins or ends at a slot edge. A window that the forecast does not cover is not known.
    """

    def choose(job: Arrival) -> float:
        starts_s, means = _windows(job, view)
        if np.isnan(means).all():
            return job.submitted_s
        return float(starts_s[np.nanargmin(np.round(means, _TIE))])

    return choose


def lowest_slot(view: ForecastView) -> Rule:
    """Start with the single cleanest slot within the limit, however long the job is.

    "Lowest Carbon Slot" of Hanafy et al., "Going Green for Less Green", ASPLOS 2024 (GAIA).
    """

    def choose(job: Arrival) -> float:
        forecast = view.forecast(job.submitted_s)
        begins_s = np.maximum(forecast.starts_s, job.submitted_s)
        open_to_it = begins_s <= job.latest_start_s
        if not open_to_it.any():
            return job.submitted_s
        return float(begins_s[open_to_it][np.argmin(np.round(forecast.values[open_to_it], _TIE))])

    return choose


def carbon_time(view: ForecastView) -> Rule:
    """Take the start that saves most carbon, against starting at once, per second until the job is complete.

    "Carbon-Time" of Hanafy et al., "Going Green for Less Green", ASPLOS 2024 (GAIA), with the true duration. Between
    the edges a window's carbon and its completion time are both linear in its start, so their ratio is best at one.
    """

    def choose(job: Arrival) -> float:
        starts_s, means = _windows(job, view)
        saved = means[0] - np.round(means, _TIE)
        if np.isnan(saved).all():
            return job.submitted_s
        return float(starts_s[np.nanargmax(saved / (starts_s - job.submitted_s + job.duration_s))])

    return choose


def threshold(view: ForecastView, limit_g_per_kwh: float) -> Rule:
    """Start as soon as the intensity is at or under a fixed limit, at the latest when the job must."""
    return _first_clean(view, lambda forecast: limit_g_per_kwh)


def percentile(view: ForecastView, percent: float) -> Rule:
    """Start as soon as the intensity is at or under that percentile of the day ahead, at the latest when the job must.

    After the suspend-resume rule that Souza et al., "Ecovisor", ASPLOS 2023, run their batch jobs by.
    """

    def limit(forecast: Series) -> float:
        day = forecast.starts_s < forecast.starts_s[0] + DAY_S
        return float(np.percentile(forecast.values[day], percent))

    return _first_clean(view, limit)


def dispatch(
    jobs: Sequence[Arrival],
    wanted_s: Sequence[float],
    gpus: int | None,
    power: Timeline | None = None,
    unreserved: Timeline | None = None,
) -> list[float]:
    """Return when each job starts: at its wanted instant, or once GPUs are free, those ready longest first.

    A job that needs fewer GPUs than are free passes one that waits for more. `gpus` None means that there are always
    enough; no job may need more than there are. `power` is what may be drawn, in milliwatts, None where that is not
    capped: a job then waits for power as well, for as long as it runs. `unreserved` are the GPUs with what is reserved
    of them taken: a job waits until enough of them are free for as long as it runs.
    """
    if power is not None or unreserved is not None:
        units = sum(job.gpus for job in jobs) if gpus is None else gpus
        line = power.copy() if power is not None else None
        return _dispatch_under(_with_power(unreserved or Timeline(units), line), jobs, wanted_s)
    if gpus is None:
        return list(wanted_s)
    starts_s = [0.0] * len(jobs)
    order = sorted(range(len(jobs)), key=lambda index: (wanted_s[index], index))
    ending: list[tuple[float, int]] = []
    ready: list[int] = []
    free, following = gpus, 0
    while following < len(order) or ready:
        now_s = _next_event(ending, wanted_s[order[following]] if following < len(order) else None)
        while ending and ending[0][0] <= now_s:
            free += heapq.heappop(ending)[1]
        while following < len(order) and wanted_s[order[following]] <= now_s:
            ready.append(order[following])
            following += 1
        waiting = []
        for index in ready:
            if jobs[index].gpus > free:
                waiting.append(index)
                continue
            free -= jobs[index].gpus
            starts_s[index] = now_s
            heapq.heappush(ending, (now_s + jobs[index].duration_s, jobs[index].gpus))
        ready = waiting
    return starts_s


def _with_power(gpus: Timeline, power: Timeline | None) -> Timeline:
    line = gpus.copy()
    line.power = power
    return line


def _dispatch_under(lines: Timeline, jobs: Sequence[Arrival], wanted_s: Sequence[float]) -> list[float]:
    """Do the same where power is capped or GPUs are reserved: a job waits until there is enough for all of it."""
    order = sorted(range(len(jobs)), key=lambda index: (wanted_s[index], index))
    needs_mw = [whole_mw(job.power_w) for job in jobs]
    starts_s, ready, following = [0.0] * len(jobs), list[int](), 0
    edges = [lines.free_steps()[0], lines.power.free_steps()[0] if lines.power else ()]
    moments = sorted({*wanted_s, *edges[0], *edges[1]})
    while following < len(order) or ready:
        now_s = heapq.heappop(moments)
        while following < len(order) and wanted_s[order[following]] <= now_s:
            ready.append(order[following])
            following += 1
        waiting = []
        for index in ready:
            end_s = now_s + jobs[index].duration_s
            if not lines.is_free(now_s, end_s, jobs[index].gpus, needs_mw[index]):
                waiting.append(index)
                continue
            lines.reserve(now_s, end_s, jobs[index].gpus, needs_mw[index])
            starts_s[index] = now_s
            heapq.heappush(moments, end_s)
        ready = waiting
    return starts_s


def _next_event(ending: Sequence[tuple[float, int]], wanted_s: float | None) -> float:
    moments = [ending[0][0]] if ending else []
    return min([*moments, *([] if wanted_s is None else [wanted_s])])


def _windows(job: Arrival, view: ForecastView) -> tuple[Floats, Floats]:
    """Return the starts in order, the soonest first, among which the best one is, and the mean over each window."""
    forecast = view.forecast(job.submitted_s)
    edges_s = np.append(forecast.starts_s, forecast.ends_s[-1:])
    inner = np.concatenate([edges_s, edges_s - job.duration_s])
    inner = inner[(inner > job.submitted_s) & (inner < job.latest_start_s)]
    starts_s = np.unique(np.concatenate([[job.submitted_s], inner, [job.latest_start_s]]))
    return starts_s, forecast.means(starts_s, job.duration_s)


def _first_clean(view: ForecastView, limit: Callable[[Series], float]) -> Rule:
    """Start at the first instant at which the slot in hand is at or under `limit` of the forecast in hand."""
    news_s = [float(at_s) for at_s in view.news_s]
    clean_s = [at_s for at_s in news_s if _is_clean(view.forecast(at_s), at_s, limit)]

    def choose(job: Arrival) -> float:
        latest_news = bisect_right(news_s, job.submitted_s) - 1
        if latest_news >= 0 and _holds(clean_s, news_s[latest_news]):
            return job.submitted_s
        following = bisect_left(clean_s, job.submitted_s)
        return min(job.latest_start_s, clean_s[following] if following < len(clean_s) else job.latest_start_s)

    return choose


def _holds(ordered: Sequence[float], value: float) -> bool:
    index = bisect_left(ordered, value)
    return index < len(ordered) and ordered[index] == value


def _is_clean(forecast: Series, at_s: float, limit: Callable[[Series], float]) -> bool:
    now = forecast.at(datetime.fromtimestamp(at_s, UTC))
    return now is not None and now <= limit(forecast)


# the policies by the names under which a user asks for them

GREENRUN, AT_ONCE = "greenrun", "start-at-once"
DEFAULT = (GREENRUN, AT_ONCE, "own-best-window")

_WHOLE: dict[str, tuple[str, Callable[[ForecastView], Rule]]] = {
    AT_ONCE: ("each job starts as soon as GPUs are free", lambda view: start_at_once),
    "own-best-window": ("each job's cleanest window, as if it were alone (CATS, Carbon Aware SDK)",
                        own_best_window),
    "lowest-slot": ("each job starts with the single cleanest slot (GAIA)", lowest_slot),
    "carbon-time": ("most carbon saved per second until the job is complete (GAIA)", carbon_time),
}  # fmt: skip
_NUMBERED: dict[str, tuple[str, float, Callable[[ForecastView, float], Rule]]] = {
    "threshold": ("start at or under {number:g} g/kWh", 5_000.0, threshold),
    "percentile": ("start at or under the {number:g}th percentile of the day ahead (Ecovisor)", 100.0,
                   percentile),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy by name, one line on what it does, and its rule; None for greenrun's own, which is no such rule."""

    name: str
    what: str
    rule: Callable[[ForecastView], Rule] | None = None


def policies_of(names: Sequence[str], problems: list[InputProblem]) -> list[Policy]:
    """Return the named policies, each once and the default ones when none is named; add what is wrong to `problems`."""
    found = {}
    for name in names or DEFAULT:
        policy = _policy(name.strip().lower())
        if policy is None:
            known = ", ".join([GREENRUN, *_WHOLE, *(f"{head}:N" for head in _NUMBERED)])
            problems.append(InputProblem(field="--policy", message=f"{name[:40]!r} is none of {known}"))
        else:
            found[policy.name] = policy
    return list(found.values())


def _policy(name: str) -> Policy | None:
    if name == GREENRUN:
        return Policy(name=name, what="all jobs planned together, again at every change")
    if name in _WHOLE:
        what, rule = _WHOLE[name]
        return Policy(name=name, what=what, rule=rule)
    head, _, text = name.partition(":")
    number = _number(text)
    if head not in _NUMBERED or number is None or not 0 <= number <= _NUMBERED[head][1]:
        return None
    return _numbered(head, number)


def _numbered(head: str, number: float) -> Policy:
    what, _, make = _NUMBERED[head]
    return Policy(name=f"{head}:{number:g}", what=what.format(number=number), rule=lambda view: make(view, number))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
