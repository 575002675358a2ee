"""Derive a GPU's energy from its driver: the energy counter where it is plausible, integrated power where it is not.

The counter comes first. An implausible step of it is bridged with the integrated power; if the counter continues from
its new value, it has a new base (the driver was reloaded), and if it returns, the step is ignored. Without a counter
the power is integrated by the trapezoidal rule, equal samples included.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from greenrun.core.energy.model import Quality

MARGIN = 1.25  # a board may exceed its limit by so much for a moment
LAG_S = 0.2  # a counter is updated every tenth of a second, so a step may cover a little more time than passed
GAP_S = 2.5  # after a longer pause between two readings, the counter's step is graded as bridged
STUCK_S = 5.0  # a counter that does not move for longer, while power is drawn, has lost that energy
HIGHEST_W = 2_000.0  # of a GPU that reports no limit


class Trouble(StrEnum):
    """A fault in what a driver reported; each is counted."""

    IMPLAUSIBLE = "implausible"  # the counter's step exceeds what the GPU can draw
    REBASED = "rebased"  # the counter has a new base
    STUCK = "stuck"  # the counter did not move while power was drawn
    GAP = "gap"  # nothing could be read for a while
    NO_POWER = "no_power"  # a power of 0 W, or above what the GPU can draw
    UNREADABLE = "unreadable"  # neither counter nor power could be read


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at `at_s`, in monotonic seconds: counter in J and power in W, None if it could not be read."""

    at_s: float
    counter_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class Accumulated:
    """Joules since the accumulator's start, and the quality of the last step."""

    energy_j: float
    quality: Quality


class Accumulator:
    """Adds up the samples of one GPU, whose power never exceeds `limit_w`. Feed it samples in time order.

    `troubles` counts reading errors.
    """

    def __init__(self, limit_w: float | None) -> None:
        self.troubles: dict[Trouble, int] = dict.fromkeys(Trouble, 0)
        self._highest_w = MARGIN * (limit_w or HIGHEST_W)
        self._total_j = 0.0  # up to the last accepted counter value, or all of it without a counter
        self._bridge_j = 0.0  # integrated power since then
        self._told_j = 0.0
        self._counter: Sample | None = None  # the last accepted one
        self._doubted: Sample | None = None  # the first later one that was not accepted
        self._doubted_j = 0.0  # the bridge up to there
        self._stood_at_s: float | None = None  # when it was last read without having moved
        self._power: Sample | None = None
        self._last_s: float | None = None

    @property
    def counted(self) -> tuple[Sample, float] | None:
        """The last sample with an accepted counter value, and the joules up to it; None before the first."""
        return None if self._counter is None else (self._counter, self._total_j)

    @property
    def is_stuck(self) -> bool:
        """Whether the counter did not move for too long, although it was read in the meantime."""
        return (
            self._counter is not None
            and self._stood_at_s is not None
            and self._stood_at_s - self._counter.at_s > STUCK_S
        )

    def add(self, sample: Sample) -> Accumulated | None:
        """Add a sample; return the accumulated energy, None if the sample has no usable value."""
        if sample.counter_j is None and sample.power_w is None:
            self.troubles[Trouble.UNREADABLE] += 1
            return None
        sample = self._without_glitch(sample)
        if sample.counter_j is None and sample.power_w is None:
            return None
        was_watched = self._note_gap(sample.at_s)
        self._integrate(sample)
        quality = self._count(sample) if sample.counter_j is not None else self._power_quality()
        self._told_j = max(self._told_j, self._total_j + self._bridge_j)
        return Accumulated(self._told_j, quality if was_watched else Quality.BRIDGED)

    def _without_glitch(self, sample: Sample) -> Sample:
        """Drop a power of 0 W or above the maximum: a running board draws something."""
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

    def _power_quality(self) -> Quality:
        """Return INTEGRATED for a board without a counter, BRIDGED while its counter is unavailable."""
        return Quality.INTEGRATED if self._counter is None else Quality.BRIDGED

    def _count(self, sample: Sample) -> Quality:
        if self._counter is None:
            self._accept(sample, self._total_j + self._bridge_j)
            return Quality.MEASURED
        if not self._is_possible(self._counter, sample):
            return self._doubt(sample)
        stood_s = sample.at_s - self._counter.at_s
        if _step_j(self._counter, sample) == 0 and self._bridge_j > 0:
            self.troubles[Trouble.STUCK] += stood_s > STUCK_S and not self.is_stuck
            self._stood_at_s = sample.at_s
            return Quality.MEASURED if stood_s <= STUCK_S else Quality.BRIDGED
        if self.is_stuck:
            self._accept(sample, self._total_j + self._bridge_j)
            return Quality.BRIDGED
        self._accept(sample, self._total_j + _step_j(self._counter, sample))
        return Quality.MEASURED

    def _doubt(self, sample: Sample) -> Quality:
        """Bridge an implausible step; the second consecutive reading that continues from there is a new base."""
        if self._doubted is None:
            self.troubles[Trouble.IMPLAUSIBLE] += 1
        elif self._is_possible(self._doubted, sample) and self._advances(sample):
            self.troubles[Trouble.REBASED] += 1
            self._accept(sample, self._total_j + self._doubted_j + _step_j(self._doubted, sample))
            return Quality.BRIDGED
        elif self._is_possible(self._doubted, sample):
            return Quality.BRIDGED  # it does not move, as no working counter of a board that draws power does
        self._doubted, self._doubted_j = sample, max(self._bridge_j, self._counted_from_zero_j(sample))
        return Quality.BRIDGED

    def _counted_from_zero_j(self, sample: Sample) -> float:
        """Return the energy certainly used since the last accepted value, if the counter restarted at 0 since."""
        zero = replace(self._counter or sample, counter_j=0.0)
        return sample.counter_j or 0.0 if self._is_possible(zero, sample) else 0.0

    def _advances(self, sample: Sample) -> bool:
        return self._doubted is not None and (_step_j(self._doubted, sample) > 0 or sample.power_w is None)

    def _accept(self, sample: Sample, total_j: float) -> None:
        self._total_j, self._bridge_j = total_j, 0.0
        self._counter, self._doubted, self._stood_at_s = sample, None, None

    def _is_possible(self, before: Sample, after: Sample) -> bool:
        return 0 <= _step_j(before, after) <= self._highest_w * (after.at_s - before.at_s + LAG_S)


def _step_j(before: Sample, after: Sample) -> float:
    return (after.counter_j or 0.0) - (before.counter_j or 0.0)
