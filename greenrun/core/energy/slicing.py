"""Cut a device's cumulative readings into slices of one run or of none: the same slices however often it is asked."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import fsum

from greenrun.core.energy.model import Component, Hold, Mark, Quality, Reading, Slice, worst

# How a mark's `session` tells where on the curve it lies, so that cutting goes on later as if it had never paused.
_INSIDE = "~"  # after the session's name: between two of its readings
_IN_GAP = ""  # no session at all: where nobody sampled

ABSURD_W = 20_000.0  # no device draws this: more was used over another time than the clock says, for it was set back
SET_BACK = timedelta(minutes=1)  # a reading that much before the mark tells that the clock was set back
LITTLE_SHARE = 1e-9  # of a board: less than that is rounding
LATE_S = 1.0  # how far a counter may lag behind its device, and so jump when it catches up


@dataclass(frozen=True, slots=True)
class _Powers:
    """The last powers seen while held and while free, in watts."""

    held_w: float | None
    idle_w: float | None

    def expected_w(self, held: bool) -> float | None:
        return self.held_w if held else self.idle_w

    def learned(self, held: bool, power_w: float) -> "_Powers":
        return _Powers(power_w, self.idle_w) if held else _Powers(self.held_w, power_w)


@dataclass(frozen=True, slots=True)
class _Step:
    """From one reading (or the mark) to the next; `whole` unless it begins at a mark between two readings."""

    before: Reading
    after: Reading
    quality: Quality
    whole: bool

    @property
    def seconds(self) -> float:
        return (self.after.at - self.before.at).total_seconds()

    @property
    def energy_j(self) -> float:
        return self.after.energy_j - self.before.energy_j


@dataclass(frozen=True, slots=True)
class _Line:
    """A straight piece of the cumulative energy curve, of which nothing is told but what is the same all over it."""

    start: datetime
    end: datetime
    start_j: float
    end_j: float
    quality: Quality
    shares: Mapping[str, float] = field(default_factory=dict)
    utilization: float | None = None
    split_j: float = 0.0  # how far its energy may be off, of a gap that is split between holders

    def energy_at(self, instant: datetime) -> float:
        """Return the counter at `instant` in joules: never decreasing, exact at both ends."""
        if instant == self.end:
            return self.end_j
        share = (instant - self.start) / (self.end - self.start)
        return min(self.end_j, self.start_j + (self.end_j - self.start_j) * share)

    def within(self, start: datetime, end: datetime) -> tuple[float, float]:
        """Return the seconds and the joules of what lies within `[start, end)`, which it must touch."""
        first, last = max(start, self.start), min(end, self.end)
        return (last - first).total_seconds(), self.energy_at(last) - self.energy_at(first)

    def split_within(self, start: datetime, end: datetime) -> float:
        """Return the part of `split_j` that falls to `[start, end)`, which it must touch."""
        return self.split_j * self.within(start, end)[0] / (self.end - self.start).total_seconds()


class _Holds:
    """Who holds the device when."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._holds = sorted(
            (hold for hold in holds if hold.end is None or hold.end > hold.start), key=lambda h: h.start
        )
        for first, second in pairwise(self._holds):
            if first.end is None or first.end > second.start:
                raise ValueError(f"runs {first.run_id} and {second.run_id} hold {first.device} at the same time.")
        self._starts = [hold.start for hold in self._holds]
        self.bounds = _bounds(self._holds)

    def is_held(self, instant: datetime) -> bool:
        """Tell whether anybody holds the device at `instant`."""
        return self.run_at(instant) is not None

    def run_at(self, instant: datetime) -> int | None:
        """Return the run that holds the device at `instant`, None for nobody."""
        index = bisect_right(self._starts, instant) - 1
        hold = self._holds[index] if index >= 0 else None
        return hold.run_id if hold and (hold.end is None or instant < hold.end) else None

    def inside(self, start: datetime, end: datetime) -> Sequence[datetime]:
        """Return the instants strictly between `start` and `end` at which a hold begins or ends."""
        return self.bounds[bisect_right(self.bounds, start) : bisect_left(self.bounds, end)]


