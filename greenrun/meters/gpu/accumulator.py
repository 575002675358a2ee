"""Derive a GPU's energy from its driver: the energy counter where it is plausible, integrated power where it is not.

The counter comes first. A step of it that no such GPU can make is bridged with the integrated power; if the counter
goes on from its new value, it has a new base (the driver was reloaded), and if it comes back, it never left. Without a
counter the power is integrated, trapezoid by trapezoid, equal samples and all.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from greenrun.core.energy.model import Quality

MARGIN = 1.25  # a board draws so much more than its limit for a moment
LAG_S = 0.2  # a counter is renewed every tenth of a second, so a step may hold that of a little more time than passed
GAP_S = 2.5  # a longer pause between two readings was not watched: what the counter says of it is a bridge
STUCK_S = 5.0  # a counter that stands still for longer, while power is drawn, has lost what was used meanwhile
HIGHEST_W = 2_000.0  # of a GPU that tells no limit


class Trouble(StrEnum):
    """A fault in what a driver reported; each is counted."""

    IMPLAUSIBLE = "implausible"  # the counter made a step that the GPU cannot make
    REBASED = "rebased"  # the counter began anew
    STUCK = "stuck"  # the counter stood still while power was drawn
    GAP = "gap"  # nothing could be read for a while
    NO_POWER = "no_power"  # a power of 0 W, or one that the GPU cannot draw
    UNREADABLE = "unreadable"  # neither counter nor power could be read


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at `at_s`, in monotonic seconds: counter in J and power in W, None where it could not be read."""

    at_s: float
    counter_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class Accumulated:
    """Joules since the accumulator began, and how the last step to there is known."""

    energy_j: float
    quality: Quality


class Accumulator:
    """Adds up the samples of one GPU, whose power never exceeds `limit_w`. Feed it samples in time order.

    `troubles` counts what was wrong.
    """

    def __init__(self, limit_w: float | None) -> None:
        self.troubles: dict[Trouble, int] = dict.fromkeys(Trouble, 0)
        self._highest_w = MARGIN * (limit_w or HIGHEST_W)
        self._total_j = 0.0  # up to the last counter that was believed, or all of it where there is no counter
        self._bridge_j = 0.0  # integrated power since then
        self._told_j = 0.0
        self._counter: Sample | None = None  # the last one that was believed
        self._doubted: Sample | None = None  # the first after it that was not
        self._doubted_j = 0.0  # the bridge up to there
        self._stood_at_s: float | None = None  # when it was last seen to stand where it was
        self._power: Sample | None = None
        self._last_s: float | None = None

    @property
    def counted(self) -> tuple[Sample, float] | None:
        """The last sample whose counter was believed, and the joules up to it; None before the first."""
        return None if self._counter is None else (self._counter, self._total_j)

    @property
    def is_stuck(self) -> bool:
        """Whether the counter stood still for too long: it was read in the meantime, and had not moved."""
        return (
            self._counter is not None
            and self._stood_at_s is not None
            and self._stood_at_s - self._counter.at_s > STUCK_S
        )

    def add(self, sample: Sample) -> Accumulated | None:
        """Take a sample in; return where the energy stands, None when the sample says nothing."""
        if sample.counter_j is None and sample.power_w is None:
            self.troubles[Trouble.UNREADABLE] += 1
            return None
        sample = self._without_glitch(sample)
        if sample.counter_j is None and sample.power_w is None:
            return None
        was_watched = self._note_gap(sample.at_s)
        self._integrate(sample)
        quality = self._count(sample) if sample.counter_j is not None else self._go_by_power()
        self._told_j = max(self._told_j, self._total_j + self._bridge_j)
        return Accumulated(self._told_j, quality if was_watched else Quality.BRIDGED)

    def _without_glitch(self, sample: Sample) -> Sample:
        """A running board draws something: 0 W is a fault of the reading."""
        if sample.power_w is not None and not 0 < sample.power_w <= self._highest_w:
            self.troubles[Trouble.NO_POWER] += 1
            return Sample(sample.at_s, sample.counter_j, None)
        return sample

    def _note_gap(self, at_s: float) -> bool:
        before_s, self._last_s = self._last_s, at_s
        if before_s is None or at_s - before_s <= GAP_S:
            return True
        self.troubles[Trouble.GAP] += 1
        return False

    def _integrate(self, sample: Sample) -> None:
        if sample.power_w is None:
            return
        before, self._power = self._power, sample
        if before is not None and before.power_w is not None:
            self._bridge_j += (sample.at_s - before.at_s) * (before.power_w + sample.power_w) / 2

    def _go_by_power(self) -> Quality:
        """Without a counter, ever, power is all there is; while a counter is away it is a bridge to when it is back."""
        return Quality.INTEGRATED if self._counter is None else Quality.BRIDGED

    def _count(self, sample: Sample) -> Quality:
        if self._counter is None:
            self._believe(sample, self._total_j + self._bridge_j)
            return Quality.MEASURED
        if not self._is_possible(self._counter, sample):
            return self._doubt(sample)
        stood_s = sample.at_s - self._counter.at_s
        if _step_j(self._counter, sample) == 0 and self._bridge_j > 0:
            self.troubles[Trouble.STUCK] += stood_s > STUCK_S and not self.is_stuck
            self._stood_at_s = sample.at_s
            return Quality.MEASURED if stood_s <= STUCK_S else Quality.BRIDGED
        if self.is_stuck:
            self._believe(sample, self._total_j + self._bridge_j)
            return Quality.BRIDGED
        self._believe(sample, self._total_j + _step_j(self._counter, sample))
        return Quality.MEASURED

    def _doubt(self, sample: Sample) -> Quality:
        """Bridge a step that cannot be; the second reading in a row that goes on from there is a new base."""
        if self._doubted is None:
            self.troubles[Trouble.IMPLAUSIBLE] += 1
        elif self._is_possible(self._doubted, sample) and self._advances(sample):
            self.troubles[Trouble.REBASED] += 1
            self._believe(sample, self._total_j + self._doubted_j + _step_j(self._doubted, sample))
            return Quality.BRIDGED
        elif self._is_possible(self._doubted, sample):
            return Quality.BRIDGED  # it stands still: no counter of a board that draws power does
        self._doubted, self._doubted_j = sample, max(self._bridge_j, self._counted_from_zero_j(sample))
        return Quality.BRIDGED

    def _counted_from_zero_j(self, sample: Sample) -> float:
        """What was surely used since the last counter that was believed, if this one began at 0 meanwhile."""
        zero = replace(self._counter or sample, counter_j=0.0)
        return sample.counter_j or 0.0 if self._is_possible(zero, sample) else 0.0

    def _advances(self, sample: Sample) -> bool:
        return self._doubted is not None and (_step_j(self._doubted, sample) > 0 or sample.power_w is None)

    def _believe(self, sample: Sample, total_j: float) -> None:
        self._total_j, self._bridge_j = total_j, 0.0
        self._counter, self._doubted, self._stood_at_s = sample, None, None

    def _is_possible(self, before: Sample, after: Sample) -> bool:
        return 0 <= _step_j(before, after) <= self._highest_w * (after.at_s - before.at_s + LAG_S)


def _step_j(before: Sample, after: Sample) -> float:
    return (after.counter_j or 0.0) - (before.counter_j or 0.0)
