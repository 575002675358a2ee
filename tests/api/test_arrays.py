"""One statement may be many jobs: an array or a grid is accepted whole, once, or not at all."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.api.job_request import ArrayIn, JobIn, to_specs
from greenrun.core.jobs.arrays import size_of, variable_of
from greenrun.core.jobs.job import JobSpec, State
from tests.api.fakes import World, errors, spec, stored

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
VALUES = st.lists(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), min_size=1, max_size=4, unique=True
)
GRIDS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)
ARRAYS = st.builds(
    ArrayIn,
    indices=st.lists(st.integers(0, 99), min_size=1, max_size=9, unique=True),
    at_once=st.none() | st.integers(1, 9),
)
KEYS = st.none() | st.just("k")


def stated(**own: Any) -> JobIn:
    """A statement of many jobs."""
    job: JobIn = JobIn.model_validate({"command": ["/bin/true"], "workdir": "/", **own})
    return job


def jobs(world: World) -> list[JobSpec]:
    return [job.spec for job in world.store.kept.values()]


@given(grid=GRIDS, key=KEYS)
def test_a_grid_is_every_combination_once_told_by_variables_and_labels(
    grid: dict[str, list[str]], key: str | None
) -> None:
    made = to_specs(stated(grid=grid), spec(unique_key=key, labels={"0": "kept"}), 1000)
    points = [{name: job.labels[name] for name in grid} for job in made]
    assert points == [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert all(
        job.env[variable_of(name)] == job.labels[name] and job.labels["0"] == "kept" for job in made for name in grid
    )
    assert [job.array and (job.array.index, job.array.size) for job in made] == [
        (index, size_of(grid)) for index in range(size_of(grid))
    ]
    assert len({job.array.key for job in made if job.array}) == 1
    assert len({job.unique_key for job in made}) == (len(made) if key else 1)


@given(array=ARRAYS, key=KEYS)
def test_an_array_is_one_job_per_index_and_the_same_one_for_the_same_key(array: ArrayIn, key: str | None) -> None:
    first, second = (to_specs(stated(array=array), spec(unique_key=key, log="/out-%a"), 1000) for _ in range(2))
    assert [job.array and job.array.index for job in first] == array.indices == sorted(array.indices or ())
    assert [job.log for job in first] == [f"/out-{index}" for index in array.indices]
    assert [job.env["GREENRUN_ARRAY_INDEX"] for job in first] == [str(index) for index in array.indices]
    assert {job.env["GREENRUN_ARRAY_SIZE"] for job in first} == {str(len(array.indices))}
    assert (first == second) == (key is not None)


def test_an_array_is_stored_together_and_answered_as_a_list(world: World) -> None:
    answer = world.submit(name="train", array={"indices": [3, 1], "at_once": 1}, env={"A": "b"})
    assert answer.status_code == 201
    assert [(row["id"], row["name"], row["array"]["index"]) for row in answer.json()] == [
        (1, "train[1]", 1), (2, "train[3]", 3),
    ]  # fmt: skip
    assert answer.json()[0]["env_names"] == ["A", "GREENRUN_ARRAY_INDEX", "GREENRUN_ARRAY_SIZE"]
    assert [job.name for job in jobs(world)] == ["train", "train"]  # so that one learns from the other


def test_an_array_with_a_key_is_submitted_once_and_grows_by_what_is_new(world: World) -> None:
    first, again, more = (
        world.submit(unique_key="night", array={"indices": indices, "at_once": 1})
        for indices in ([0, 1], [0, 1], [0, 1, 2])
    )
    assert [answer.status_code for answer in (first, again, more)] == [201, 200, 201]
    assert [[row["id"] for row in answer.json()] for answer in (first, again, more)] == [[1, 2], [1, 2], [1, 2, 3]]
    assert len({job.array.key for job in jobs(world) if job.array}) == 1


def test_a_grid_may_be_bounded_and_stands_beside_other_jobs(world: World) -> None:
    own: dict[str, Any] = {"command": ["/bin/true"], "workdir": "/"}
    grid = {**own, "grid": {"lr": ["1e-3", "1e-4"], "bs.x": ["8"]}, "array": {"at_once": 1}}
    answer = world.ask("POST", "/v1/jobs", json=[own, grid])
    assert [row["labels"] for row in answer.json()] == [{}, {"lr": "1e-3", "bs.x": "8"}, {"lr": "1e-4", "bs.x": "8"}]
    assert [job.array and job.array.at_once for job in jobs(world)] == [None, 1, 1]
    assert jobs(world)[2].env == {
        "GREENRUN_GRID_LR": "1e-4", "GREENRUN_GRID_BS_X": "8", "GREENRUN_ARRAY_INDEX": "1", "GREENRUN_ARRAY_SIZE": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"array": {}}, "array"), ({"array": {"indices": []}}, "array.indices"),
        ({"array": {"indices": [1, 1]}}, "array.indices"), ({"array": {"indices": [0], "at_once": 0}}, "array.at_once"),
        ({"array": {"indices": [0]}, "grid": {"a": ["1"]}}, "array"),
        ({"array": {"indices": [0]}, "log": "out"}, "array"),
        ({"grid": {"a": ["1"]}, "log": "out"}, "grid"), ({"grid": {"a": []}}, "grid.a"),
        ({"grid": {"a": ["1", "1"]}}, "grid.a"), ({"grid": {"a=b": ["1"]}}, "grid"),
        ({"grid": {"a": ["1"], "A": ["2"]}}, "grid"), ({"grid": {"a": ["1"]}, "labels": {"a": "b"}}, "grid"),
        ({"grid": {name: [str(value) for value in range(22)] for name in "abc"}}, "grid"),
    ],
)  # fmt: skip
def test_an_array_or_grid_that_cannot_be_meant_is_refused_whole(
    world: World, parts: dict[str, Any], field: str
) -> None:
    assert list(errors(world.submit(**parts))) == [field]
    assert jobs(world) == []


def test_arrays_that_are_too_many_jobs_together_are_refused(world: World) -> None:
    half = {"command": ["/bin/true"], "workdir": "/", "array": {"indices": list(range(5001))}}
    answer = world.ask("POST", "/v1/jobs", json=[half, half])
    assert (answer.status_code, jobs(world)) == (422, [])
    assert answer.json()["detail"].startswith("10002 jobs are more than the 10000 that one submission may be")


def test_what_is_wrong_with_all_jobs_of_an_array_is_told_once(world: World) -> None:
    answer = world.submit(array={"indices": [0, 1, 2]}, command=["no-such-program"], after=[{"job": 9}])
    assert [row["field"] for row in answer.json()["errors"]] == ["command", "after"]


def test_a_job_waits_for_others_as_stated(world: World) -> None:
    world.store.keep(stored(7), stored(8, State.FAILED))
    answer = world.submit(after=[{"job": 7}, {"job": 8, "on": "any"}])
    assert answer.status_code == 201
    assert answer.json()["after"] == [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}]


@pytest.mark.parametrize(
    ("state", "said"),
    [(None, "there is no job 7"), (State.FAILED, "job 7 has failed"), (State.CANCELLED, "job 7 has been cancelled")],
)
def test_a_job_that_would_wait_in_vain_is_refused(world: World, state: State | None, said: str) -> None:
    if state:
        world.store.keep(stored(7, state))
    told = errors(world.submit(after=[{"job": 7}]))
    assert list(told) == ["after"]
    assert told["after"].startswith(said)


def test_a_known_key_is_known_also_when_what_it_waited_for_has_failed_since(world: World) -> None:
    world.store.keep(stored(1))
    assert world.submit(after=[{"job": 1}], unique_key="k").status_code == 201
    world.store.keep(stored(1, State.FAILED))
    again = world.submit(after=[{"job": 1}], unique_key="k")
    assert (again.status_code, again.json()["id"]) == (200, 2)


def test_how_a_job_may_be_interrupted_and_what_gpus_it_needs_is_kept_and_told(world: World) -> None:
    stated = {"min_run_s": 1200.0, "restart_cost_s": 0.0, "checkpoint_signal": "SIGUSR2", "checkpoint_exit_code": 3}
    told = world.submit(interruptible=True, gpu_model="A100", gpu_memory_gib=37.25, **stated).json()
    assert {key: told[key] for key in stated} == {**stated, "checkpoint_signal": "USR2"}
    assert (told["interruptible"], told["progress_s"], told["gpu_model"], told["gpu_memory_gib"]) == (
        True, 0.0, "A100", 37.25,
    )  # fmt: skip
    plain = world.submit().json()
    assert [plain[key] for key in (*stated, "progress_s", "array", "after")] == [None] * 6 + [[]]


def test_everything_that_is_wrong_with_the_new_fields_is_told_at_once(world: World) -> None:
    told = errors(
        world.submit(
            gpus=0,
            gpu_model="A100",
            gpu_memory_gib=1,
            min_run_s=60,
            restart_cost_s=60,
            checkpoint_signal="USR1",
            checkpoint_exit_code=0,
            after=[{"job": 0}],
            grid={"": ["1"]},
        )
    )
    assert set(told) == {
        "gpu_model", "gpu_memory_gib", "min_run_s", "restart_cost_s", "checkpoint_signal", "checkpoint_exit_code",
        "after[0].job", "grid",
    }  # fmt: skip
    assert "say --interruptible too" in told["min_run_s"]


def test_a_signal_that_no_job_may_ask_for_is_refused(world: World) -> None:
    told = errors(world.submit(interruptible=True, checkpoint_signal="KILL"))
    assert told == {"checkpoint_signal": "must be one of USR1, USR2, HUP, INT, TERM"}


def test_jobs_that_would_wait_for_too_many_others_together_are_refused(world: World) -> None:
    waits = [{"job": world.submit().json()["id"], "on": "any"} for _ in range(11)]
    assert world.submit(array={"indices": list(range(1000))}, after=waits).status_code == 422
    assert len(jobs(world)) == len(waits)
    assert world.submit(array={"indices": [0, 1]}, after=waits).status_code == 201
