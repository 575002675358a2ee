"""When each job ran, and what can be read off that: lateness, GPUs in use at once, and a file for others to check."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from greenrun.core.planning.power_cap.site_power import MW, whole_mw
from greenrun.simulation.policies import Arrival

Piece = tuple[float, float]

SLACK_S = 1.0  # a limit is missed by more than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When each job ran: its pieces, in epoch seconds and in order, by its row.

    `powers_w` tells what jobs drew in each piece, where that is not the same in all; `undone` why jobs did not run to
    their end, by row.
    """

    pieces: tuple[tuple[Piece, ...], ...]
    powers_w: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    undone: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def whole(cls, starts_s: Sequence[float], jobs: Sequence[Arrival]) -> "Schedule":
        """The schedule in which each job runs in one piece from its start on."""
        rows = zip(starts_s, jobs, strict=True)
        return cls(pieces=tuple(((start_s, start_s + job.duration_s),) for start_s, job in rows))

    def of_done(self) -> "Schedule":
        """Return the schedule as if what is undone had not run at all."""
        if not self.undone:
            return self
        pieces = tuple(() if row in self.undone else each for row, each in enumerate(self.pieces))
        powers_w = {row: each for row, each in self.powers_w.items() if row not in self.undone}
        return replace(self, pieces=pieces, powers_w=powers_w)

    def drawn(self, jobs: Sequence[Arrival]) -> Iterator[list[tuple[Piece, float]]]:
        """Yield the pieces of each of these jobs, with the watts that it drew in them."""
        for row, (pieces, job) in enumerate(zip(self.pieces, jobs, strict=True)):
            powers_w = self.powers_w.get(row) or (job.power_w,) * len(pieces)
            yield list(zip(pieces, powers_w, strict=True))


def is_late(pieces: Sequence[Piece], job: Arrival) -> bool:
    """Tell whether a job missed its limit: of its start, or of its end when it may be interrupted."""
    if job.interruptible:
        return pieces[-1][1] > job.latest_end_s + SLACK_S
    return pieces[0][0] > job.latest_start_s + SLACK_S


def peak_gpus(schedule: Schedule, jobs: Sequence[Arrival]) -> int:
    """Return the most GPUs in use at once; one that is freed at an instant can be taken at it."""
    rows = zip(schedule.pieces, jobs, strict=True)
    return _peak([(piece, job.gpus) for pieces, job in rows for piece in pieces])


def peak_w(schedule: Schedule, jobs: Sequence[Arrival]) -> float:
    """Return the most watts drawn at once, in the same way."""
    return _peak([(piece, whole_mw(power_w)) for row in schedule.drawn(jobs) for piece, power_w in row]) / MW


def _peak(used: Sequence[tuple[Piece, int]]) -> int:
    steps: dict[float, int] = {}
    for (start_s, end_s), own in used:
        steps[start_s] = steps.get(start_s, 0) + own
        steps[end_s] = steps.get(end_s, 0) - own
    now, peak = 0, 0
    for _, step in sorted(steps.items()):
        now += step
        peak = max(peak, now)
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
