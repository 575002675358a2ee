"""Decisions: what is due is started on free devices, what ended is judged, an overdue run is re-estimated."""

from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.decisions import decide, expected_end, verdict
from greenrun.core.job import TRANSITIONS, Outcome, Run, State
from greenrun.core.plan import Placement, Plan
from greenrun.core.reasons import SENTENCES, ReasonCode, because
from greenrun.core.status import EndedBy, Phase, RunStatus
from tests.core.build import SLOT, T0, job

WHY = because(ReasonCode.ASKED_NOW)
RUN = Run(id=1, job_id=1, number=1, token="t", devices=("gpu0",), claimed_at=T0, started_at=T0)


def placed(job_id: int, gpus: int = 1, slot: float = 0) -> Placement:
    start = T0 + slot * SLOT
    return Placement(job_id=job_id, start=start, end=start + SLOT, gpus=gpus, reason=WHY)


def starts(*placements: Placement, free: int = 2, cpu_free: int = 1) -> list[tuple[int, tuple[str, ...]]]:
    plan = Plan(made_at=T0, placements=placements)
    decided = decide(plan, now=T0, free=[f"gpu{i}" for i in range(free)], cpu_free=cpu_free)
    return [(start.placement.job_id, start.devices) for start in decided]


def test_only_what_is_due_is_started_and_no_device_is_given_twice() -> None:
    assert starts(placed(1), placed(2), placed(3, slot=1)) == [(1, ("gpu0",)), (2, ("gpu1",))]


def test_a_wide_job_waits_for_all_its_devices_and_a_narrow_one_behind_it_may_go() -> None:
    assert starts(placed(1, gpus=3), placed(2)) == [(2, ("gpu0",))]


def test_jobs_without_gpus_share_the_cpu_slots() -> None:
    assert starts(placed(1, gpus=0), placed(2, gpus=0)) == [(1, ())]


def test_a_run_is_expected_at_its_planned_end_and_later_again_and_again_once_overdue() -> None:
    one = job(1, slots=2)
    assert expected_end(RUN, one, T0 + SLOT) == T0 + 2 * SLOT
    assert expected_end(RUN, one, T0 + 3 * SLOT) == T0 + 3.3 * SLOT


ended = RunStatus(phase=Phase.EXITED, started_at=T0, ended_at=T0 + SLOT, exit_code=0)


@pytest.mark.parametrize(
    ("status", "outcome", "state", "code"),
    [
        (ended, Outcome.SUCCEEDED, State.SUCCEEDED, ReasonCode.SUCCEEDED),
        (replace(ended, exit_code=3), Outcome.FAILED, State.FAILED, ReasonCode.EXIT_CODE),
        (replace(ended, exit_code=137), Outcome.FAILED, State.FAILED, ReasonCode.SIGNALLED),
        (replace(ended, exit_code=143, ended_by=EndedBy.TIME_LIMIT), Outcome.TIMED_OUT, State.FAILED,
         ReasonCode.TIMED_OUT),
        (replace(ended, exit_code=127, ended_by=EndedBy.NOT_STARTED), Outcome.FAILED_TO_START, State.FAILED,
         ReasonCode.FAILED_TO_START),
        (RunStatus(phase=Phase.LOST), Outcome.LOST, State.FAILED, ReasonCode.LOST),
        (RunStatus(phase=Phase.INTERRUPTED), Outcome.INTERRUPTED, State.FAILED, ReasonCode.INTERRUPTED),
    ],
)  # fmt: skip
def test_every_end_has_its_verdict(status: RunStatus, outcome: Outcome, state: State, code: ReasonCode) -> None:
    judged = verdict(status, job(1), [RUN], RUN)
    assert (judged.outcome, judged.job_state, judged.reason.code) == (outcome, state, code)


def test_a_failure_is_retried_as_often_as_allowed_and_a_lost_run_only_then() -> None:
    lost = RunStatus(phase=Phase.LOST)
    again = verdict(lost, job(1, retries=1), [RUN], RUN)
    assert (again.job_state, again.reason.code) == (State.QUEUED, ReasonCode.RETRYING)
    failed_before = replace(RUN, id=0, outcome=Outcome.FAILED)
    assert verdict(lost, job(1, retries=1), [failed_before, RUN], RUN).job_state is State.FAILED


def test_a_stop_is_a_cancellation_only_when_somebody_asked_for_it() -> None:
    stopped = replace(ended, exit_code=143, ended_by=EndedBy.STOP)
    assert verdict(stopped, replace(job(1), cancel_requested=True), [RUN], RUN).job_state is State.CANCELLED
    assert verdict(stopped, job(1), [RUN], RUN).outcome is Outcome.INTERRUPTED


def test_a_job_that_ended_well_while_it_was_being_cancelled_has_succeeded() -> None:
    assert verdict(ended, replace(job(1), cancel_requested=True), [RUN], RUN).job_state is State.SUCCEEDED


def test_a_job_being_cancelled_is_not_retried() -> None:
    failed = replace(ended, exit_code=1)
    asked = replace(job(1, retries=5), cancel_requested=True)
    assert verdict(failed, asked, [RUN], RUN).job_state is State.FAILED


def test_every_reason_has_its_sentence_and_no_job_leaves_a_finished_state() -> None:
    assert set(SENTENCES) == set(ReasonCode)
    finished = {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}
    assert not [move for move in TRANSITIONS if move[0] in finished]


def test_the_time_limit_is_named_in_its_reason() -> None:
    timed_out = replace(ended, exit_code=143, ended_by=EndedBy.TIME_LIMIT)
    told = verdict(timed_out, job(1, time_limit=timedelta(minutes=90)), [RUN], RUN).reason.text
    assert "1h30m" in told
