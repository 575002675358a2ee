"""Functions become jobs, and their results come back: with a daemon of canned answers, and the jobs run here."""

import os
import pickle
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import InvalidJob
from greenrun.submitit import (
    Executor,
    FailedJobError,
    FunctionJob,
    UncompletedJobError,
    function_executor,
    function_job,
)
from greenrun.submitit.own_pickles import CALL, NotOwn, dumps, write_pickle
from greenrun.submitit.run_function import main
from tests.fake_api import Asked, FakeApi, problem, serving


@pytest.fixture
def api(folder: Path) -> Iterator[FakeApi]:
    with serving(folder / "s") as made:
        yield made


@pytest.fixture
def executor(api: FakeApi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """An executor whose daemon accepts everything and says that it has succeeded."""
    monkeypatch.setattr(function_job, "POLL_S", 0.01)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a job's function is called here

    def accept(asked: Asked) -> tuple[int, Any]:
        indices = asked.body.get("array", {}).get("indices", [])
        return 201, [answer(number) for number in range(1, len(indices) + 1)] if indices else answer(1)

    api.answers["POST", "/v1/jobs"] = accept
    for number in range(1, 9):
        api.get(f"/v1/jobs/{number}", answer(number))
    return Executor(folder / "out", socket=str(api.socket))


def answer(number: int, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A job as the API tells it."""
    return {"id": number, "state": state, "reason": None, "runs": [], **more}


def run(api: FakeApi, index: str | None = None) -> int:
    """Run the command of the job that was submitted last, here; return its exit code."""
    command = api.changes[-1].body["command"]
    assert command[:-1] == [sys.executable, "-m", "greenrun.submitit.run_function"]
    before = os.environ.pop("GREENRUN_ARRAY_INDEX", None)
    assert before is None
    if index is not None:
        os.environ["GREENRUN_ARRAY_INDEX"] = index
    try:
        return main(Path(command[-1]))
    finally:
        os.environ.pop("GREENRUN_ARRAY_INDEX", None)


def add(x: int, y: int = 1) -> int:
    return x + y


def fail(x: int) -> None:
    raise KeyError(f"no {x}")


def checkpoint() -> None:
    raise SystemExit(85)


def no_pickle() -> Any:
    return threading.Lock()


def test_a_functions_result_comes_back(executor: Executor, api: FakeApi) -> None:
    job = executor.submit(add, 2, y=3)
    assert run(api) == 0
    assert (job.result(), job.exception(), job.done(), job.job_id, job.state) == (5, None, True, "1", "succeeded")
    copied = pickle.loads(pickle.dumps(job))
    assert (copied.result(), repr(copied)) == (5, "FunctionJob(job_id='1', state='succeeded')")


def test_what_a_function_raises_comes_back_with_its_traceback(
    executor: Executor, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    job = executor.submit(fail, 4)
    assert run(api) == 1
    with pytest.raises(FailedJobError, match="KeyError: 'no 4'"):
        job.result()
    assert isinstance(job.exception(), FailedJobError)
    assert "KeyError: 'no 4'" in capsys.readouterr().err  # it is in the log, too


def test_an_array_is_one_submission_whose_jobs_have_their_arguments(executor: Executor, api: FakeApi) -> None:
    executor.update_parameters(array_parallelism=2)
    jobs = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    (asked,) = api.changes
    assert asked.body["array"] == {"indices": [0, 1, 2], "at_once": 2}
    assert [run(api, str(index)) for index in range(3)] == [0, 0, 0]
    assert [job.result() for job in jobs] == [11, 22, 33]
    assert executor.map_array(add, []) == []
    with pytest.raises(ValueError, match="shorter"):
        executor.map_array(add, [1, 2], [3])


def test_a_run_that_checkpoints_leaves_no_result_and_one_that_is_repeated_replaces_it(
    executor: Executor, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    job = executor.submit(checkpoint)
    folder = Path(api.changes[-1].body["command"][-1])
    write_pickle(folder, "0_result.pkl", dumps({"result": "stale"}))
    with pytest.raises(SystemExit) as ended:
        run(api)
    assert ended.value.code == 85
    assert isinstance(job.exception(), UncompletedJobError)


def test_a_job_that_ended_without_a_result_says_how_with_the_end_of_its_log(executor: Executor, api: FakeApi) -> None:
    job = executor.submit(add, 1)
    why = {"code": "lost", "text": "its supervisor was killed"}
    api.get("/v1/jobs/1", answer(1, "failed", reason=why, runs=[{}]))
    api.answers["GET", "/v1/jobs/1/logs"] = lambda asked: (200, "out of memory")
    with pytest.raises(
        UncompletedJobError, match=r"ended without a result \(failed\): its supervisor was killed;.*\n.*out of"
    ):
        job.result()


def test_a_result_that_cannot_be_pickled_is_an_error_of_the_function(
    executor: Executor, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    job = executor.submit(no_pickle)
    assert run(api) == 1
    assert "pickle" in str(job.exception())


def test_a_result_that_another_user_could_have_written_is_not_read(executor: Executor, api: FakeApi) -> None:
    job = executor.submit(add, 1)
    run(api)
    Path(api.changes[-1].body["command"][-1], "0_result.pkl").chmod(0o666)
    with pytest.raises(NotOwn):
        job.result()


def test_it_is_waited_while_the_job_runs_and_while_the_daemon_is_away(
    executor: Executor, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    job = executor.submit(add, 1)
    run(api)
    told = iter([(200, answer(1, "queued")), (0, None), (0, None), (200, answer(1, "running")), (200, answer(1))])
    api.answers["GET", "/v1/jobs/1"] = lambda asked: next(told)
    job.wait()
    assert next(told, None) is None
    api.get("/v1/jobs/1", answer(1, "running"))
    with pytest.raises(TimeoutError, match="it goes on"):
        job.wait(timeout_s=0)


def test_a_job_that_has_ended_is_not_cancelled(executor: Executor, api: FakeApi) -> None:
    job = executor.submit(add, 1)
    job.cancel()
    api.get("/v1/jobs/1", answer(1, "running"))
    api.post("/v1/jobs/1/cancel", answer(1, "running"))
    job.cancel()
    assert [asked.path for asked in api.changes] == ["/v1/jobs", "/v1/jobs/1/cancel"]


def test_there_is_no_output_before_the_first_run(executor: Executor, api: FakeApi) -> None:
    job = executor.submit(add, 1)
    api.answers["GET", "/v1/jobs/1/logs"] = lambda asked: (200, "said")
    assert job.stdout() is None
    api.get("/v1/jobs/1", answer(1, runs=[{}]))
    assert "said" in (job.stdout() or "")


def test_parameters_are_the_options_of_submit_and_some_of_submitits_own(executor: Executor, api: FakeApi) -> None:
    executor.update_parameters(
        gpus=2, duration=timedelta(hours=1), finish_by="2030-01-01 09:00Z", max_delay="12h", label={"a": "b", "c": "d"},
        now=False, interruptible=True, min_run="1m", timeout_min=90, mem_gb=4, cpus_per_task=2, project="vision",
    )  # fmt: skip
    executor.update_parameters(project=None, cpus_per_task=None)
    executor.submit(add, 1)
    body = api.changes[-1].body
    expected = {
        "gpus": 2, "duration_s": 3600, "finish_by": "2030-01-01T09:00:00Z", "max_delay_s": 43200, "interruptible": True,
        "labels": {"a": "b", "c": "d"}, "min_run_s": 60, "time_limit_s": 5400, "memory_gib": 4.0, "name": "add",
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert {"start_now", "project", "cpus"} & set(body) == set()
    assert body["workdir"] == str(Path.cwd())
    assert body["env"]["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("length", [timedelta(days=12), timedelta(days=400, seconds=1), timedelta(seconds=0.25)])
def test_a_length_of_any_size_is_sent_as_it_is(executor: Executor, api: FakeApi, length: timedelta) -> None:
    executor.update_parameters(duration=length)
    executor.submit(add, 1)
    assert api.changes[-1].body["duration_s"] == length.total_seconds()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"gpu": 1}, "did you mean gpus?"),
        ({"finish_bye": "9am", "nodes": 2}, "finish_bye is no parameter of jobs; did you mean finish_by?"),
        ({"array": "0-9"}, "array is no parameter"),
        ({"workdir": "/"}, "workdir is no parameter"),
    ],
)
def test_unknown_parameters_are_refused_all_at_once_and_change_nothing(
    executor: Executor, api: FakeApi, parameters: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidJob) as refused:
        executor.update_parameters(priority=7, **parameters)
    assert told in str(refused.value)
    assert all(name in str(refused.value) for name in parameters)
    executor.submit(add, 1)
    assert "priority" not in api.changes[-1].body


def test_wrong_values_are_refused_all_at_once_and_nothing_is_submitted(executor: Executor, api: FakeApi) -> None:
    executor.update_parameters(duration="soon", max_delay="12", gpus="many")
    with pytest.raises(InvalidJob) as refused:
        executor.submit(add, 1)
    assert [row.field for row in refused.value.problems] == ["duration", "max_delay", "gpus"]
    assert all(word in str(refused.value) for word in ("'soon'", "'12' has no unit", "'many'"))
    assert api.changes == []


def test_what_the_daemon_refuses_is_raised(executor: Executor, api: FakeApi) -> None:
    api.post("/v1/jobs", problem(422, "bad", "no such project"), status=422)
    with pytest.raises(Exception, match="no such project"):
        executor.submit(add, 1)


def test_without_cloudpickle_a_function_of_the_main_program_is_refused(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_executor, "CAN_PICKLE_ALL", False)
    monkeypatch.setattr(add, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"add is defined in the main program.*install cloudpickle"):
        executor.submit(add, 1)


def test_a_job_finds_the_modules_that_its_submitter_found(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "of_greenruns_test.py").write_text("def seven():\n    return 7\n")
    place = folder / "place"
    place.mkdir(mode=0o700)
    call = b"(cof_greenruns_test\nseven\n)}t."  # a pickle of (seven, (), {})
    write_pickle(place, CALL.format("0"), dumps({"path": [str(folder / "elsewhere"), *sys.path], "call": call}))
    before = list(sys.path)
    try:
        assert main(place) == 0
    finally:
        sys.path[:] = before
    assert FunctionJob(folder, place, "0", 1)._outcome() == (None, 7)
