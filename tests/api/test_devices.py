"""What the API tells of GPUs that others use, and how it drains and resumes them."""

from typing import Any

import pytest

from greenrun.core.energy.gpu_parts import slots_of
from greenrun.core.energy.model import Device
from greenrun.core.jobs.availability import MACHINE, Absence, Drain, GpuState, Occupant, used_by
from greenrun.core.jobs.job import Run, State
from greenrun.core.jobs.reasons import ReasonCode
from tests.api.fakes import BOB, GPU, NOW, ROOT, World, stored

OTHER = Occupant(pid=42, user="bob", memory_bytes=8 << 30)
UNSEEN = Occupant(pid=43, user=None, memory_bytes=None, is_seen=False)
LOST = Absence(name="GPU 0", code=ReasonCode.GPUS_LOST, text="lost: it has to be reset")
USED = GpuState(absences=(used_by("GPU 0", [OTHER, UNSEEN]),), occupants=(OTHER, UNSEEN))


def gpu(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.ask("GET", "/v1/devices").json()[0]
    return found


def sentences(world: World, state: State, **more: Any) -> list[str]:
    world.store.keep(stored(1, state, **more))
    said: list[str] = world.ask("GET", "/v1/jobs/1/explain").json()["sentences"]
    return [sentence for sentence in said if sentence.startswith("GPU 0")]


def test_a_gpu_tells_who_uses_it_and_why_no_job_is_started_there(world: World) -> None:
    world.scheduler.of_gpu = USED
    told = gpu(world)
    assert (told["available"], [row["code"] for row in told["unavailable"]]) == (False, ["gpus_used_by_others"])
    assert told["processes"] == [
        {"pid": 42, "user": "bob", "memory_bytes": 8 << 30, "run": None, "in_container": False},
        {"pid": 43, "user": None, "memory_bytes": None, "run": None, "in_container": False},
    ]


def test_a_gpu_that_another_daemon_holds_is_not_available_either(world: World) -> None:
    world.scheduler.elsewhere = {GPU.id: "run 7.1 of user 7"}
    told = gpu(world)
    assert (told["available"], told["unavailable"][0]["code"]) == (False, "gpus_held_elsewhere")


def test_what_is_no_gpu_is_neither_available_nor_not(world: World) -> None:
    cpu = world.ask("GET", "/v1/devices").json()[1]
    assert (cpu["available"], cpu["unavailable"], cpu["processes"]) == (None, [], None)


@pytest.mark.parametrize("state", [GpuState(), GpuState(absences=(LOST,)), USED])
def test_a_board_that_is_given_out_in_parts_is_for_no_job_as_a_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, state: GpuState
) -> None:
    """What keeps jobs from it is told all the same."""
    there: list[Device] = slots_of(GPU, 2)
    monkeypatch.setattr(world.scheduler, "devices", lambda: there)
    world.scheduler.of_gpu = state
    board, *slots = world.ask("GET", "/v1/devices").json()
    assert [row["available"] for row in (board, *slots)] == [None, *[not state.absences] * 2]
    assert len(board["unavailable"]) == len(state.absences)


def test_a_waiting_job_is_explained_with_what_is_known_of_each_gpu_that_is_away(world: World) -> None:
    world.scheduler.of_gpu = USED
    assert sentences(world, State.QUEUED) == [
        "GPU 0 is used by process 42 of bob (8 GiB) and process 43 of a user who cannot be seen; "
        "plans go without it until it is back."
    ]
    assert sentences(world, State.QUEUED, gpus=0) == []


def test_a_running_job_is_told_of_others_on_its_gpu_and_goes_on(world: World) -> None:
    world.store.job_runs[1] = [Run(id=9, job_id=1, number=1, token="t", devices=(GPU.id,), claimed_at=NOW)]
    world.scheduler.of_gpu = GpuState(absences=(LOST,), occupants=(OTHER,))
    assert sentences(world, State.RUNNING) == [
        "GPU 0, on which it runs, is lost: it has to be reset, and used by process 42 of bob (8 GiB); it goes on."
    ]
    world.scheduler.of_gpu = GpuState(occupants=())
    assert sentences(world, State.RUNNING) == []


def test_gpus_or_the_machine_are_drained_for_a_reason_and_resumed(world: World) -> None:
    answer = world.ask("POST", "/v1/drain", json={"gpus": ["0"], "reason": " replacing the fan "}, who=ROOT)
    assert (answer.status_code, answer.json()) == (
        200,
        [{"gpu": GPU.id, "user": "root", "since": "2026-03-02T12:00:00Z", "reason": "replacing the fan"}],
    )
    world.ask("POST", "/v1/drain", json={}, who=ROOT)
    assert [row["gpu"] for row in world.ask("GET", "/v1/drains").json()] == [GPU.id, None]
    assert world.ask("POST", "/v1/resume", json={}, who=ROOT).json() == []


@pytest.mark.parametrize("route", ["drain", "resume"])
def test_a_gpu_that_there_is_not_changes_nothing_and_all_such_are_named(world: World, route: str) -> None:
    world.scheduler.drained = [Drain(device=GPU.id, user="ada", since=NOW)]
    answer = world.ask("POST", f"/v1/{route}", json={"gpus": ["0", "7", "GPU-x"]}, who=ROOT)
    assert (answer.status_code, [row["message"][:6] for row in answer.json()["errors"]]) == (422, ["'7' is", "'GPU-x"])
    assert len(world.scheduler.drained) == 1


def test_a_single_gpu_of_a_drained_machine_cannot_be_resumed(world: World) -> None:
    world.scheduler.drained = [Drain(device=MACHINE, user="ada", since=NOW)]
    answer = world.ask("POST", "/v1/resume", json={"gpus": ["0"]}, who=ROOT)
    assert (answer.status_code, len(world.scheduler.drained)) == (409, 1)
    assert "without --gpu" in answer.json()["detail"]


def test_a_gpu_that_was_taken_out_while_it_was_drained_can_be_resumed(world: World) -> None:
    world.scheduler.drained = [Drain(device=name, user="ada", since=NOW) for name in ("GPU-gone", GPU.id)]
    answer = world.ask("POST", "/v1/resume", json={"gpus": ["GPU-gone"]}, who=ROOT)
    assert [row["gpu"] for row in answer.json()] == [GPU.id]


@pytest.mark.parametrize("route", ["drain", "resume"])
def test_only_root_and_the_daemon_s_user_may(world: World, route: str) -> None:
    assert world.ask("POST", f"/v1/{route}", json={}, who=BOB).status_code == 403
    assert world.scheduler.drained == []


def test_a_reason_is_one_line_that_commands_no_terminal(world: World) -> None:
    for reason in ("a\nb", "\x1b[2J", "x" * 501):
        assert world.ask("POST", "/v1/drain", json={"reason": reason}, who=ROOT).status_code == 422
