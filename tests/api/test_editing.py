"""A job is changed while it waits, if it could have been submitted like that, and runs again once it has ended."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import InputProblem, InvalidJob, InvalidTransition
from greenrun.core.jobs.job import ArrayPlace, DurationSource, State
from tests.api.fakes import BOB, HOUR, NOW, World, errors, stored


def changed(world: World, job_id: int = 1, **changes: Any) -> Any:
    return world.ask("POST", f"/v1/jobs/{job_id}/edit", json=changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"priority": 7}, {"priority": 7}),
        ({"finish_by": "2026-03-03T09:00:00Z"}, {"finish_by": "2026-03-03T09:00:00Z"}),
        (
            {"duration_s": 60, "time_limit_s": 120},
            {"duration_s": 60.0, "time_limit_s": 120.0, "duration_source": "given"},
        ),
        ({"name": "other", "project": "vision"}, {"name": "other", "project": "vision"}),
        ({"command": ["/bin/false", "x"]}, {"command": ["/bin/false", "x"], "name": "/bin/false x"}),
        ({"gpus": 2, "gpu_model": "A100"}, {"gpus": 2, "gpu_model": "A100"}),
        ({"interruptible": True, "min_run_s": 60}, {"interruptible": True, "min_run_s": 60.0, "restart_cost_s": 300.0}),
        ({"labels": {"b": "2", "a": None}}, {"labels": {"b": "2", "c": "3"}}),
        ({"retries": 3, "retry_on": [75]}, {"retries": 3, "retry_on": [75]}),
    ],
)
def test_a_queued_job_is_changed(world: World, changes: dict[str, Any], told: dict[str, Any]) -> None:
    world.store.keep(stored(1, labels={"a": "1", "c": "3"}, priority=1))
    before = changed(world, priority=1).json()
    answer = changed(world, **changes)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in told} == told
    others = {"checkpoint_signal", "checkpoint_exit_code", "progress_s", "noted_files"}
    same = [name for name in before if name not in {*told, *others}]
    assert {name: answer.json()[name] for name in same} == {name: before[name] for name in same}


def test_another_command_has_its_own_files_noted_and_a_requeued_one_those_of_now(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1\n")
    own = {"workdir": str(tmp_path), "noted_files": {"/old": "1 2 3"}}
    world.store.keep(stored(1, **own), stored(2, State.FAILED, command=("sh", "a.py"), **own))
    told = changed(world, command=["sh", "a.py"]).json()
    again = world.ask("POST", "/v1/jobs/2/requeue").json()
    assert list(told["noted_files"]) == list(again["noted_files"]) == [f"{tmp_path}/a.py"]
    assert changed(world, priority=3).json()["noted_files"] == told["noted_files"]


def test_a_log_that_is_named_already_means_its_path_and_a_new_one_its_patterns(world: World, tmp_path: Path) -> None:
    world.store.keep(stored(1, log="/tmp/100%"), stored(2, State.FAILED, log="/tmp/100%"))
    place = ArrayPlace(key="k", index=7, size=9)
    world.store.keep(stored(3, log="/tmp/x", array=place))
    assert changed(world, gpus=2).status_code == 200
    assert world.ask("POST", "/v1/jobs/2/requeue").status_code == 200
    assert changed(world, log=f"{tmp_path}/%j.%%").json()["log"] == f"{tmp_path}/1.%"
    assert changed(world, 3, log=f"{tmp_path}/%j-%a").json()["log"] == f"{tmp_path}/3-7"
    assert "stands for nothing" in errors(changed(world, log=f"{tmp_path}/%q"))["log"]


def test_null_takes_a_limit_away(world: World) -> None:
    world.store.keep(stored(1, max_delay=HOUR, finish_by=NOW + 9 * HOUR, expire=True, priority=4))
    answer = changed(world, finish_by=None, max_delay_s=None, expire=None, priority=None).json()
    assert [answer[name] for name in ("finish_by", "max_delay_s", "expire", "priority")] == [None, None, False, 0]


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(world: World) -> None:
    world.store.keep(stored(1, time_limit=2 * HOUR))
    wrong = {"unique_key": "k", "after": [{"job": 2}], "nonsense": 1}
    assert set(errors(changed(world, **wrong, priority=1))) == set(wrong)
    fields = errors(changed(world, priority=9999, gpus=-1, duration_s="1h"))
    assert set(fields) == {"priority", "gpus", "duration_s"}
    limits = errors(changed(world, duration_s=3 * 3600, finish_by="2026-03-02T13:00:00Z", max_delay_s=60))
    assert set(limits) == {"time_limit_s", "finish_by", "max_delay_s"}
    assert "it counts from 2026-03-02 11:00:00Z" in limits["max_delay_s"]
    assert errors(changed(world, command=["/no/such/program"]))
    assert errors(changed(world, workdir=None)) == {"workdir": "has no default: give a value"}
    assert world.store.kept[1] == stored(1, time_limit=2 * HOUR)
    assert world.scheduler.wakes == 0


def test_what_was_wrong_before_keeps_nobody_from_changing_something_else(world: World) -> None:
    world.store.keep(stored(1, workdir="/no/such/folder", finish_by=NOW - HOUR))
    assert changed(world, priority=3).status_code == 200
    assert set(errors(changed(world, duration_s=7200))) == {"finish_by"}


def test_a_job_that_runs_keeps_what_its_run_has_begun_with(world: World) -> None:
    world.store.keep(stored(1, State.RUNNING))
    answer = changed(world, name="better", priority=3, duration_s=7200, retries=2)
    assert (answer.status_code, world.store.kept[1].spec.duration) == (200, 2 * HOUR)
    told = errors(changed(world, time_limit_s=7200, command=["/bin/true"], priority=4, gpus=2))
    assert set(told) == {"time_limit_s", "command", "gpus"}
    assert "while the job is running" in told["gpus"]
    assert world.store.kept[1].spec.priority == 3


def test_one_that_has_ended_or_is_another_s_is_not_changed(world: World) -> None:
    world.store.keep(stored(1, State.FAILED), stored(2))
    answer = changed(world, priority=3)
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "job 1 has failed already: requeue it to have it run again",
    )
    assert world.ask("POST", "/v1/jobs/2/edit", json={"priority": 1}, who=BOB).status_code == 403
    assert changed(world, 9, priority=1).status_code == 404
    assert changed(world, 2).status_code == 422


def test_a_plan_that_cannot_keep_a_new_limit_refuses_the_edit(world: World) -> None:
    world.store.keep(stored(1))
    world.scheduler.tried = InvalidJob("too tight", [InputProblem(field="finish_by", message="too tight")])
    assert errors(changed(world, finish_by="2026-03-02T20:00:00Z")) == {"finish_by": "too tight"}


def test_gpus_that_the_machine_has_not_are_told_beside_all_else(world: World) -> None:
    world.store.keep(stored(1, time_limit=HOUR))
    world.scheduler.tried = InvalidJob("few", [InputProblem(field="gpus", message="too many")])
    assert set(errors(changed(world, duration_s=7200, gpus=9))) == {"time_limit_s", "gpus"}


def test_what_the_machine_lacks_is_looked_for_once_for_many_jobs_of_the_same_needs(world: World) -> None:
    world.store.keep(*(stored(number, time_limit=HOUR, gpus=1 + number % 2) for number in range(1, 9)))
    world.scheduler.tried = InvalidJob("few", [InputProblem(field="gpus", message="too many")])
    preview, asked = world.scheduler.preview, []

    def counting(specs: Any, **more: Any) -> Any:
        asked.append(specs)
        return preview(specs, **more)

    world.scheduler.preview = counting  # type: ignore[method-assign]
    told = errors(world.ask("POST", "/v1/jobs/edit", json={"all": True, "changes": {"duration_s": 7200}}))
    assert (len(asked), len(told)) == (2, 16)


def test_a_job_that_changes_while_an_edit_is_checked_is_looked_at_again(world: World) -> None:
    world.store.keep(stored(1), stored(2))
    made, tries = world.scheduler.edit, []

    def racing(edits: Any, *, actor: str, now: Any, origin: Any = None) -> Any:
        tries.append([edit.before.id for edit in edits])
        if len(tries) == 1:
            world.store.keep(stored(1, State.SUCCEEDED))
            raise InvalidTransition("job 1 has changed meanwhile")
        return made(edits, actor=actor, now=now)

    world.scheduler.edit = racing  # type: ignore[method-assign]
    answer = world.ask("POST", "/v1/jobs/edit", json={"all": True, "changes": {"priority": 5}})
    assert [row["id"] for row in answer.json()] == [2]
    assert tries == [[1, 2], [2]]


def test_several_jobs_are_changed_together_or_not_at_all(world: World) -> None:
    world.store.keep(*(stored(1 + index, array=ArrayPlace(key="k", index=index, size=3)) for index in range(3)))
    world.store.keep(stored(4, time_limit=HOUR))
    answer = world.ask("POST", "/v1/jobs/edit", json={"jobs": ["2[]"], "changes": {"priority": 5}})
    assert [row["priority"] for row in answer.json()] == [5, 5, 5]
    told = errors(world.ask("POST", "/v1/jobs/edit", json={"jobs": ["1-4"], "changes": {"duration_s": 7200}}))
    assert told == {"job 4: time_limit_s": "is shorter than the duration: raise it to 2h or more"}
    assert {job.spec.duration for job in world.store.kept.values()} == {HOUR}
    shared = world.ask("POST", "/v1/jobs/edit", json={"jobs": ["1-3"], "changes": {"log": "/tmp/x.log"}})
    assert errors(shared) == {"log": "would be shared by several jobs"}


def test_a_learned_duration_stays_unless_it_is_changed(world: World) -> None:
    world.store.keep(stored(1, duration_source=DurationSource.LEARNED, duration_note="learned"))
    assert changed(world, priority=1).json()["duration_note"] == "learned"
    shorter = changed(world, time_limit_s=60).json()
    assert (shorter["duration_s"], shorter["duration_source"]) == (60.0, "learned")
    given = changed(world, duration_s=30).json()
    assert (given["duration_source"], given["duration_note"]) == ("given", None)


def ended(job_id: int = 1, state: State = State.FAILED, **own: Any) -> Any:
    """A job that has ended, so that the values of its variables are gone."""
    return stored(job_id, state, finished_at=NOW, env={"PATH": "", "TOKEN": ""}, **own)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED])
def test_a_job_that_has_ended_runs_again_with_its_variables(world: World, state: State) -> None:
    world.store.keep(ended(state=state))
    env = {"PATH": "/bin", "TOKEN": "secret", "OTHER": "x"}
    answer = world.ask("POST", "/v1/jobs/1/requeue", json={"env": env, "changes": {"priority": 2}})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["id"], told["state"], told["finished_at"], told["priority"]) == (1, "queued", None, 2)
    assert told["requeued_at"] == "2026-03-02T12:00:00Z"
    assert world.store.kept[1].spec.env == {"PATH": "/bin", "TOKEN": "secret"}
    assert "secret" not in answer.text


def test_a_requeue_without_the_values_of_its_variables_says_which_are_missing(world: World) -> None:
    world.store.keep(ended())
    told = errors(world.ask("POST", "/v1/jobs/1/requeue", json={"env": {"PATH": "/bin"}}))
    assert "the values of TOKEN were deleted when the job ended" in told["env"]
    assert world.store.kept[1].state is State.FAILED


def test_what_greenrun_itself_had_set_is_known(world: World) -> None:
    place = ArrayPlace(key="k", index=2, size=4)
    names = ("GREENRUN_ARRAY_INDEX", "GREENRUN_ARRAY_SIZE", "GREENRUN_GRID_LR")
    world.store.keep(stored(1, State.FAILED, array=place, labels={"lr": "0.1"}, env=dict.fromkeys(names, "")))
    assert world.ask("POST", "/v1/jobs/1/requeue").status_code == 200
    assert list(world.store.kept[1].spec.env.values()) == ["2", "4", "0.1"]


@pytest.mark.parametrize("state", [State.QUEUED, State.STARTING, State.RUNNING])
def test_one_that_waits_or_runs_is_not_doubled(world: World, state: State) -> None:
    world.store.keep(stored(1, state))
    answer = world.ask("POST", "/v1/jobs/1/requeue")
    assert (answer.status_code, world.store.kept[1]) == (409, stored(1, state))


def test_a_requeue_that_cannot_be_met_is_refused_and_told_how_it_could(world: World) -> None:
    past = {"finish_by": NOW - HOUR}
    world.store.keep(stored(1, State.FAILED, **past), stored(2, State.FAILED), stored(3, State.CANCELLED, after=()))
    assert "finish_by" in errors(world.ask("POST", "/v1/jobs/1/requeue"))
    again = world.ask("POST", "/v1/jobs/1/requeue", json={"changes": {"finish_by": "2026-03-03T00:00Z"}})
    assert again.status_code == 200
    without = world.ask("POST", "/v1/jobs/requeue", json={"jobs": ["2-3"], "changes": {"finish_by": None}})
    assert [row["state"] for row in without.json()] == ["queued", "queued"]


def test_requeued_jobs_are_chosen_as_people_do(world: World) -> None:
    world.store.keep(stored(1, State.FAILED, name="a"), stored(2, State.SUCCEEDED, name="b"), stored(3, name="c"))
    answer = world.ask("POST", "/v1/jobs/requeue", json={"states": ["failed"]})
    assert [row["id"] for row in answer.json()] == [1]
    assert world.ask("POST", "/v1/jobs/requeue", json={"jobs": ["c"]}).status_code == 404
    delayed = timedelta(minutes=30)
    world.store.keep(stored(4, State.EXPIRED, name="d", max_delay=delayed))
    assert world.ask("POST", "/v1/jobs/requeue", json={"jobs": ["d"]}).status_code == 200
    assert world.store.kept[4].latest_start(HOUR) == NOW + delayed


@pytest.mark.parametrize("state", [State.QUEUED, State.FAILED])
def test_a_dry_run_says_what_a_job_would_be_or_what_is_wrong_and_changes_nothing(world: World, state: State) -> None:
    world.store.keep(stored(1, state))
    path = f"/v1/jobs/{'edit' if state is State.QUEUED else 'requeue'}?dry_run=true"
    told = world.ask("POST", path, json={"ids": [1], "changes": {"priority": 3}})
    assert (told.status_code, told.json()[0]["priority"], told.json()[0]["state"]) == (200, 3, "queued")
    assert set(errors(world.ask("POST", path, json={"ids": [1], "changes": {"gpus": -1, "duration_s": -1}}))) == {
        "gpus", "duration_s",
    }  # fmt: skip
    world.scheduler.tried = InvalidJob("few", [InputProblem(field="gpus", message="too many")])
    assert errors(world.ask("POST", path, json={"ids": [1], "changes": {"gpus": 9}})) == {"gpus": "too many"}
    assert (world.store.kept[1], world.scheduler.wakes) == (stored(1, state), 0)


def test_the_example_of_an_edit_is_accepted(world: World) -> None:
    world.submit()
    operation = world.ask("GET", "/openapi.json").json()["paths"]["/v1/jobs/{job_id}/edit"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = world.ask("POST", "/v1/jobs/1/edit", json=example)
    assert (answer.status_code, answer.json()["priority"]) == (200, example["priority"])
