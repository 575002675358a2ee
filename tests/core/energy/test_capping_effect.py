"""What a lowered power limit saved and cost, beside the rest of the same run; unknown where there is no such rest."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.capping_effect import (
    NO_ENERGY,
    NO_PACE,
    TOO_SHORT,
    CappingEffect,
    RunPart,
    SlowdownSource,
    UsedSlice,
    capping_effect,
    lowered_share,
)
from greenrun.core.energy.power_limit import LimitEnd, LimitPeriod
from tests.world import T0

HOUR = timedelta(hours=1)


def period(start_h: float, end_h: float, device: str = "a", **more: Any) -> LimitPeriod:
    own = {
        "device": device, "source": "nvml", "run_id": 1, "found_w": 700.0, "set_w": 490.0, "since": T0 + start_h * HOUR,
        "kept_at": T0 + start_h * HOUR, "until": T0 + end_h * HOUR, "end": LimitEnd.RESTORED,
        "intensity_g_per_kwh": 400.0, "threshold_g_per_kwh": 200.0, **more,
    }  # fmt: skip
    return LimitPeriod(**own)


def slices(kw: list[float], g_per_kwh: float = 100.0, device: str = "a") -> list[UsedSlice]:
    """An hour each."""
    return [
        UsedSlice(device=device, start=T0 + hour * HOUR, end=T0 + (hour + 1) * HOUR, kwh=used, grams=used * g_per_kwh)
        for hour, used in enumerate(kw)
    ]


def run(hours: float, work: float | None = None, *, first: bool = True) -> RunPart:
    return RunPart(start=T0, end=T0 + hours * HOUR, work=work, counts_from_zero=first)


def effect(*args: Any) -> CappingEffect:
    found = capping_effect(*args)
    assert found is not None
    return found


def test_a_run_that_says_what_it_has_done_tells_what_it_saved_and_lost() -> None:
    """Two hours at 0.7 kW and 100 steps each; two at 0.49 kW and 80: at full power these were 1.6 hours."""
    rows = [period(1, 3, work_before=100.0, work_after=260.0)]
    found = effect(run(4, 360.0), slices([0.7, 0.49, 0.49, 0.7]), rows, None)
    assert found.slowdown == pytest.approx(0.25)
    assert (found.slowdown_source, found.why) == (SlowdownSource.MEASURED, None)
    assert found.time_lost == timedelta(hours=0.4)
    assert found.saved_kwh == pytest.approx(1.6 * 0.7 - 0.98)
    assert found.saved_g == pytest.approx(100 * (1.6 * 0.7 - 0.98))
    assert found.saved_g_uncertainty is not None
    assert 0 < found.saved_g_uncertainty < 0.05 * 112
    assert found.time_lost_uncertainty is not None
    assert found.lowered == 2 * HOUR


def test_where_it_gets_slower_by_more_than_it_saves_it_says_so() -> None:
    rows = [period(1, 2, work_before=100.0, work_after=150.0)]
    found = effect(run(2, 150.0), slices([0.7, 0.49]), rows, None)
    assert found.saved_g == pytest.approx(100 * (0.5 * 0.7 - 0.49))


def test_a_stated_slowdown_has_no_uncertainty_that_anybody_knows() -> None:
    found = effect(run(2), slices([0.7, 0.49]), [period(1, 2)], 0.25)
    assert (found.slowdown, found.slowdown_source) == (0.25, SlowdownSource.STATED)
    assert found.saved_g == pytest.approx(100 * (0.8 * 0.7 - 0.49))
    assert (found.saved_g_uncertainty, found.time_lost_uncertainty) == (None, None)


@pytest.mark.parametrize(
    ("kw", "rows", "stated", "why"),
    [
        ([0.49, 0.49], [period(0, 2)], 0.1, TOO_SHORT),
        ([0.7, 0.7], [period(0.5, 0.55)], 0.1, TOO_SHORT),
        ([0.7, 0.49], [period(1, 2)], None, NO_PACE),
        ([], [period(1, 2)], 0.1, NO_ENERGY),
    ],
)
def test_without_a_counterpart_it_is_unknown_and_says_why(
    kw: list[float], rows: list[LimitPeriod], stated: float | None, why: str
) -> None:
    found = effect(run(2), slices(kw), rows, stated)
    assert (found.why, found.saved_g, found.time_lost, found.saved_kwh) == (why, None, None, None)


def test_energy_that_is_not_known_is_not_guessed() -> None:
    rows = slices([0.7, 0.49])
    for lacking in (replace(rows[0], kwh=None), replace(rows[0], grams=None)):
        assert effect(run(2), [lacking, rows[1]], [period(1, 2)], 0.1).why == NO_ENERGY


def test_a_run_of_which_no_limit_was_lowered_has_no_effect() -> None:
    assert capping_effect(run(2), slices([0.7, 0.7]), [], 0.1) is None
    assert capping_effect(run(2), slices([0.7, 0.7]), [period(0, 1, kept_at=None)], 0.1) is None


def test_what_an_earlier_run_of_the_job_has_done_is_no_work_of_this_one() -> None:
    rows = [period(1, 2, work_before=1100.0, work_after=1180.0)]
    found = effect(run(3, 1280.0, first=False), slices([0.7, 0.49, 0.7]), rows, None)
    assert found.slowdown == pytest.approx(0.25)


def test_gpus_that_are_lowered_together_count_their_time_once_and_their_energy_each() -> None:
    rows = [period(1, 2, work_before=100.0, work_after=180.0), period(1, 2, "b", work_before=100.0, work_after=180.0)]
    both = [*slices([0.7, 0.49]), *slices([0.7, 0.49], device="b")]
    found = effect(run(2, 180.0), both, rows, None)
    assert (found.lowered, found.saved_g) == (HOUR, pytest.approx(2 * 100 * (0.8 * 0.7 - 0.49)))


@given(cuts=st.lists(st.floats(0, 4), min_size=2, max_size=8))
def test_the_shares_of_slices_add_up_to_the_time_that_it_was_lowered(cuts: list[float]) -> None:
    edges = sorted(cuts)[: len(cuts) // 2 * 2]
    rows = [period(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    total = sum(end - start for start, end in zip(edges[::2], edges[1::2], strict=True))
    end: datetime = T0 + 4 * HOUR
    shares = [lowered_share("a", T0 + hour * HOUR, T0 + (hour + 1) * HOUR, rows, end) for hour in range(4)]
    assert sum(shares) == pytest.approx(total, abs=1e-6)