class _PartHolds(_Holds):
    """Who holds parts of a board when; of the board as a whole nobody is the holder."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._holds = sorted(
            (hold for hold in holds if hold.end is None or hold.end > hold.start), key=lambda h: h.start
        )
        self.bounds = _bounds(self._holds)

    def at(self, instant: datetime) -> list[Hold]:
        """Return the holds of parts at `instant`."""
        return [hold for hold in self._holds if hold.start <= instant and (hold.end is None or instant < hold.end)]

    def is_held(self, instant: datetime) -> bool:
        """Tell whether anybody holds a part at `instant`."""
        return bool(self.at(instant))

    def run_at(self, instant: datetime) -> int | None:
        """Return nobody: what parts' holders get is allocated from the whole."""
        return None

    def divide(self, whole: Slice) -> list[Slice]:
        """Return a slice for each run that holds a part over all of `whole`, by its share of the board, and the rest.

        What is left is nobody's. Shares of parts never add up to more than the board: where they would, because the
        board was divided otherwise meanwhile, each gets less. A board alone tells its energy, so this is estimated.
        """
        shares: dict[int, float] = {}
        for hold in self.at(whole.start):
            shares[hold.run_id] = shares.get(hold.run_id, 0.0) + hold.share
        if not shares:
            return [whole]
        if list(shares.values()) == [1.0]:  # it was held as a whole then
            return [replace(whole, run_id=next(iter(shares)))]
        most = max(1.0, fsum(shares.values()))
        own = {run_id: share / most for run_id, share in sorted(shares.items())}
        left = 1.0 - fsum(own.values())
        if left < LITTLE_SHARE:  # the last of them has all that is left, so that the sum is that of the board
            last = max(own)
            own[last], left = own[last] + left, 0.0
        return _divided(whole, own, left)


def _divided(whole: Slice, own: Mapping[int, float], left: float) -> list[Slice]:
    quality, whole_j = worst((whole.quality, Quality.ESTIMATED)), whole.energy_j
    graded = replace(whole, quality=quality)
    parts = [
        _share(graded, run_id, None if whole_j is None else whole_j * share, share) for run_id, share in own.items()
    ]
    if not left:
        return parts
    rest_j = None if whole_j is None else max(0.0, whole_j - fsum(part.energy_j or 0.0 for part in parts))
    return [*parts, _share(graded, None, rest_j, left)]


def _bounds(holds: Iterable[Hold]) -> list[datetime]:
    return sorted({instant for hold in holds for instant in (hold.start, hold.end) if instant is not None})


