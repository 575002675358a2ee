"""What a schedule comes to: emissions as exact integrals of the grid's steps, lateness, suspensions and peak use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from greenrun.core.carbon.intensity import Series
from greenrun.core.units import emissions_g
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A schedule in numbers. `emissions_g` is None when a job ran at a time for which there is no intensity.

    `mean_delay_s` is how much later jobs ended than if they had started at once.
    """

    emissions_g: float | None
    late: int
    mean_delay_s: float
    checkpoints: int
    peak_gpus: int


def figures(schedule: Schedule, jobs: Sequence[Arrival], measured: Series) -> Figures:
    """Judge a schedule of these jobs by the grid as it was."""
    rows = list(zip(schedule.pieces, jobs, strict=True))
    grams = [_grams(piece, job, measured) for pieces, job in rows for piece in pieces]
    delays_s = [pieces[-1][1] - job.duration_s - job.submitted_s for pieces, job in rows]
    return Figures(
        emissions_g=None if None in grams else sum(gram for gram in grams if gram is not None),
        late=sum(is_late(pieces, job) for pieces, job in rows),
        mean_delay_s=sum(delays_s) / len(delays_s) if delays_s else 0.0,
        checkpoints=sum(len(pieces) - 1 for pieces, _ in rows),
        peak_gpus=peak_gpus(schedule, jobs),
    )


def is_late(pieces: Sequence[Piece], job: Arrival) -> bool:
    """Tell whether a job missed its limit: of its start, or of its end when it may be interrupted."""
    if job.interruptible:
        return pieces[-1][1] > job.latest_end_s + SLACK_S
    return pieces[0][0] > job.latest_start_s + SLACK_S


def peak_gpus(schedule: Schedule, jobs: Sequence[Arrival]) -> int:
    """Return the most GPUs in use at once; one that is freed at an instant can be taken at it."""
    steps: dict[float, int] = {}
    for pieces, job in zip(schedule.pieces, jobs, strict=True):
        for start_s, end_s in pieces:
            steps[start_s] = steps.get(start_s, 0) + job.gpus
            steps[end_s] = steps.get(end_s, 0) - job.gpus
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


def _grams(piece: Piece, job: Arrival, measured: Series) -> float | None:
    start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in piece)
    mean = measured.mean(start, end)
    return None if mean is None else emissions_g(job.power_w * (piece[1] - piece[0]), mean)
