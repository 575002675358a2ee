"""What is wrong with GPUs is told in a line each, and they are drained and resumed by index or UUID."""

from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi, problem

DRAIN = {"gpu": "GPU-b", "user": "ada", "since": "2026-01-02T10:02:00Z", "reason": "replacing the fan"}
OTHERS = {"code": "gpus_used_by_others", "text": "used by process 42 of bob"}
LOST = {"code": "gpus_lost", "text": "lost: it has to be reset"}


def gpu(index: int, **own: Any) -> dict[str, Any]:
    return {
        "id": f"GPU-{'abcd'[index]}", "index": index, "model": "H100", "kind": "gpu", "memory_bytes": 80 << 30,
        "leased_by_job": None, "unavailable": [], "processes": [], **own,
    }  # fmt: skip


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    """A daemon of four GPUs, of which only the first is well."""
    bob = {"pid": 42, "user": "bob", "memory_bytes": 8 << 30, "run": None}
    cpu = {**gpu(0, kind="cpu", memory_bytes=None, model="EPYC"), "id": "package-0"}
    gone = {"code": "drained", "text": "drained by ada since 2026-01-02 10:02:00Z: replacing the fan"}
    rows = [gpu(1, unavailable=[gone]), gpu(2, unavailable=[OTHERS], processes=[bob]), gpu(3, unavailable=[LOST])]
    api.get("/v1/devices", [gpu(0, leased_by_job=12), *rows, cpu])
    api.get("/v1/drains", [DRAIN])
    api.post("/v1/drain", [DRAIN])
    api.post("/v1/resume", [])
    return api


def test_devices_tell_who_has_them_and_what_keeps_jobs_away(api: FakeApi, run: Run) -> None:
    lines = [" ".join(line.split()) for line in run("devices").out.splitlines()]
    assert lines == [
        "DEVICE MODEL MEMORY JOB STATE",
        "GPU 0 H100 80 GiB 12 in use",
        "GPU 1 H100 80 GiB drained by ada since 2026-01-02 10:02: replacing the fan",
        "GPU 2 H100 80 GiB used by process 42 of bob (8 GiB)",
        "GPU 3 H100 80 GiB lost: it has to be reset",
        "package-0 EPYC",
    ]


def test_a_drained_machine_is_told_once_at_the_top(api: FakeApi, run: Run) -> None:
    api.get("/v1/drains", [{**DRAIN, "gpu": None, "reason": ""}])
    first = run("devices").out.splitlines()[0]
    assert first == "The machine is drained by ada since 2026-01-02 10:02; no job is started, and what runs goes on."


def test_a_list_of_jobs_ends_with_what_keeps_them_from_gpus(api: FakeApi, run: Run) -> None:
    reason = {"code": "drained", "text": "needs 2 GPUs and 1 can be used now: GPU 1 is drained by ada since 10:02: fan"}
    api.get("/v1/jobs", [job(12, planned=None, reason=reason)])
    lines = run("list").out.splitlines()
    assert lines[1].endswith("GPU 1 is drained by ada since 10:02: fan")
    assert lines[2:] == [
        "GPU 1 is drained by ada since 2026-01-02 10:02: replacing the fan.",
        "GPU 2 is used by process 42 of bob (8 GiB).",
        "GPU 3 is lost: it has to be reset.",
    ]


def test_drain_names_the_gpus_and_says_what_is_drained_then(api: FakeApi, run: Run) -> None:
    ran = run("drain", "--gpu", "0,1", "--gpu", "GPU-c", "--reason", "replacing the fan")
    assert (ran.code, ran.out) == (0, "GPU 1 is drained by ada since 2026-01-02 10:02: replacing the fan\n")
    assert api.asked[0].body == {"gpus": ["0", "1", "GPU-c"], "reason": "replacing the fan"}


def test_a_drained_machine_tells_which_jobs_run_on(api: FakeApi, run: Run) -> None:
    api.post("/v1/drain", [{**DRAIN, "gpu": None, "reason": ""}])
    assert run("drain").out == "the machine is drained by ada since 2026-01-02 10:02; job 12 runs on\n"
    assert api.asked[0].body == {"gpus": [], "reason": ""}


def test_a_drained_machine_tells_of_several_jobs_in_the_plural(api: FakeApi, run: Run) -> None:
    api.post("/v1/drain", [{**DRAIN, "gpu": None, "reason": ""}])
    api.get("/v1/devices", [gpu(0, leased_by_job=12), gpu(1, leased_by_job=12), gpu(2, leased_by_job=14)])
    assert run("drain").out.endswith("; jobs 12, 14 run on\n")


def test_resume_says_that_nothing_is_drained_any_more(api: FakeApi, run: Run) -> None:
    assert run("resume", "--gpu", "1").out == "nothing is drained: jobs start as planned\n"
    assert (api.asked[0].body, run("resume", "--json").out) == ({"gpus": ["1"]}, "[]\n")


def test_what_is_refused_is_told_with_its_exit_code(api: FakeApi, run: Run) -> None:
    api.post("/v1/drain", problem(403, "not permitted", "Only root may drain GPUs."), 403)
    ran = run("drain")
    assert (ran.code, ran.err) == (4, "error: Only root may drain GPUs.\n")