def cut(
    mark: Mark | None,
    readings: Sequence[Reading],
    holds: Sequence[Hold],
    edges: Sequence[datetime],
    through: datetime,
    *,
    component: Component = Component.GPU,
    users: Mapping[str, Hold] | None = None,
    gap_s: float = 10.0,
    highest_w: float = ABSURD_W,
    is_held: bool = True,
    in_parts: bool = False,
) -> tuple[list[Slice], Mark | None]:
    """Book one device's energy after `mark` up to the last cut instant by `through`; return slices and the new mark.

    Cut instants are `edges`, the starts and ends of the device's holds or users, and both ends of a gap, whose energy
    is bridged or unknown; never a tick or any other reading, so slices do not depend on when this is called. What lies
    after the last cut waits for the next call, and so does a gap that reaches over `through`, unless the device is
    never held (not `is_held`). Readings are one device's, in time order; those not after the mark are passed over;
    without a mark the first reading becomes it. `holds` and `users` must be complete up to `through`; holds of other
    devices are ignored.

    A device that nobody holds may have `users`, by the labels that its readings' shares name: each gets a slice of its
    share of each interval in its hold, and nobody the rest, as of a step that is bridged or unknown. A board that is
    held `in_parts` may have several holders at once: each interval is divided by what their parts are of the board.

    Energies add up to the counter's difference. A slice's quality is the worst of what it spans (`_grade`); what is
    bridged is split by the expected power of its held and free parts, and `split_j` says how far off that may be, of a
    device that never draws more than `highest_w`. Raises ValueError when two runs hold the device, not in parts.
    """
    if mark is None:
        return [], _first_mark(readings)
    steps = _steps(mark, readings, gap_s)
    if not steps:
        return [], mark
    own = [hold for hold in holds if hold.device == mark.device]
    mine = _PartHolds(own) if in_parts else _Holds(own)
    shared = users or {}
    instants = [*edges, *mine.bounds, *_bounds(shared.values()), *_gap_ends(steps), *_split_ends(steps, mine)]
    known = _before_gap(steps, through) if is_held else through
    cuts = _cuts(mark.at, min(known, steps[-1].after.at), instants)
    steps = steps[: bisect_left(steps, cuts[-1], key=lambda step: step.before.at)]
    if not steps:
        return [], mark
    lines, powers = _lines(steps, mine, _Powers(mark.held_w, mark.idle_w), highest_w)
    wholes = _slices(cuts, lines, mine, mark.device, component)
    if isinstance(mine, _PartHolds):
        slices = [piece for whole, _ in wholes for piece in mine.divide(whole)]
    else:
        slices = [piece for whole, spanned in wholes for piece in allocate(whole, _used_j(whole, spanned, shared))]
    return slices, _mark_at(mark, cuts[-1], steps[-1], lines[-1], powers)


def _first_mark(readings: Sequence[Reading]) -> Mark | None:
    return _mark_of(readings[0]) if readings else None


def _mark_of(reading: Reading) -> Mark:
    return Mark(
        device=reading.device,
        at=reading.at,
        energy_j=reading.energy_j,
        counter=reading.counter,
        session=reading.session,
    )


def _steps(mark: Mark, readings: Sequence[Reading], gap_s: float) -> list[_Step]:
    before = Reading(
        device=mark.device,
        at=mark.at,
        energy_j=mark.energy_j,
        quality=Quality.MEASURED,
        counter=mark.counter,
        session=mark.session.removesuffix(_INSIDE),
    )
    whole = not mark.session.endswith(_INSIDE)
    steps = []
    for reading in readings:
        if reading.device != mark.device:
            raise ValueError(f"readings of {reading.device} cannot be booked on {mark.device}.")
        if reading.at > before.at:
            steps.append(_Step(before, reading, _grade(before, reading, gap_s), whole))
            before, whole = reading, True
    return steps


def _grade(before: Reading, after: Reading, gap_s: float) -> Quality:
    """Grade a step: a pause longer than `gap_s` seconds or a new sampler session is bridged.

    A new counter base, a counter that went back and a power above ABSURD_W are unknown.
    """
    seconds, energy_j = (after.at - before.at).total_seconds(), after.energy_j - before.energy_j
    if after.counter != before.counter or not 0 <= energy_j <= ABSURD_W * (seconds + LATE_S):
        return Quality.UNKNOWN
    gap = after.session != before.session or seconds > gap_s
    return worst((after.quality, Quality.BRIDGED)) if gap else after.quality


def _gap_ends(steps: Sequence[_Step]) -> list[datetime]:
    """Return where each gap begins and ends, so that the time beside it is graded for itself."""
    ends = [instant for step in steps if step.quality is Quality.UNKNOWN for instant in (step.before.at, step.after.at)]
    for before, after in pairwise(steps):
        if (before.quality is Quality.BRIDGED) != (after.quality is Quality.BRIDGED):
            ends.append(before.after.at)
    return ends


def _split_ends(steps: Sequence[_Step], holds: _Holds) -> list[datetime]:
    """Return both ends of each gap that is split: what a part of it may be off by follows from the whole of it."""
    gaps = [step for step in steps if step.quality is Quality.BRIDGED]
    split = [step for step in gaps if holds.inside(step.before.at, step.after.at)]
    return [instant for step in split for instant in (step.before.at, step.after.at)]


