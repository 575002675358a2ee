"""Decide whether a run behaves abnormally: three rules, each a pure function of evidence and limits."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import median

from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.formatting import duration_text, power_text
from greenrun.core.jobs.history import LearnedPower
from greenrun.core.jobs.job import Anomaly, Event

IDLE_POWER_RATIO = 1.2  # without known utilisation a GPU is idle below this multiple of its power when free
COVERED = 0.99  # the share of a window that slices must cover before its mean power is judged
INTERVALS = 20  # how many of the latest intervals between progress reports give the usual one

_GAPS = frozenset({Quality.BRIDGED, Quality.UNKNOWN})
_UNMEASURED = _GAPS | {Quality.ESTIMATED}  # a constant says nothing about what a run draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The thresholds of the rules; a rule whose duration is None is off. Ratios may exceed 1."""

    gpu_idle: timedelta | None = timedelta(minutes=15)
    gpu_idle_below: float = 0.05
    power_off: timedelta | None = timedelta(minutes=15)
    power_off_below: float = 0.5
    power_off_above: float = 1.5
    stuck: timedelta | None = timedelta(minutes=10)
    stuck_intervals: float = 5.0

    @property
    def window(self) -> timedelta:
        """How far back the rules about energy look."""
        return max(self.gpu_idle or timedelta(0), self.power_off or timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """The result of a rule for a run: whether it is anomalous, a text for people, and the numbers behind it."""

    is_anomalous: bool
    text: str
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyEpisode:
    """An anomaly of a run, from when it was noticed until it was over; None while it goes on, or went on to the end."""

    anomaly: Anomaly
    run_id: int
    since: datetime
    text: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of the work that a run reports: how much, when it last grew, and after how long it usually does.

    `grew` is False until it has grown while somebody watched: what was reported before gives no interval.
    """

    work: float
    at: datetime
    grew: bool = False
    intervals_s: tuple[float, ...] = ()

    def grown(self, work: float, now: datetime) -> "Progress":
        """Return it with more work, seen at `now`."""
        passed_s = (now - self.at).total_seconds()
        return Progress(work=work, at=now, grew=True, intervals_s=(*self.intervals_s, passed_s)[-INTERVALS:])


def gpu_idle(pieces: Sequence[Slice], idle_w: Mapping[str, float], limits: Limits) -> RuleResult | None:
    """Say whether a GPU among these slices of one run has been idle for the limit in a row; None if unknown.

    A slice is idle by its utilisation, where that is told; else by its power beside `idle_w`, what the device draws
    while nobody holds it; else it tells nothing. What tells nothing, and any gap, breaks the row. It is not so once
    each GPU has worked last.
    """
    if limits.gpu_idle is None:
        return None
    rows = _by_device(piece for piece in pieces if piece.component is Component.GPU)
    told = {device: [(piece, _is_idle(piece, idle_w, limits)) for piece in row] for device, row in rows.items()}
    for_s = {device: _idle_for_s(row) for device, row in told.items()}
    idle = {device: seconds for device, seconds in for_s.items() if seconds >= limits.gpu_idle.total_seconds()}
    if idle:
        least = duration_text(int(min(idle.values())))
        numbers = {"devices": sorted(idle), "seconds": int(min(idle.values()))}
        return RuleResult(
            is_anomalous=True, text=f"it holds {', '.join(sorted(idle))} idle for {least} and more", numbers=numbers
        )
    last = [next((is_idle for _, is_idle in reversed(row) if is_idle is not None), None) for row in told.values()]
    return (
        RuleResult(is_anomalous=False, text="its GPUs work again")
        if last and all(each is False for each in last)
        else None
    )


def power_off(
    pieces: Sequence[Slice], devices: Sequence[str], learned: LearnedPower | None, limits: Limits
) -> RuleResult | None:
    """Say whether a run's mean power over the last window is far off what its name's jobs drew; None if unknown.

    It is that of its GPUs, as what is learned is. Nothing is said before slices tell of the whole window on each of its
    `devices`, gaps not counted.
    """
    pieces = [piece for piece in pieces if piece.component is Component.GPU]
    if limits.power_off is None or learned is None:
        return None
    window = limits.power_off
    last = max((piece.end for piece in pieces), default=None)
    if last is None:
        return None
    rows = _by_device(piece for piece in pieces if piece.end > last - window and piece.quality not in _UNMEASURED)
    known = {device: [_part_since(piece, last - window) for piece in row] for device, row in rows.items()}
    needed_s = COVERED * window.total_seconds()
    told_s = {device: sum(seconds for seconds, _ in row) for device, row in known.items()}
    if not told_s or any(told_s.get(board_of(device), 0.0) < needed_s for device in devices):
        return None
    power_w = sum(sum(energy_j for _, energy_j in row) / told_s[device] for device, row in known.items())
    low_w, high_w = limits.power_off_below * learned.power_w, limits.power_off_above * learned.power_w
    text = (
        f"it drew {power_text(power_w)} over {duration_text(window)}, and {learned.scope.text(learned.count)} drew "
        f"{power_text(learned.power_w)}"
    )
    numbers = {"power_w": round(power_w, 1), "learned_w": round(learned.power_w, 1), "jobs": learned.count}
    return RuleResult(is_anomalous=not low_w <= power_w <= high_w, text=text, numbers=numbers)


def stuck(progress: Progress | None, now: datetime, limits: Limits) -> RuleResult | None:
    """Say whether a run that has reported work has reported no more for too long; None if unknown.

    Too long is the limit, or `stuck_intervals` times the usual interval (the median) where that is longer.
    """
    if limits.stuck is None or progress is None:
        return None
    usual_s = median(progress.intervals_s) if progress.intervals_s else 0.0
    limit = max(limits.stuck, timedelta(seconds=limits.stuck_intervals * usual_s))
    silent = now - progress.at
    text = f"it has reported no new work for {duration_text(round(silent.total_seconds()))}"
    numbers = {"seconds": round(silent.total_seconds()), "limit_s": round(limit.total_seconds(), 3)}
    if silent > limit:
        return RuleResult(is_anomalous=True, text=text, numbers={**numbers, "work": progress.work})
    return RuleResult(is_anomalous=False, text="it reports work again") if progress.grew else None


def _is_idle(piece: Slice, idle_w: Mapping[str, float], limits: Limits) -> bool | None:
    seconds = (piece.end - piece.start).total_seconds() * piece.share
    if piece.quality in _GAPS or seconds <= 0:
        return None
    if piece.busy_s is not None:
        return piece.busy_s < limits.gpu_idle_below * seconds
    if piece.energy_j is None or piece.device not in idle_w or piece.quality in _UNMEASURED:
        return None
    return piece.energy_j < IDLE_POWER_RATIO * idle_w[piece.device] * seconds


def _idle_for_s(row: Sequence[tuple[Slice, bool | None]]) -> float:
    """Return for how long before its last slice's end a device has been idle without a break."""
    seconds, before = 0.0, None
    for piece, is_idle in reversed(row):
        if not is_idle or (before is not None and piece.end != before):
            break
        seconds += (piece.end - piece.start).total_seconds()
        before = piece.start
    return seconds


def _by_device(pieces: Iterable[Slice]) -> dict[str, list[Slice]]:
    rows: defaultdict[str, list[Slice]] = defaultdict(list)
    for piece in sorted(pieces, key=lambda piece: piece.start):
        rows[piece.device].append(piece)
    return rows


def _part_since(piece: Slice, start: datetime) -> tuple[float, float]:
    """Return the seconds and the joules of a slice from `start` on."""
    part = piece.end - max(piece.start, start)
    return part.total_seconds(), (piece.energy_j or 0.0) * (part / (piece.end - piece.start))


def episodes_of(events: Iterable[Event]) -> dict[int, list[AnomalyEpisode]]:
    """Return the episodes recorded by these anomaly events, in order, by run."""
    found: defaultdict[int, list[AnomalyEpisode]] = defaultdict(list)
    for event in events:
        if event.run_id is None:
            continue
        anomaly, episodes = Anomaly(str(event.detail["anomaly"])), found[event.run_id]
        if event.detail["began"]:
            text = str(event.detail["text"])
            episodes.append(AnomalyEpisode(anomaly=anomaly, run_id=event.run_id, since=event.at, text=text))
            continue
        found[event.run_id] = [
            replace(episode, until=event.at) if episode.anomaly is anomaly and episode.until is None else episode
            for episode in episodes
        ]
    return dict(found)
