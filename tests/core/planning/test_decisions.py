"""Decisions: what is due is started on free devices, what is to run later is suspended, what ended is judged."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.core.jobs.reasons import SENTENCES, ReasonCode, because
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.core.jobs.transitions import TRANSITIONS
from greenrun.core.planning.decisions import MAX_FRUITLESS, decide, expected_end, suspensions, verdict
from greenrun.core.planning.model import Interval, Placement, Plan, Running
from tests.core.build import SLOT, T0, job

WHY = because(ReasonCode.ASKED_NOW)
RUN = Run(id=1, job_id=1, number=1, token="t", devices=("gpu0",), claimed_at=T0, started_at=T0)


def placed(job_id: int, gpus: int = 1, slot: float = 0) -> Placement:
    start = T0 + slot * SLOT
    return Placement(job_id=job_id, start=start, end=start + SLOT, gpus=gpus, pool="gpu", reason=WHY)


def starts(*placements: Placement, free: int = 2, cpu_free: int = 1) -> list[tuple[int, tuple[str, ...]]]:
    plan = Plan(made_at=T0, placements=placements)
    devices, queued = {f"gpu{i}": "gpu" for i in range(free)}, {row.job_id for row in placements}
    decided = decide(plan, now=T0, free=devices, cpu_free=cpu_free, queued=queued)
    return [(start.placement.job_id, start.devices) for start in decided]


def test_only_what_is_due_is_started_and_no_device_is_given_twice() -> None:
    assert starts(placed(1), placed(2), placed(3, slot=1)) == [(1, ("gpu0",)), (2, ("gpu1",))]


def test_a_wide_job_waits_for_all_its_devices_and_a_narrow_one_behind_it_may_go() -> None:
    assert starts(placed(1, gpus=3), placed(2)) == [(2, ("gpu0",))]


def test_jobs_without_gpus_share_the_cpu_slots() -> None:
    assert starts(placed(1, gpus=0), placed(2, gpus=0)) == [(1, ())]


def test_devices_are_taken_from_the_placements_own_pool() -> None:
    plan = Plan(made_at=T0, placements=(replace(placed(1), pool="A100 80 GiB"),))
    decided = decide(plan, now=T0, free={"gpu0": "gpu", "gpu1": "A100 80 GiB"}, cpu_free=0, queued={1})
    assert [start.devices for start in decided] == [("gpu1",)]


def test_a_placement_of_a_job_that_has_started_is_no_start() -> None:
    plan = Plan(made_at=T0, placements=(placed(1), placed(2)))
    decided = decide(plan, now=T0, free={"gpu0": "gpu"}, cpu_free=0, queued={2})
    assert [(start.placement.job_id, start.devices) for start in decided] == [(2, ("gpu0",))]


def test_a_continued_run_is_expected_after_what_remains_and_the_restart() -> None:
    one = replace(job(1, slots=4, restart_cost=SLOT / 6), progress=3 * SLOT)
    assert expected_end(RUN, one, T0) == T0 + SLOT + SLOT / 6


def test_a_run_is_expected_at_its_planned_end_and_later_again_and_again_once_overdue() -> None:
    one = job(1, slots=2)
    assert expected_end(RUN, one, T0 + SLOT) == T0 + 2 * SLOT
    assert expected_end(RUN, one, T0 + 2 * SLOT) == T0 + 2.2 * SLOT
    assert expected_end(RUN, one, T0 + 2.1 * SLOT) == T0 + 2.2 * SLOT, "it stays until it is over"
    assert expected_end(RUN, one, T0 + 2.2 * SLOT) == T0 + 2.42 * SLOT


# suspensions


def asked(*windows: Interval, ran: timedelta = SLOT, **spec: object) -> list[str]:
    """What a running job is told at T0 whose plan has these windows."""
    row = Running(job=job(1, interruptible=True, **spec), devices=("gpu0",), since=T0 - ran)
    placement = replace(placed(1), start=windows[0][0], end=windows[-1][1], pieces=windows, intensity_g_per_kwh=80.0)
    plan = Plan(made_at=T0, placements=(replace(placement, start_now_g_per_kwh=200.0),))
    return [found.reason.text for found in suspensions(plan, [row], T0)]


def at(slots: float) -> timedelta:
    return slots * SLOT


def test_a_run_that_the_plan_continues_later_is_suspended_and_told_until_when_and_why() -> None:
    assert asked((T0 + at(2), T0 + at(3))) == ["suspended until 2026-03-02 01:00:00Z: 80 g/kWh then, 200 g/kWh now"]


def test_a_window_is_half_open() -> None:
    assert asked((T0 - at(1), T0), (T0 + at(2), T0 + at(3)))
    assert not asked((T0, T0 + at(1)), (T0 + at(2), T0 + at(3)))


def test_a_run_goes_on_before_its_min_run_and_when_no_later_window_is_planned() -> None:
    later = (T0 + at(2), T0 + at(3))
    assert not asked(later, ran=timedelta(minutes=29))
    assert asked(later, ran=timedelta(minutes=29), min_run=timedelta(minutes=20))
    assert not asked((T0 - at(2), T0 - at(1)))
    assert not suspensions(Plan(made_at=T0), [Running(job=job(1), devices=(), since=T0 - at(9))], T0)


def test_a_run_that_is_starting_is_not_suspended_yet() -> None:
    row = Running(job=job(1, interruptible=True, min_run=timedelta(0)), devices=("gpu0",), since=T0 - at(1))
    placement = replace(placed(1), start=T0 + at(2), end=T0 + at(3))
    plan = Plan(made_at=T0, placements=(replace(placement, intensity_g_per_kwh=80.0, start_now_g_per_kwh=200.0),))
    starting = replace(row, job=replace(row.job, state=State.STARTING))
    assert [bool(suspensions(plan, [own], T0)) for own in (row, starting)] == [True, False]


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=8, unique=True))
def test_a_run_is_suspended_exactly_when_its_plan_has_windows_ahead_and_none_now(edges: list[int]) -> None:
    edges = sorted(edges)[: len(edges) // 2 * 2]
    windows = [(T0 + at(a), T0 + at(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    covered = any(start <= T0 < end for start, end in windows)
    ahead = any(start > T0 for start, _ in windows)
    assert bool(asked(*windows)) == (ahead and not covered)


# verdicts


ended = RunStatus(phase=Phase.EXITED, started_at=T0, ended_at=T0 + SLOT, exit_code=0)


@pytest.mark.parametrize(
    ("status", "outcome", "state", "code"),
    [
        (ended, Outcome.SUCCEEDED, State.SUCCEEDED, ReasonCode.SUCCEEDED),
        (replace(ended, exit_code=3), Outcome.FAILED, State.FAILED, ReasonCode.EXIT_CODE),
        (replace(ended, exit_code=137, signal=9), Outcome.FAILED, State.FAILED, ReasonCode.SIGNALLED),
        (replace(ended, exit_code=137), Outcome.FAILED, State.FAILED, ReasonCode.EXIT_CODE),
        (replace(ended, exit_code=137, oom_kills=1), Outcome.FAILED, State.FAILED, ReasonCode.OUT_OF_MEMORY),
        (replace(ended, exit_code=1, signal=9, oom_kills=1), Outcome.FAILED, State.FAILED, ReasonCode.OUT_OF_MEMORY),
        (replace(ended, oom_kills=1), Outcome.SUCCEEDED, State.SUCCEEDED, ReasonCode.SUCCEEDED),
        (replace(ended, exit_code=143, oom_kills=1, ended_by=EndedBy.TIME_LIMIT), Outcome.TIMED_OUT, State.FAILED,
         ReasonCode.TIMED_OUT),
        (replace(ended, exit_code=143, ended_by=EndedBy.TIME_LIMIT), Outcome.TIMED_OUT, State.FAILED,
         ReasonCode.TIMED_OUT),
        (replace(ended, exit_code=127, ended_by=EndedBy.NOT_STARTED), Outcome.FAILED_TO_START, State.FAILED,
         ReasonCode.FAILED_TO_START),
        (RunStatus(phase=Phase.LOST), Outcome.LOST, State.FAILED, ReasonCode.LOST),
        (RunStatus(phase=Phase.INTERRUPTED), Outcome.INTERRUPTED, State.FAILED, ReasonCode.INTERRUPTED),
    ],
)  # fmt: skip
def test_every_end_has_its_verdict(status: RunStatus, outcome: Outcome, state: State, code: ReasonCode) -> None:
    judged = verdict(status, job(1), [RUN], RUN, T0)
    assert (judged.outcome, judged.job_state, judged.reason.code) == (outcome, state, code)


def test_a_job_that_is_out_of_memory_says_whose_limit_it_was_and_how_its_command_ended() -> None:
    own = replace(ended, exit_code=137, signal=9, oom_kills=2, is_own_limit=True)
    killed = "the kernel ended 2 of its processes for want of memory"
    reasons = [
        verdict(status, job(1, **limit), [RUN], RUN, T0).reason.text
        for status, limit in ((own, {"memory_gib": 32.0}), (replace(own, is_own_limit=False, signal=None), {}))
    ]
    assert reasons[0] == f"reached its limit of 32 GiB of memory: {killed}, and its command ended by signal 9 (KILL)"
    assert reasons[1].startswith(
        f"ran out of memory, as its machine or all jobs together had no more: {killed}, and its "
    )
    well = verdict(replace(own, exit_code=0, signal=None), job(1), [RUN], RUN, T0).reason.text
    assert well == f"finished with exit code 0; {killed}"


def test_a_failure_says_which_of_its_files_had_changed_since_it_was_submitted() -> None:
    since = "/w/a.py has changed since the job was submitted"
    failed = verdict(replace(ended, exit_code=3, changed=since), job(1), [RUN], RUN, T0).reason
    assert (failed.code, failed.text) == (ReasonCode.EXIT_CODE, f"its command ended with exit code 3; {since}")
    assert verdict(replace(ended, changed=since), job(1), [RUN], RUN, T0).reason.text == "finished with exit code 0"


def test_a_failure_is_retried_as_often_as_allowed_and_a_lost_run_only_then() -> None:
    lost = RunStatus(phase=Phase.LOST)
    again = verdict(lost, job(1, retries=1), [RUN], RUN, T0)
    assert (again.job_state, again.reason.code) == (State.QUEUED, ReasonCode.RETRY_PAUSE)
    failed_before = replace(RUN, id=0, outcome=Outcome.FAILED)
    assert verdict(lost, job(1, retries=1), [failed_before, RUN], RUN, T0).job_state is State.FAILED


def test_a_stop_is_a_cancellation_only_when_somebody_asked_for_it() -> None:
    stopped = replace(ended, exit_code=143, ended_by=EndedBy.STOP)
    assert verdict(stopped, replace(job(1), cancel_requested=True), [RUN], RUN, T0).job_state is State.CANCELLED
    assert verdict(stopped, job(1), [RUN], RUN, T0).outcome is Outcome.INTERRUPTED


def test_a_job_that_ended_well_while_it_was_being_cancelled_has_succeeded() -> None:
    assert verdict(ended, replace(job(1), cancel_requested=True), [RUN], RUN, T0).job_state is State.SUCCEEDED


def test_a_job_being_cancelled_is_not_retried() -> None:
    failed = replace(ended, exit_code=1)
    asked = replace(job(1, retries=5), cancel_requested=True)
    assert verdict(failed, asked, [RUN], RUN, T0).job_state is State.FAILED


def test_every_reason_has_its_sentence_and_no_job_leaves_a_finished_state() -> None:
    assert set(SENTENCES) == set(ReasonCode)
    finished = {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}
    assert not [move for move in TRANSITIONS if move[0] in finished]


def test_the_time_limit_is_named_in_its_reason() -> None:
    timed_out = replace(ended, exit_code=143, ended_by=EndedBy.TIME_LIMIT)
    told = verdict(timed_out, job(1, time_limit=timedelta(minutes=90)), [RUN], RUN, T0).reason.text
    assert "1h30m" in told


@pytest.mark.parametrize(
    ("code", "number", "told"),
    [
        (137, 9, "its command was ended by signal 9 (KILL)"),
        (162, 34, "its command was ended by signal 34"),
        (1, None, "its command ended with exit code 1"),
        (255, None, "its command ended with exit code 255"),
        (128, None, "its command ended with exit code 128"),
        (160, None, "its command ended with exit code 160"),
        (193, None, "its command ended with exit code 193"),
        (126, None, "its command ended with exit code 126, by which shells say that a program could not be executed"),
        (127, None, "its command ended with exit code 127, by which shells say that a program was not found"),
        (
            139,
            None,
            "its command ended with exit code 139, which probably means that a program in it was ended by "
            "signal 11 (SEGV)",
        ),
    ],
)
def test_a_signal_is_named_where_it_was_seen_and_only_guessed_from_a_code(
    code: int, number: int | None, told: str
) -> None:
    assert verdict(replace(ended, exit_code=code, signal=number), job(1), [RUN], RUN, T0).reason.text == told


def test_a_lost_run_is_told_of_as_its_executor_saw_it() -> None:
    seen = RunStatus(phase=Phase.LOST, detail="its supervisor died, and none of its processes was found alive")
    unseen = RunStatus(phase=Phase.LOST)
    assert [verdict(status, job(1), [RUN], RUN, T0).reason.text for status in (seen, unseen)] == [
        "its supervisor died, and none of its processes was found alive, so its exit code is unknown",
        "its supervisor died, so its exit code is unknown",
    ]


def test_a_run_that_was_lost_while_it_was_being_cancelled_was_cancelled_and_says_so() -> None:
    judged = verdict(RunStatus(phase=Phase.LOST), replace(job(1, retries=1), cancel_requested=True), [RUN], RUN, T0)
    assert (judged.outcome, judged.job_state, judged.reason.code, judged.reason.text) == (
        Outcome.CANCELLED,
        State.CANCELLED,
        ReasonCode.CANCELLED,
        "cancelled on request: its supervisor died, so its exit code is unknown",
    )


def test_what_a_command_left_behind_is_said_with_any_end() -> None:
    left = [replace(ended, left=1), replace(ended, left=2, exit_code=3)]
    assert [verdict(status, job(1), [RUN], RUN, T0).reason.text for status in left] == [
        "finished with exit code 0; left 1 process, ended",
        "its command ended with exit code 3; left 2 processes, ended",
    ]


# checkpoints


def saver(**more: object) -> Job:
    return job(1, slots=8, interruptible=True, restart_cost=timedelta(minutes=5), **more)


saved = replace(ended, exit_code=85, ended_by=EndedBy.CHECKPOINT)
killed = replace(ended, exit_code=137, ended_by=EndedBy.CHECKPOINT_GRACE)


@pytest.mark.parametrize("by", [EndedBy.ITSELF, EndedBy.CHECKPOINT, EndedBy.CHECKPOINT_GRACE, EndedBy.STOP])
def test_an_interruptible_job_that_ends_with_its_checkpoint_code_is_continued_whoever_asked(by: EndedBy) -> None:
    judged = verdict(replace(saved, ended_by=by), saver(), [RUN], RUN, T0)
    assert (judged.outcome, judged.job_state, judged.progress) == (Outcome.CHECKPOINTED, State.QUEUED, SLOT)
    assert judged.reason.text == "checkpointed after 30m; continues in a later window"
    again = verdict(replace(saved, ended_by=by), replace(saver(), progress=SLOT), [RUN], RUN, T0)
    assert again.progress == SLOT - timedelta(minutes=5)


def test_the_checkpoint_code_is_the_jobs_own_and_means_nothing_to_a_job_that_is_not_interruptible() -> None:
    assert verdict(replace(saved, exit_code=99), saver(checkpoint_exit_code=99), [RUN], RUN, T0).progress == SLOT
    assert verdict(saved, saver(checkpoint_exit_code=99), [RUN], RUN, T0).job_state is State.FAILED
    assert verdict(replace(saved, ended_by=EndedBy.ITSELF), job(1), [RUN], RUN, T0).reason.code is ReasonCode.EXIT_CODE


def test_a_time_limit_is_hard_also_for_a_job_that_saves_at_it() -> None:
    assert verdict(replace(saved, ended_by=EndedBy.TIME_LIMIT), saver(), [RUN], RUN, T0).outcome is Outcome.TIMED_OUT


def test_a_job_that_was_asked_to_checkpoint_and_ends_with_0_has_succeeded_unless_it_was_stopped() -> None:
    assert verdict(replace(saved, exit_code=0), saver(), [RUN], RUN, T0).job_state is State.SUCCEEDED
    assert verdict(replace(killed, exit_code=0), saver(), [RUN], RUN, T0).job_state is State.FAILED


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (killed, "was asked to checkpoint and did not end within its grace of 30s, so it was stopped"),
        (replace(saved, exit_code=138, signal=10), "was asked to checkpoint and was ended by signal 10 (USR1)"),
        (replace(saved, exit_code=1), "was asked to checkpoint and ended with exit code 1"),
    ],
)
def test_a_failed_checkpoint_says_so_is_no_progress_and_may_be_retried(status: RunStatus, words: str) -> None:
    judged = verdict(status, saver(), [RUN], RUN, T0)
    assert (judged.outcome, judged.job_state, judged.reason.text) == (Outcome.FAILED, State.FAILED, words)
    again = verdict(status, saver(retries=1), [RUN], RUN, T0)
    assert (again.job_state, again.progress) == (State.QUEUED, timedelta(0))


def test_checkpoints_use_up_no_retries() -> None:
    before = [replace(RUN, id=-number, outcome=Outcome.CHECKPOINTED, ended_at=T0 + SLOT) for number in range(1, 9)]
    failed = replace(ended, exit_code=1)
    assert verdict(failed, saver(retries=1), [*before, RUN], RUN, T0).job_state is State.QUEUED


def run_of(length: timedelta, outcome: Outcome = Outcome.CHECKPOINTED) -> Run:
    return replace(RUN, id=0, ended_at=T0 + length, outcome=outcome)


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(0, 12))
def test_a_job_is_given_up_after_just_so_many_fruitless_checkpoints_in_a_row(earlier: list[int], last: int) -> None:
    before = [run_of(timedelta(minutes=minutes)) for minutes in earlier]
    status = replace(saved, ended_at=T0 + timedelta(minutes=last))
    judged = verdict(status, replace(saver(), progress=SLOT), [*before, RUN], RUN, T0)
    fruitless = all(minutes <= 5 for minutes in [*earlier, last][-MAX_FRUITLESS:]) and len(earlier) >= MAX_FRUITLESS - 1
    assert (judged.job_state, judged.reason.code) == (
        (State.FAILED, ReasonCode.NO_PROGRESS) if fruitless else (State.QUEUED, ReasonCode.CHECKPOINTED)
    )
    assert timedelta(0) <= judged.progress <= timedelta(minutes=last)


def test_a_run_that_failed_or_never_started_between_two_checkpoints() -> None:
    short = timedelta(minutes=1)
    status = replace(saved, ended_at=T0 + short)
    never = replace(run_of(short, Outcome.FAILED_TO_START), started_at=None)
    runs = [run_of(short), never, run_of(short), RUN]
    assert verdict(status, saver(), runs, RUN, T0).job_state is State.FAILED
    assert (
        verdict(status, saver(), [*runs[:2], run_of(short, Outcome.FAILED), *runs[2:]], RUN, T0).job_state
        is State.QUEUED
    )


def test_a_job_being_cancelled_is_not_continued() -> None:
    asked_to = replace(saver(), cancel_requested=True)
    judged = verdict(saved, asked_to, [RUN], RUN, T0)
    assert (judged.outcome, judged.job_state, judged.progress) == (Outcome.CANCELLED, State.CANCELLED, timedelta(0))


def ended_after(length: timedelta, outcome: Outcome | None = Outcome.FAILED, number: int = 1) -> Run:
    return replace(RUN, id=100 + number, number=number, ended_at=T0 + length, outcome=outcome)


def failing(exit_code: int = 1, length: timedelta = timedelta(seconds=1)) -> RunStatus:
    return RunStatus(phase=Phase.EXITED, started_at=T0, ended_at=T0 + length, exit_code=exit_code)


def test_quick_failures_in_a_row_are_followed_by_pauses_that_grow_up_to_five_minutes() -> None:
    quick = [ended_after(timedelta(seconds=1), number=number) for number in range(1, 8)]
    judged = [verdict(failing(), job(1, retries=50), [*quick[:count], RUN], RUN, T0) for count in range(8)]
    ended = T0 + timedelta(seconds=1)
    assert [(row.retry_at or T0) - ended for row in judged] == [
        timedelta(seconds=pause) for pause in (10, 20, 40, 80, 160, 300, 300, 300)
    ]
    assert {row.reason.code for row in judged} == {ReasonCode.RETRY_PAUSE}
    assert "after a pause of 20s because 2 runs in a row failed soon" in judged[1].reason.text
    assert "48 retries are left" in judged[1].reason.text


def test_a_run_that_lasted_is_followed_at_once_and_ends_the_row_of_quick_failures() -> None:
    quick, long = ended_after(timedelta(seconds=1)), ended_after(timedelta(hours=1), number=2)
    lasted = verdict(failing(length=timedelta(minutes=10)), job(1, retries=9), [quick, RUN], RUN, T0)
    assert (lasted.retry_at, lasted.reason.code) == (None, ReasonCode.RETRYING)
    first = verdict(failing(), job(1, retries=9), [quick, long, RUN], RUN, T0)
    assert first.retry_at == T0 + timedelta(seconds=11)


def test_a_machine_that_restarted_makes_no_pause() -> None:
    restarted = RunStatus(phase=Phase.INTERRUPTED, started_at=T0)
    assert verdict(restarted, job(1, retries=1), [RUN], RUN, T0).retry_at is None


@pytest.mark.parametrize(
    ("code", "state"), [(75, State.QUEUED), (137, State.QUEUED), (1, State.FAILED), (76, State.FAILED)]
)
def test_only_the_exit_codes_that_are_named_are_retried(code: int, state: State) -> None:
    asked = job(1, retries=3, retry_on=(75, 137))
    assert verdict(failing(code), asked, [RUN], RUN, T0).job_state is state


def test_a_lost_run_has_no_exit_code_and_is_retried_whatever_codes_are_named() -> None:
    asked = job(1, retries=1, retry_on=(75,))
    assert verdict(RunStatus(phase=Phase.LOST), asked, [RUN], RUN, T0).job_state is State.QUEUED


def test_a_requeued_job_has_all_its_retries_again() -> None:
    before, again = ended_after(timedelta(seconds=1)), replace(RUN, number=2)
    asked = replace(job(1, retries=1), counted_from=2)
    judged = verdict(failing(), asked, [before, again], again, T0)
    assert (judged.job_state, judged.retry_at) == (State.QUEUED, T0 + timedelta(seconds=11))
    assert verdict(failing(), replace(asked, counted_from=1), [before, again], again, T0).job_state is State.FAILED