def _before_gap(steps: Sequence[_Step], through: datetime) -> datetime:
    """Return `through`, or where the gap begins in which it lies: who else was there is not known yet."""
    gaps = [step for step in steps if step.quality is Quality.BRIDGED]
    return next((step.before.at for step in gaps if step.before.at < through < step.after.at), through)


def _cuts(start: datetime, limit: datetime, instants: Iterable[datetime]) -> list[datetime]:
    return [start, *sorted({instant for instant in instants if start < instant <= limit})]


def _lines(steps: Sequence[_Step], holds: _Holds, powers: _Powers, highest_w: float) -> tuple[list[_Line], _Powers]:
    """Return the curve as straight pieces, and the powers learned from the sampled steps on the way."""
    lines: list[_Line] = []
    for step in steps:
        bounds = holds.inside(step.before.at, step.after.at)
        lines += (
            _bridge(step, bounds, holds, powers, highest_w) if step.quality is Quality.BRIDGED else [_straight(step)]
        )
        if step.whole and not bounds and step.quality not in (Quality.BRIDGED, Quality.UNKNOWN):
            powers = powers.learned(holds.is_held(step.before.at), step.energy_j / step.seconds)
    return lines, powers


def _straight(step: _Step) -> _Line:
    before, after = step.before, step.after
    line = _Line(before.at, after.at, before.energy_j, after.energy_j, step.quality)
    is_sampled = step.quality is not Quality.UNKNOWN
    return replace(line, shares=after.shares, utilization=after.utilization) if is_sampled else line


def _bridge(step: _Step, bounds: Sequence[datetime], holds: _Holds, powers: _Powers, highest_w: float) -> list[_Line]:
    """Bend the curve where a hold begins or ends inside a gap: each part gets what it is expected to have used."""
    spans = list(pairwise([step.before.at, *bounds, step.after.at]))
    weights = _weights(spans, holds, powers)
    lines, energy_j, done = [], step.before.energy_j, 0.0
    for (start, end), weight in zip(spans, weights, strict=True):
        done += weight
        end_j = min(step.after.energy_j, step.before.energy_j + step.energy_j * (done / sum(weights)))
        end_j = step.after.energy_j if end == step.after.at else end_j
        own_s = (end - start).total_seconds()
        split_j = _split_j(end_j - energy_j, step.energy_j, own_s, step.seconds - own_s, highest_w)
        lines.append(_Line(start, end, energy_j, end_j, step.quality, split_j=split_j if bounds else 0.0))
        energy_j = end_j
    return lines


def _split_j(own_j: float, whole_j: float, own_s: float, others_s: float, highest_w: float) -> float:
    """Return how far a part of a gap may be from what it is expected to have used; all draw from 0 to `highest_w`."""
    least_j, most_j = max(0.0, whole_j - highest_w * others_s), min(whole_j, highest_w * own_s)
    return max(0.0, own_j - least_j, most_j - own_j)


def _weights(spans: Sequence[tuple[datetime, datetime]], holds: _Holds, powers: _Powers) -> list[float]:
    """Return each span's expected joules, or its seconds when a power is not known yet."""
    seconds = [(end - start).total_seconds() for start, end in spans]
    watts = [powers.expected_w(holds.is_held(start)) for start, _ in spans]
    weights = [power * length for power, length in zip(watts, seconds, strict=True) if power is not None]
    return weights if len(weights) == len(spans) and sum(weights) > 0 else seconds


def _slices(
    cuts: Sequence[datetime], lines: Sequence[_Line], holds: _Holds, device: str, component: Component
) -> list[tuple[Slice, Sequence[_Line]]]:
    """Return each interval as one slice, with the lines that it spans."""
    starts = [line.start for line in lines]
    slices = []
    for start, end in pairwise(cuts):
        spanned = lines[bisect_right(starts, start) - 1 : bisect_left(starts, end)]
        quality = worst(line.quality for line in spanned)
        energy_j = spanned[-1].energy_at(end) - spanned[0].energy_at(start)
        whole = Slice(
            device=device,
            component=component,
            run_id=holds.run_at(start),
            start=start,
            end=end,
            energy_j=None if quality is Quality.UNKNOWN else energy_j,
            quality=quality,
            busy_s=_busy_s(start, end, spanned),
            split_j=fsum(line.split_within(start, end) for line in spanned),
        )
        slices.append((whole, spanned))
    return slices


