"""When each job ran, and what can be read off that: lateness, GPUs in use at once, and a file for others to check."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from greenrun.core.planning.power_cap.site_power import MW, whole_mw
from greenrun.simulation.policies import Arrival

Piece = tuple[float, float]

SLACK_S = 1.0  # a limit is missed by more than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When each job ran: its pieces, in epoch seconds and in order, by its row."""

    pieces: tuple[tuple[Piece, ...], ...]

    @classmethod
    def whole(cls, starts_s: Sequence[float], jobs: Sequence[Arrival]) -> "Schedule":
        """The schedule in which each job runs in one piece from its start on."""
        rows = zip(starts_s, jobs, strict=True)
        return cls(pieces=tuple(((start_s, start_s + job.duration_s),) for start_s, job in rows))


def is_late(pieces: Sequence[Piece], job: Arrival) -> bool:
    """Tell whether a job missed its limit: of its start, or of its end when it may be interrupted."""
    if job.interruptible:
        return pieces[-1][1] > job.latest_end_s + SLACK_S
    return pieces[0][0] > job.latest_start_s + SLACK_S


def peak_gpus(schedule: Schedule, jobs: Sequence[Arrival]) -> int:
    """Return the most GPUs in use at once; one that is freed at an instant can be taken at it."""
    return _peak(schedule, [job.gpus for job in jobs])


def peak_w(schedule: Schedule, jobs: Sequence[Arrival]) -> float:
    """Return the most watts drawn at once, in the same way."""
    return _peak(schedule, [whole_mw(job.power_w) for job in jobs]) / MW


def _peak(schedule: Schedule, each: Sequence[int]) -> int:
    steps: dict[float, int] = {}
    for pieces, own in zip(schedule.pieces, each, strict=True):
        for start_s, end_s in pieces:
            steps[start_s] = steps.get(start_s, 0) + own
            steps[end_s] = steps.get(end_s, 0) - own
    used, peak = 0, 0
    for _, step in sorted(steps.items()):
        used += step
        peak = max(peak, used)
    return peak


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces with those that follow one another at once made one."""
    whole: list[Piece] = list(pieces[:1])
    for (_, before_s), (start_s, end_s) in pairwise(pieces):
        if start_s == before_s:
            whole[-1] = (whole[-1][0], end_s)
        else:
            whole.append((start_s, end_s))
    return whole


def schedule_text(schedule: Schedule, start: datetime) -> str:
    """Return a schedule as CSV: job (its row, from 0), start and end in seconds after `start`; a row per piece."""
    start_s = start.timestamp()
    rows = [
        f"{row},{_seconds(begin_s - start_s)},{_seconds(end_s - start_s)}"
        for row, pieces in enumerate(schedule.pieces)
        for begin_s, end_s in merged(pieces)
    ]
    return "\n".join(["job,start_s,end_s", *rows, ""])


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
