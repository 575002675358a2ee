"""When a run is called anomalous: the three rules, their limits, and what they must never be moved by."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.history import LearnedPower, LearningScope
from greenrun.core.jobs.runs.anomalies import IDLE_POWER_RATIO, Limits, Progress, gpu_idle, power_off, stuck

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMITS = Limits()
LEARNED = LearnedPower(power_w=300.0, least_w=290.0, most_w=310.0, count=3, scope=LearningScope(name="train", gpus=1))


def piece(
    minute: int,
    *,
    busy: float | None = None,
    power_w: float | None = 300.0,
    device: str = "GPU-1",
    quality: Quality = Quality.MEASURED,
) -> Slice:
    """A minute of a GPU that run 1 holds; `busy` is its utilisation, 0 to 1."""
    return Slice(
        device=device,
        component=Component.GPU,
        run_id=1,
        start=NOW + minute * MINUTE,
        end=NOW + (minute + 1) * MINUTE,
        energy_j=None if power_w is None else power_w * 60,
        quality=Quality.UNKNOWN if power_w is None else quality,
        busy_s=None if busy is None else busy * 60,
    )


def is_idle(pieces: Sequence[Slice], idle_w: float | None = None) -> bool | None:
    """What the rule says; `idle_w` is what the GPU draws when it is free."""
    result = gpu_idle(pieces, {} if idle_w is None else {"GPU-1": idle_w}, LIMITS)
    return None if result is None else result.is_anomalous


# a held GPU that is idle


def test_a_gpu_is_idle_once_it_has_done_nothing_for_the_limit_in_a_row() -> None:
    idle = [piece(minute, busy=0.04) for minute in range(15)]
    assert (is_idle(idle[:14]), is_idle(idle), is_idle(idle[1:])) == (None, True, None)


def test_a_minute_that_no_slice_tells_of_breaks_the_row() -> None:
    assert is_idle([piece(minute, busy=0.0) for minute in range(20) if minute != 10]) is None


def test_it_is_not_over_as_long_as_another_of_its_gpus_has_not_worked_again() -> None:
    works = piece(0, busy=0.9)
    assert is_idle([works, piece(0, busy=0.0, device="GPU-2")]) is None
    assert is_idle([works, piece(0, busy=0.9, device="GPU-2")]) is False


def test_it_is_not_idle_once_it_has_worked_last() -> None:
    assert is_idle([*(piece(minute, busy=0.0) for minute in range(20)), piece(20, busy=0.05)]) is False


def test_without_utilisation_its_power_when_free_is_what_counts_and_without_that_nothing_is_said() -> None:
    low = [piece(minute, power_w=60 * IDLE_POWER_RATIO - 1) for minute in range(15)]
    high = [piece(minute, power_w=60 * IDLE_POWER_RATIO) for minute in range(15)]
    assert (is_idle(low, 60.0), is_idle(high, 60.0), is_idle(low), is_idle(high)) == (True, False, None, None)


def test_an_estimated_power_says_nothing_of_whether_a_gpu_works() -> None:
    assert is_idle([piece(minute, power_w=60.0, quality=Quality.ESTIMATED) for minute in range(15)], 60.0) is None


def test_one_idle_gpu_of_two_is_named() -> None:
    pieces = [piece(minute, busy=0.9, device="GPU-2") for minute in range(15)]
    result = gpu_idle([*pieces, *(piece(minute, busy=0.0) for minute in range(15))], {}, LIMITS)
    assert result is not None
    assert (result.is_anomalous, result.numbers["devices"]) == (True, ["GPU-1"])


utilizations = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40)


@given(utilizations, st.data())
def test_more_utilisation_never_makes_a_gpu_idle(busy: list[float | None], data: st.DataObject) -> None:
    more = [None if one is None else data.draw(st.floats(one, 1)) for one in busy]
    before, after = (
        is_idle([piece(minute, busy=one, power_w=None if one is None else 300.0) for minute, one in enumerate(row)])
        for row in (busy, more)
    )
    assert not (after is True and before is not True)


@given(utilizations, st.randoms(use_true_random=False))
def test_the_order_in_which_evidence_came_does_not_matter(busy: list[float | None], random: object) -> None:
    pieces = [piece(minute, busy=one, power_w=None if one is None else 300.0) for minute, one in enumerate(busy)]
    mixed = list(pieces)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert is_idle(mixed) == is_idle(pieces)
    assert power_off(mixed, ["GPU-1"], LEARNED, LIMITS) == power_off(pieces, ["GPU-1"], LEARNED, LIMITS)


@given(st.integers(0, 14), st.sampled_from(["missing", "unknown", "bridged"]))
def test_a_gap_in_the_evidence_is_never_idle_time(gap: int, kind: str) -> None:
    pieces = [piece(minute, busy=0.0) for minute in range(15)]
    holes = {
        "missing": [],
        "unknown": [piece(gap, power_w=None, busy=0.0)],
        "bridged": [piece(gap, busy=0.0, quality=Quality.BRIDGED)],
    }
    assert is_idle([*pieces[:gap], *holes[kind], *pieces[gap + 1 :]]) is None


# power far off what was learned


def power(pieces: Sequence[Slice], learned: LearnedPower | None = LEARNED) -> bool | None:
    """What the rule says of a run on one GPU."""
    result = power_off(pieces, ["GPU-1"], learned, LIMITS)
    return None if result is None else result.is_anomalous


@pytest.mark.parametrize(("power_w", "expected"), [(149, True), (150, False), (300, False), (450, False), (451, True)])
def test_power_is_off_below_half_and_above_one_and_a_half_of_what_was_learned(power_w: float, expected: bool) -> None:
    assert power([piece(minute, power_w=power_w) for minute in range(15)]) is expected


def test_nothing_is_said_of_power_before_the_window_is_full_or_where_nothing_was_learned() -> None:
    pieces = [piece(minute, power_w=10.0) for minute in range(15)]
    assert (power(pieces[:14]), power(pieces, None), power([])) == (None, None, None)


@given(st.integers(0, 14), st.sampled_from([Quality.UNKNOWN, Quality.BRIDGED, Quality.ESTIMATED]))
def test_a_window_with_a_gap_says_nothing_of_power(gap: int, quality: Quality) -> None:
    pieces = [piece(minute, power_w=10.0) for minute in range(15)]
    hole = piece(gap, power_w=None if quality is Quality.UNKNOWN else 10.0, quality=quality)
    assert power([*pieces[:gap], hole, *pieces[gap + 1 :]]) is None


def test_power_is_that_of_all_that_the_run_used_and_of_the_last_window_alone() -> None:
    pieces = [piece(minute, power_w=5000.0) for minute in range(15)]
    pieces += [piece(minute, power_w=200.0, device=device) for minute in range(15, 30) for device in ("GPU-1", "GPU-2")]
    result = power_off(pieces, ["GPU-1", "GPU-2"], LEARNED, LIMITS)
    assert result is not None
    assert result.numbers["power_w"] == pytest.approx(400.0)


# work that does not grow


def is_stuck(progress: Progress | None, after: timedelta, limits: Limits = LIMITS) -> bool | None:
    """What the rule says so long after NOW."""
    result = stuck(progress, NOW + after, limits)
    return None if result is None else result.is_anomalous


def test_a_run_that_never_reported_work_is_never_stuck() -> None:
    assert is_stuck(None, timedelta(days=9)) is None


def test_a_run_is_stuck_after_the_limit_without_new_work() -> None:
    seen = Progress(work=1.0, at=NOW - MINUTE).grown(2.0, NOW)
    assert (is_stuck(seen, 10 * MINUTE), is_stuck(seen, 10 * MINUTE + MINUTE)) == (False, True)


def test_a_run_that_usually_reports_seldom_may_be_silent_for_longer() -> None:
    seen = Progress(work=0.0, at=NOW - 40 * MINUTE)
    for number in range(1, 5):
        seen = seen.grown(float(number), NOW - (4 - number) * 10 * MINUTE)
    assert (is_stuck(seen, 50 * MINUTE), is_stuck(seen, 51 * MINUTE)) == (False, True)


def test_work_that_nobody_saw_grow_is_no_sign_that_it_goes_on() -> None:
    """After a restart of the daemon the evidence begins anew, and an anomaly that went on is not over for that."""
    seen = Progress(work=5.0, at=NOW)
    assert (is_stuck(seen, MINUTE), is_stuck(seen, 11 * MINUTE)) == (None, True)


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 1e6), st.floats(0, 1e6))
def test_longer_silence_never_ends_being_stuck(steps_s: list[float], first_s: float, more_s: float) -> None:
    seen, at = Progress(work=0.0, at=NOW), NOW
    for number, step_s in enumerate(steps_s, start=1):
        at += timedelta(seconds=step_s)
        seen = seen.grown(float(number), at)
    soon, later = (stuck(seen, at + timedelta(seconds=each), LIMITS) for each in (first_s, first_s + more_s))
    assert not (soon is not None and soon.is_anomalous) or (later is not None and later.is_anomalous)


def test_each_rule_can_be_turned_off() -> None:
    off = Limits(gpu_idle=None, power_off=None, stuck=None)
    idle = [piece(minute, busy=0.0, power_w=1.0) for minute in range(60)]
    assert gpu_idle(idle, {}, off) is None
    assert power_off(idle, ["GPU-1"], LEARNED, off) is None
    assert is_stuck(Progress(work=1.0, at=NOW), timedelta(days=1), off) is None
