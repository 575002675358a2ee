"""By how much longer a job takes under a power limit: as its user says, as earlier ones like it did, or by a model."""

from dataclasses import dataclass, replace

from greenrun.core.energy.power_limit import MOST_SLOWDOWN, PowerCap

# McDonald et al., "Great Power, Great Responsibility: Recommendations for Reducing Energy for Training Language
# Models", Findings of NAACL 2022 (arXiv 2205.09646): V100s limited to 150 W of 250 W took 6.8 % longer on average, and
# used 13.7 % less energy. Between that and no limit we draw a parabola: the first watts cost least.
MEASURED_SHARE, MEASURED_SLOWDOWN = 0.6, 0.068
BY_MODEL = "by a model"  # how a note on an estimate begins


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSlowdown:
    """A slowdown and what it was learned from; `uncertainty` is its standard error."""

    slowdown: float
    uncertainty: float
    note: str


def model_slowdown(share: float) -> float:
    """Return the slowdown to be expected at a limit of so much of a GPU's default one (0 to 1)."""
    depth = max(0.0, 1 - share) / (1 - MEASURED_SHARE)
    return min(MOST_SLOWDOWN, MEASURED_SLOWDOWN * depth * depth, worst_slowdown(share))


def worst_slowdown(share: float) -> float:
    """Return the most that it can be: the power per unit of work does not rise as a GPU is slowed down.

    So its speed falls no further than its power, and that no further than its limit.
    """
    return min(MOST_SLOWDOWN, 1 / share - 1) if share > 0 else MOST_SLOWDOWN


def with_slowdown(cap: PowerCap, share: float | None, learned: LearnedSlowdown | None) -> tuple[PowerCap, str | None]:
    """Return a cap with the slowdown to plan with, and a note on where it comes from; None where its user stated it.

    `share` is what its limit is of the default one of the GPUs, None where that is not known yet.
    """
    if cap.is_none or cap.slowdown is not None:
        return cap, None
    if learned is not None:
        return replace(cap, slowdown=round(max(0.0, min(MOST_SLOWDOWN, learned.slowdown)), 4)), learned.note
    of_default = share if share is not None else MEASURED_SHARE
    note = f"{BY_MODEL}: V100s at 60 % of their limit took 6.8 % longer (McDonald et al. 2022)"
    if share is None:
        note += "; what the GPUs' default limit is was not known"
    return replace(cap, slowdown=round(model_slowdown(of_default), 4)), note


def slowdown_at_worst(cap: PowerCap, share: float | None, note: str | None) -> float:
    """Return the slowdown to keep limits by: what its user states or was learned, but nothing that a model says."""
    known = cap.slowdown if cap.slowdown is not None else MOST_SLOWDOWN
    if note is None:
        return known
    if note.startswith(BY_MODEL):
        return worst_slowdown(share) if share is not None else MOST_SLOWDOWN
    return min(MOST_SLOWDOWN, 2 * known)
