"""The planner keeps its promises on plans that can be drawn: the cleanest feasible window, limits, reasons."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.jobs.availability import Absence
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import DeviceKind, Options, Placement, Running
from greenrun.core.planning.planner import plan, start_at_once
from tests.core.build import SLOT, T0, job
from tests.core.situations import holed, situation

CLEAN_AT_THREE = [300, 300, 300, 100, 300, 300]


def drawn(placements: Sequence[Placement]) -> str:
    """The plan as `job@slot` in order of start."""
    return " ".join(f"{row.job_id}@{(row.start - T0) / SLOT:g}" for row in placements)


@pytest.mark.parametrize(
    ("values", "jobs", "gpus", "expected"),
    [
        pytest.param(CLEAN_AT_THREE, [job(1)], 1, "1@3", id="300-300-300-100: waits for the clean slot"),
        pytest.param([200] * 6, [job(1), job(2)], 2, "1@0 2@0", id="flat: everything starts at once"),
        pytest.param(
            CLEAN_AT_THREE, [job(1), job(2)], 1, "2@0 1@3", id="the second takes what is left: earliest of equals"
        ),
        pytest.param(CLEAN_AT_THREE, [job(1, max_delay=SLOT)], 1, "1@0", id="the clean slot is beyond the max delay"),
        pytest.param(CLEAN_AT_THREE, [job(1, finish_by=T0 + 4 * SLOT)], 1, "1@3", id="finish-by at the slot's end"),
        pytest.param(
            CLEAN_AT_THREE, [job(1, slots=0.5, finish_by=T0 + 3.25 * SLOT)], 1, "1@2.75", id="ends at the limit"
        ),
        pytest.param(CLEAN_AT_THREE, [job(1, slots=2)], 1, "1@2", id="two slots around the dip, earliest of equals"),
        pytest.param([300, 100, 200, 100], [job(1, start_after=T0 + 2 * SLOT)], 1, "1@3", id="not before start-after"),
        pytest.param(CLEAN_AT_THREE, [job(1, start_now=True)], 1, "1@0", id="--now does not wait"),
        pytest.param(CLEAN_AT_THREE, [job(1), job(2, gpus=2)], 2, "2@0 1@3", id="a wide job goes around a narrow one"),
        pytest.param(CLEAN_AT_THREE, [job(1), job(2, gpus=2, priority=1)], 2, "1@0 2@3", id="priority breaks ties"),
    ],
)
def test_a_job_takes_its_cleanest_feasible_window(
    values: list[float], jobs: list[Job], gpus: int, expected: str
) -> None:
    assert drawn(plan(situation(jobs, values, gpus)).placements) == expected


@pytest.mark.parametrize(
    ("spec", "values", "code"),
    [
        ({}, CLEAN_AT_THREE, ReasonCode.CLEANEST_WINDOW),
        ({}, [100, 300], ReasonCode.NOW_IS_CLEANEST),
        ({"run_below_g_per_kwh": 300.0}, CLEAN_AT_THREE, ReasonCode.CLEAN_ENOUGH),
        ({"min_saving": 0.9}, CLEAN_AT_THREE, ReasonCode.NOT_WORTH_WAITING),
        ({"start_now": True}, CLEAN_AT_THREE, ReasonCode.ASKED_NOW),
        ({"slots": 9}, CLEAN_AT_THREE, ReasonCode.FORECAST_TOO_SHORT),
        ({}, [], ReasonCode.NO_FORECAST),
        ({"submitted": T0 - 9 * SLOT, "max_delay": SLOT}, CLEAN_AT_THREE, ReasonCode.DEADLINE),
        ({"submitted": T0 - timedelta(days=9)}, CLEAN_AT_THREE, ReasonCode.NO_LIMIT_LEFT),
        ({"gpus": 3}, CLEAN_AT_THREE, ReasonCode.TOO_FEW_GPUS),
    ],
)
def test_every_placement_and_wait_has_its_reason(
    spec: dict[str, object], values: list[float], code: ReasonCode
) -> None:
    made = plan(situation([job(1, **spec)], values))  # type: ignore[arg-type]
    assert made.reason(1) is not None
    assert made.reason(1).code is code  # type: ignore[union-attr]


def test_a_saving_that_is_not_worth_the_wait_is_told() -> None:
    made = plan(situation([job(1, min_saving=0.9)], [200.0, 150.0, 300.0]))
    assert made.reason(1).text == "waiting would save 25.0 %, less than the 90.0 % it asks for"  # type: ignore[union-attr]


def test_a_hole_in_the_forecast_is_never_planned_across() -> None:
    beyond = replace(situation([job(1, slots=2)], []), forecast=holed([300, 300, None, 10, 200, 200]))
    assert drawn(plan(beyond).placements) == "1@3"
    before = replace(situation([job(1, slots=2)], []), forecast=holed([0, None, 300, 300]))
    assert drawn(plan(before).placements) == "1@2"


def test_a_start_whose_instant_has_just_come_is_kept_although_a_later_window_is_now_as_clean() -> None:
    first = plan(situation([job(1)], [300, 100, 300, 100, 300]))
    later = situation([job(1)], [300, 100, 300, 100, 300], now=T0 + SLOT + timedelta(seconds=2), last=first)
    placed = plan(later).placements[0]
    assert (placed.start, placed.reason.code) == (later.now, ReasonCode.DUE)


def test_a_due_start_waits_for_its_gpu_and_says_so() -> None:
    first = plan(situation([job(1)], [300, 100, 300]))
    now = T0 + SLOT
    late = situation([job(1)], [300, 100, 300], now=now, last=first, busy={"gpu0": now + timedelta(seconds=1)})
    placed = plan(late).placements[0]
    assert (placed.start, placed.reason.code, placed.due) == (now + timedelta(seconds=1), ReasonCode.GPUS_BUSY, now)


def test_limits_come_before_grams_when_the_cleanest_windows_would_make_somebody_late() -> None:
    wide = job(1, slots=2, finish_by=T0 + 4 * SLOT)
    long = job(2, slots=2, finish_by=T0 + 4.5 * SLOT)
    made = plan(situation([wide, long], [300, 100, 100, 300, 300, 300]))
    assert [row.late for row in made.placements] == [False, False]


def test_sums_and_bound_are_in_order() -> None:
    made = plan(situation([job(1), job(2), job(3, slots=2)], CLEAN_AT_THREE))
    assert made.bound_g is not None
    assert made.expected_g is not None
    assert made.start_at_once_g is not None
    assert made.bound_g <= made.expected_g <= made.start_at_once_g
    assert plan(situation([job(1, power_w=None)], CLEAN_AT_THREE)).expected_g is None


def test_start_at_once_keeps_the_order_of_submission() -> None:
    first, second = job(1, slots=2), job(2, submitted=T0 + SLOT)
    starts = start_at_once([second, first], situation([first, second], CLEAN_AT_THREE))
    assert starts == {1: T0, 2: T0 + 2 * SLOT}


def test_options_are_the_default_for_what_a_job_does_not_say() -> None:
    start_thresholds = Options(min_saving=0.9)
    assert drawn(plan(situation([job(1)], CLEAN_AT_THREE, options=start_thresholds)).placements) == "1@0"


TWO_DIPS = [300, 100, 300, 300, 100, 300]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"restart_cost": 0 * SLOT}, [(1, 2), (4, 5)], id="300-100-300-300-100: a free restart"),
        pytest.param({"restart_cost": SLOT}, [(0, 2)], id="a restart of a slot costs more than it gains"),
        pytest.param({"restart_cost": SLOT / 6}, [(5 / 6, 2), (4, 5)], id="a restart takes five minutes more"),
        pytest.param({"restart_cost": 0 * SLOT, "max_delay": 2 * SLOT}, [(0, 2)], id="the second dip is too late"),
        pytest.param(
            {"restart_cost": 0 * SLOT, "min_run": 2 * SLOT}, [(0, 2)], id="no run is shorter than its minimum"
        ),
        pytest.param({"restart_cost": 0 * SLOT, "start_now": True}, [(0, 2)], id="--now is not suspended"),
    ],
)
def test_an_interruptible_job_runs_in_the_dips_that_are_worth_it(
    spec: dict[str, object], expected: list[tuple[float, float]]
) -> None:
    own = {"slots": 2, "interruptible": True, "min_run": SLOT / 6, **spec}
    placed = plan(situation([job(1, **own)], TWO_DIPS)).placements[0]  # type: ignore[arg-type]
    slots = [((begin - T0) / SLOT, (end - T0) / SLOT) for begin, end in placed.intervals]
    assert [at for span in slots for at in span] == pytest.approx([at for span in expected for at in span], abs=1e-5)


@pytest.mark.parametrize(
    ("since", "min_run", "restart", "values", "expected"),
    [
        pytest.param(-1.0, 0.0, 0.0, [300, 300, 100, 100], [(2, 3)], id="suspended at once"),
        pytest.param(
            -0.5, 1.5, 0.0, [300, 300, 100, 100], [(0, 1), (2, 2.5)], id="it may not be suspended before slot 1"
        ),
        pytest.param(-1.0, 0.0, 0.25, [110, 300, 100, 100], [(0, 1)], id="a restart costs more than it gains"),
    ],
)
def test_a_running_job_is_suspended_where_it_may_and_it_pays(
    since: float, min_run: float, restart: float, values: list[float], expected: list[tuple[float, float]]
) -> None:
    spec = {"interruptible": True, "min_run": min_run * SLOT, "restart_cost": restart * SLOT}
    own = job(1, slots=2, submitted=T0 - 3 * SLOT, **spec)
    run = Running(job=own, devices=("gpu0",), since=T0 + since * SLOT)
    placed = plan(situation([], values, running=(run,))).placements[0]
    assert [((begin - T0) / SLOT, (end - T0) / SLOT) for begin, end in placed.intervals] == expected


def test_a_restart_is_charged_to_a_running_job_that_is_suspended() -> None:
    own = job(1, slots=2, submitted=T0 - 3 * SLOT, interruptible=True, min_run=0 * SLOT, restart_cost=SLOT / 2)
    run = Running(job=own, devices=("gpu0",), since=T0 - SLOT)
    placed = plan(situation([], [400, 400, 100, 100, 100], running=(run,))).placements[0]
    assert (placed.start, placed.end) == (T0 + 2 * SLOT, T0 + 3.5 * SLOT)
    assert placed.expected_g == pytest.approx(1000 * 0.75 * 100 / 1000)


def test_each_pool_has_its_own_gpus_and_a_job_only_uses_those_it_may() -> None:
    kinds = {"gpu0": DeviceKind(model="A100", memory_gib=80), "gpu1": DeviceKind(model="V100", memory_gib=16)}
    jobs = [job(1, gpu_model="a100"), job(2, gpu_memory_gib=40.0), job(3), job(4, gpus=2)]
    made = plan(situation(jobs, CLEAN_AT_THREE, gpus=2, kinds=kinds))
    assert {row.job_id: row.pool for row in made.placements} == {1: "A100 80 GiB", 2: "A100 80 GiB", 3: "V100 16 GiB"}
    assert sorted((row.start - T0) / SLOT for row in made.placements) == [0, 3, 3]
    assert made.reason(4).code is ReasonCode.TOO_FEW_GPUS  # type: ignore[union-attr]


def test_a_job_for_now_comes_before_what_was_submitted_earlier() -> None:
    jobs = [job(1, slots=2, submitted=T0 - SLOT), job(2, start_now=True, power_w=3000.0)]
    made = plan(situation(jobs, [100, 100, 50, 300, 300]))
    assert drawn(made.placements) == "2@0 1@1"


def test_what_is_not_known_is_not_taken_for_clean() -> None:
    """A job pushed beyond the forecast would count as nothing in the sum."""
    jobs = [job(1, slots=1, gpus=2), job(2, slots=3), job(3, slots=3)]
    made = plan(situation(jobs, [300, 300, 300, 300], gpus=2))
    assert made.expected_g == pytest.approx(1.0 * 300 * 3.5)


def test_the_bound_is_told_only_of_plans_within_all_limits() -> None:
    jobs = [job(1, slots=2), job(2, slots=2, max_delay=SLOT)]
    made = plan(situation(jobs, [300, 300, 300, 100, 100], busy={"gpu0": T0 + 2 * SLOT}))
    assert [row.late for row in made.placements].count(True) == 1
    assert made.bound_g is None


def test_a_job_that_waited_for_gpus_of_others_starts_when_it_is_due() -> None:
    """The ground on which it waited is no ground on which it starts, and has other words in it."""
    first = situation(
        [job(1, start_now=True)], [100.0] * 8, busy={"gpu0": T0 + timedelta(seconds=30)}, elsewhere={"gpu0": "bob"}
    )
    made = plan(first)
    assert made.placements[0].reason.code is ReasonCode.GPUS_HELD_ELSEWHERE
    (placed,) = plan(situation([job(1)], [100.0] * 8, now=T0 + timedelta(seconds=30), last=made)).placements
    assert (placed.start, placed.reason.code) == (T0 + timedelta(seconds=30), ReasonCode.DUE)


def test_a_plan_is_compared_with_both_baselines() -> None:
    """The larger job came second and is to start first; on one GPU, from now on."""
    made = plan(situation([job(1), job(2, power_w=3000.0)], [50, 90, 10, 20, 90]))
    assert drawn(made.placements) == "2@2 1@3"
    assert (made.expected_g, made.start_at_once_g, made.earliest_start_g) == pytest.approx((25, 160, 120))


def test_neither_baseline_starts_anything_on_a_gpu_that_is_drained() -> None:
    """With one of two GPUs left the two jobs start one after the other."""
    away = {"gpu0": Absence(name="GPU 0", code=ReasonCode.DRAINED, text="drained by ada")}
    made = plan(situation([job(1), job(2)], [90, 60, 80, 80, 10, 10, 10], gpus=2, away=away))
    assert (made.start_at_once_g, made.earliest_start_g) == pytest.approx((75, 75))


def test_neither_baseline_uses_a_gpu_before_it_is_free() -> None:
    made = plan(situation([job(1)], [90, 90, 60, 70, 10, 10, 10], busy={"gpu0": T0 + 2 * SLOT}))
    assert (made.start_at_once_g, made.earliest_start_g) == pytest.approx((30, 30))