def _busy_s(start: datetime, end: datetime, lines: Sequence[_Line]) -> float | None:
    """Return for how many seconds of an interval the device was busy; None unless that is known for all of it."""
    busy = [line.utilization * line.within(start, end)[0] for line in lines if line.utilization is not None]
    return sum(busy) if len(busy) == len(lines) else None


def _used_j(whole: Slice, lines: Sequence[_Line], users: Mapping[str, Hold]) -> dict[int, float]:
    """Return what each run used of an interval, in joules; nothing of a run that was not there then is."""
    used: dict[int, float] = {}
    for line in lines:
        _, line_j = line.within(whole.start, whole.end)
        for label, share in line.shares.items():
            hold = users.get(label)
            if hold is not None and hold.start <= whole.start and (hold.end is None or whole.end <= hold.end):
                used[hold.run_id] = used.get(hold.run_id, 0.0) + share * line_j
    return used


def _mark_at(mark: Mark, instant: datetime, step: _Step, line: _Line, powers: _Powers) -> Mark:
    """Return the mark at `instant`, which lies in the last `step` of the curve or at its end."""
    energy_j, reading, session = line.energy_at(instant), step.after, step.after.session
    if instant < step.after.at and step.quality is Quality.UNKNOWN:  # the old base is what tells that it is unknown
        energy_j, reading, session = step.before.energy_j, step.before, step.before.session
    elif instant < step.after.at:
        session = _IN_GAP if step.quality is Quality.BRIDGED else session + _INSIDE
    return replace(
        mark,
        at=instant,
        energy_j=energy_j,
        counter=reading.counter,
        session=session,
        held_w=powers.held_w,
        idle_w=powers.idle_w,
    )


def allocate(whole: Slice, used_j: Mapping[int, float]) -> list[Slice]:
    """Return a slice of its own for each run by what it used, in joules, and one for nobody, which gets the rest.

    Their energies add up to that of the whole, and their shares to 1. A whole stays as it is when its energy is not
    known, and when nothing tells whose it was.
    """
    if whole.energy_j is None or not used_j:
        return [whole]
    parts = [_part(whole, run_id, run_j) for run_id, run_j in sorted(used_j.items())]
    rest_j, rest = whole.energy_j - fsum(used_j.values()), 1.0 - fsum(part.share for part in parts)
    return [*parts, _share(whole, None, max(0.0, rest_j), max(0.0, rest))]


def _part(whole: Slice, run_id: int, run_j: float) -> Slice:
    return _share(whole, run_id, run_j, run_j / whole.energy_j if whole.energy_j else 0.0)


def _share(whole: Slice, run_id: int | None, energy_j: float | None, share: float) -> Slice:
    busy_s = None if whole.busy_s is None else whole.busy_s * share
    return replace(whole, run_id=run_id, energy_j=energy_j, share=share, busy_s=busy_s, split_j=whole.split_j * share)


def external_energy(mark: Mark | None, readings: Sequence[Reading]) -> tuple[float, Mark | None]:
    """Return the joules that one meter counted from its mark to the last of its readings, and the mark there.

    Readings are in time order. A step to another base, or back, is of unknown size, and no part of it is told.
    """
    energy_j = 0.0
    for reading in readings:
        if mark is not None and mark.at - SET_BACK < reading.at <= mark.at:
            continue
        if mark is not None and reading.counter == mark.counter and reading.energy_j > mark.energy_j:
            energy_j += reading.energy_j - mark.energy_j
        mark = _mark_of(reading)
    return energy_j, mark
