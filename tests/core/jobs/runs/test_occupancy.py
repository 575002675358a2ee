"""Who shares a device that nobody holds, and up to when that is known."""

from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from greenrun.core.energy.model import Hold
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.occupancy import Observed, expected_seconds, known_through, shared_through, users_of
from greenrun.core.jobs.runs.status import Phase, RunStatus

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def at(second: float | None) -> datetime | None:
    return None if second is None else T0 + timedelta(seconds=second)


def run(run_id: int, start: float | None, end: float | None = None, *devices: str) -> Run:
    return Run(
        id=run_id, job_id=10 * run_id, number=2, token="t", devices=devices, claimed_at=T0 - timedelta(seconds=1),
        started_at=at(start), ended_at=at(end), outcome=None, exit_code=None, log=None,
    )  # fmt: skip


def seen(one: Run, phase: Phase, start: float | None = None, end: float | None = None) -> Observed:
    return Observed(run=one, status=RunStatus(phase=phase, started_at=at(start), ended_at=at(end)))


def user(run_id: int, start: float, end: float | None) -> Hold:
    return Hold(run_id=run_id, device="cpu", start=T0 + timedelta(seconds=start), end=at(end))


def test_every_run_that_has_started_shares_it_with_gpus_or_without() -> None:
    pending, going_on, ended = run(4, None), run(3, None), run(2, 1, None, "gpu")
    observed = [seen(pending, Phase.ABSENT), seen(going_on, Phase.RUNNING, 5), seen(ended, Phase.EXITED, 1, 7)]
    users = users_of("cpu", [run(1, 0, 2), ended], observed)
    assert users == {"10.2": user(1, 0, 2), "20.2": user(2, 1, 7), "30.2": user(3, 5, None)}


@pytest.mark.parametrize(
    ("observed", "through"),
    [
        pytest.param([], 10, id="nobody lives"),
        pytest.param([seen(run(1, 0), Phase.RUNNING, 0)], 10, id="it runs"),
        pytest.param([seen(run(1, None), Phase.ABSENT)], -1, id="it may be starting"),
        pytest.param([seen(run(1, 0), Phase.UNKNOWN)], 10, id="it is out of reach"),
        pytest.param([seen(run(1, 0), Phase.EXITED, 0, 12)], 12, id="it ended since"),
        pytest.param([seen(run(1, 0), Phase.EXITED, 0, 12), seen(run(2, None), Phase.ABSENT)], -1, id="the least wins"),
        pytest.param([seen(run(2, None), Phase.ABSENT), seen(run(1, 0), Phase.EXITED, 0, 12)], -1, id="in any order"),
    ],
)
def test_it_is_known_who_shares_as_long_as_no_run_may_have_begun(observed: list[Observed], through: float) -> None:
    assert shared_through(observed, T0 + timedelta(seconds=10)) == at(through)


def test_a_device_that_is_held_waits_for_its_own_runs_alone() -> None:
    now = T0 + timedelta(seconds=10)
    observed = [seen(run(1, 0, None, "gpu"), Phase.UNKNOWN), seen(run(2, None, None, "other"), Phase.ABSENT)]
    assert known_through("gpu", observed, now) == T0
    assert known_through("free", observed, now) == now


@pytest.mark.parametrize(
    ("started", "ended", "until", "expected_s"),
    [(0, 60, 30, 60), (0, None, 30, 30), (0, None, None, inf), (None, 60, 30, inf), (60, 30, 90, inf)],
    ids=["ended", "runs", "nothing booked", "start unknown", "clock set back"],
)
def test_a_run_is_expected_to_be_booked_from_start_to_end(
    started: float | None, ended: float | None, until: float | None, expected_s: float
) -> None:
    assert expected_seconds(run(1, started, ended, "a", "b"), at(until)) == {"a": expected_s, "b": expected_s}


@pytest.mark.parametrize(("ended", "until", "is_missing"), [(60, 59, True), (60, 60, False), (None, 59, False)])
def test_a_run_is_not_wholly_booked_before_what_nobody_holds_is_booked_to_its_end(
    ended: float | None, until: float, is_missing: bool
) -> None:
    booked_until = {"CPU-0": T0 + timedelta(seconds=until), "CPU-1": T0 + timedelta(seconds=90)}
    expected = expected_seconds(run(1, 0, ended, "a"), at(90), booked_until)
    assert expected == {"a": 60 if ended else 90} | ({"CPU-0": inf} if is_missing else {})
