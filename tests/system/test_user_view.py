"""A user's day at the command line: submit, look, wait, cancel; and what programs rely on in the JSON."""

import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANGS_S, until
from tests.system.harness import Daemon, instant, live_shim, replayed, short_folder, write_trace

# The shapes of interfaces.md: more keys may be there, these must be.
JOB = {
    "id", "name", "project", "user", "state", "reason", "command", "gpus", "duration_s", "duration_source", "finish_by",
    "max_delay_s", "submitted_at", "planned", "runs", "labels",
}  # fmt: skip
REASON = {"code", "text"}
PLANNED = {"start", "end", "g_per_kwh", "expected_g", "start_now_g"}
RUN = {
    "id", "number", "started_at", "ended_at", "outcome", "exit_code", "devices", "energy_j", "energy_quality",
    "emissions_g", "emissions_settled_g", "log",
}  # fmt: skip
PLAN = {"made_at", "horizon_end", "gap_ratio", "bound_g", "expected_g", "start_at_once_g", "placements", "waiting"}
PLACEMENT = {"job", "start", "end", "gpus", "g_per_kwh", "reason"}
FORECAST = {"zone", "provider", "signal", "basis", "issued_at", "fetched_at", "step_s", "rung", "slots"}
SLOT = {"start", "end", "g_per_kwh", "kind"}

ALLOWED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH"}
OWN = {
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "GREENRUN_JOB_ID", "GREENRUN_RUN", "GREENRUN_ATTEMPT",
    "GREENRUN_RUN_TOKEN", "GREENRUN_CHECKPOINT_DIR", "GREENRUN_PROGRESS", "GREENRUN_FINISH_BY", "PYTHONUNBUFFERED",
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    values = [300, 280] + [200 + index % 90 for index in range(160)] + [60, 60] + [250] * 300
    with (
        short_folder() as folder,
        Daemon(folder, replayed(write_trace(folder, values), speed=360, horizon="120h")) as running,
    ):
        yield running


def answer(daemon: Daemon, verb: str, *words: object) -> Any:
    """Return the JSON that a command prints."""
    done = daemon.cli(verb, "--json", *words)
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


def missing(keys: set[str], found: Mapping[str, Any]) -> set[str]:
    """Return those keys that are not there."""
    return keys - found.keys()


def cancel(daemon: Daemon, job: int) -> None:
    """Cancel a job and wait until it is."""
    daemon.client.cancel(job)
    daemon.wait_for(job, "cancelled")


def test_a_job_can_be_followed_from_submission_to_its_exit_code(daemon: Daemon) -> None:
    said = daemon.cli("submit", "--duration", "2s", "--now", "--name", "nap", "--", "sh", "-c", "echo dreams; exit 3")
    assert (said.code, said.err) == (0, "")
    job = int(said.out.split()[1])
    assert said.out.startswith(f"job {job} queued, starts now (")
    waited = daemon.cli("wait", job)
    assert (waited.code, waited.out) == (3, f"job {job} failed: its command ended with exit code 3\n")
    assert daemon.cli("logs", job) == (0, "dreams\n", "")
    assert daemon.cli("logs", "-f", job) == (0, "dreams\n", "")
    shown = daemon.cli("show", job)
    assert (shown.code, "failed, exit code 3" in shown.out, "(emulated)" in shown.out) == (0, True, True)
    assert "nap" in daemon.cli("list").out
    assert "ended with exit code 3" in daemon.cli("explain", job).out


def test_wait_gives_0_for_a_job_that_succeeded(daemon: Daemon) -> None:
    job = daemon.submit("--now", "--duration", "1s", "--", "true")
    assert daemon.cli("wait", job).code == 0


def test_a_job_that_waits_says_when_and_why(daemon: Daemon) -> None:
    said = daemon.cli("submit", "--duration", "10s", "--max-delay", "1200s", "--", "true")
    job = int(said.out.split()[1])
    assert said.out.startswith(f"job {job} queued, planned ")
    assert "(60 g/kWh, " in said.out
    assert "below now)" in said.out
    explained = daemon.cli("explain", job)
    assert "Waits for the cleanest free window before its latest start: 60 g/kWh" in explained.out
    cancel(daemon, job)


def test_a_running_job_is_cancelled_with_its_whole_tree(daemon: Daemon) -> None:
    job = daemon.submit("--now", "--duration", "60s", "--", "sh", "-c", "sleep 60 & sleep 60")
    daemon.wait_for(job, "running")
    said = daemon.cli("cancel", job)
    assert (said.code, said.err) == (0, "")
    (run,) = daemon.wait_for(job)["runs"]
    assert (daemon.client.job(job)["state"], run["outcome"], run["exit_code"]) == ("cancelled", "cancelled", 143)
    until(lambda: live_shim(daemon.state / "runs" / f"{job}.1") is None, "its supervisor ends, which recorded that")
    assert daemon.cli("wait", job).code == 143


# JSON


def test_a_jobs_json_has_its_documented_keys_and_null_for_what_is_not_known(daemon: Daemon) -> None:
    waiting = answer(daemon, "submit", "--duration", "10s", "--max-delay", "1200s", "--", "true")
    assert (missing(JOB, waiting), missing(REASON, waiting["reason"]), missing(PLANNED, waiting["planned"])) == (
        set(), set(), set(),
    )  # fmt: skip
    assert (waiting["finish_by"], waiting["runs"], waiting["state"]) == (None, [], "queued")
    running = answer(daemon, "submit", "--now", "--duration", "600s", "--gpus", "0", "--", "sleep", "600")["id"]
    daemon.wait_for(running, "running")
    shown = answer(daemon, "show", running)
    (run,) = shown["runs"]
    assert (missing(JOB, shown), missing(RUN, run), shown["planned"]) == (set(), set(), None)
    unknown = ("ended_at", "outcome", "exit_code", "energy_j", "emissions_g", "emissions_settled_g")
    assert {key: run[key] for key in unknown} == dict.fromkeys(unknown)
    assert (run["energy_quality"], run["devices"]) == ("unknown", [])
    assert [job["id"] for job in answer(daemon, "list")][-2:] == [waiting["id"], running]
    assert waiting["submitted_at"].endswith("Z")
    cancel(daemon, waiting["id"])
    cancel(daemon, running)


def test_the_plans_json_has_its_documented_keys(daemon: Daemon) -> None:
    placed = daemon.submit("--duration", "10s", "--max-delay", "1200s", "--", "true")
    held = daemon.submit("--duration", "10s", "--max-delay", "1200s", "--", "true")
    daemon.client.hold(held)
    plan = until(lambda: _with_a_waiting_job(daemon), "the held job has no place in the plan")
    (placement,), (waiting,) = plan["placements"], plan["waiting"]
    assert (missing(PLAN, plan), missing(PLACEMENT, placement), missing(REASON, placement["reason"])) == (
        set(), set(), set(),
    )  # fmt: skip
    assert (placement["job"], waiting["job"], waiting["reason"]["code"]) == (placed, held, "held")
    assert plan["bound_g"] <= plan["expected_g"] <= plan["start_at_once_g"]
    cancel(daemon, placed)
    cancel(daemon, held)


def _with_a_waiting_job(daemon: Daemon) -> Any:
    """Return the plan if it has one; a place found for a submission alone comes without a bound."""
    plan = answer(daemon, "plan")
    return plan if plan["waiting"] and plan["bound_g"] is not None else None


def test_the_forecasts_json_has_its_documented_keys_and_no_hole(daemon: Daemon) -> None:
    forecast = answer(daemon, "forecast")
    assert missing(FORECAST, forecast) == set()
    assert [missing(SLOT, slot) for slot in forecast["slots"]] == [set()] * len(forecast["slots"])
    assert (forecast["zone"], forecast["provider"], forecast["rung"], forecast["step_s"]) == ("GB", "trace", "fresh", 5)
    assert forecast["basis"] is None
    assert [slot["start"] for slot in forecast["slots"][1:]] == [slot["end"] for slot in forecast["slots"][:-1]]
    assert {slot["kind"] for slot in forecast["slots"]} == {"forecast"}


def test_errors_are_problem_json(daemon: Daemon) -> None:
    done = daemon.cli("submit", "--json", "--gpus", "9", "--", "true")
    problem = json.loads(done.err)
    assert (done.code, done.out, problem["status"]) == (2, "", 422)
    assert {"type", "title", "status", "detail", "errors"} <= problem.keys()
    assert [row["field"] for row in problem["errors"]] == ["gpus"]


# what others can see


def test_the_socket_is_for_its_user_alone_and_so_is_the_state(daemon: Daemon) -> None:
    places = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (daemon.folder / "s", daemon.state)}
    assert places == {"s": 0o600, "state": 0o700}
    until(lambda: not any(map(live_shim, daemon.run_folders())), "nobody writes to the folders of runs any more")
    files = [path for path in daemon.state.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    assert {path.name for path in files if path.parent != daemon.state and path.stat().st_mode & 0o077} == set()
    assert stat.S_IMODE((daemon.state / "greenrun.db").stat().st_mode) == 0o600


def test_a_job_gets_the_allowed_variables_and_the_named_ones_and_no_others(daemon: Daemon) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "s3cret", "LC_TIME": "C", "CONDA_PREFIX": "/c", "SEED": "7", "HF_TOKEN": "t"}
    job = daemon.submit(
        "--now", "--duration", "1s", "--finish-by", "1h", "--env", "SEED", "--env", "MODE=fast", "--", "env",
        env=secrets,
    )  # fmt: skip
    assert daemon.wait_for(job)["state"] == "succeeded"
    got = dict(line.split("=", 1) for line in daemon.cli("logs", job).out.splitlines())
    assert got.keys() - ALLOWED - OWN == {"LC_TIME", "CONDA_PREFIX", "SEED", "MODE"}
    assert OWN - got.keys() == set()
    assert (got["SEED"], got["MODE"], got["GREENRUN_RUN"]) == ("7", "fast", f"{job}.1")
    assert got["CUDA_VISIBLE_DEVICES"] == daemon.client.job(job)["runs"][0]["devices"][0]
    database = (daemon.state / "greenrun.db").read_bytes() + (daemon.state / "greenrun.db-wal").read_bytes()
    assert (b"s3cret" in database, "s3cret" in daemon.log()) == (False, False)


# without the daemon


def test_logs_are_there_while_the_daemon_is_down(folder: Path) -> None:
    with Daemon(folder) as daemon:
        job = daemon.submit("--now", "--duration", "1s", "--", "echo", "still here")
        daemon.wait_for(job)
        assert daemon.terminate() == 0
        assert daemon.cli("logs", job) == (0, "still here\n", "")
        done = daemon.cli("show", job)
        assert done.code == 5


def test_systemd_is_told_when_the_daemon_is_ready_and_when_it_stops(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(HANGS_S)
        with Daemon(folder, env={"NOTIFY_SOCKET": str(folder / "notify")}) as daemon:
            assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=3600000000", "an old database may take long to open"
            assert manager.recv(100) == b"READY=1"
            assert daemon.client.health()["status"] == "ok"
            job = daemon.submit("--now", "--duration", "1s", "--", "printenv", "NOTIFY_SOCKET")
            assert daemon.wait_for(job)["runs"][0]["exit_code"] == 1, "a job must not speak for the daemon"
            assert daemon.terminate() == os.EX_OK
            assert manager.recv(100) == b"STOPPING=1"


def test_without_a_zone_energy_is_measured_and_emissions_stay_unknown(folder: Path) -> None:
    with Daemon(folder) as daemon:
        job = daemon.submit("--duration", "2s", "--", "sleep", "1")
        run = daemon.booked(job)
        seconds = (instant(run["ended_at"]) - instant(run["started_at"])).total_seconds()
        assert run["energy_j"] == pytest.approx(350 * seconds, rel=0.01)
        assert (run["emissions_g"], run["emissions_settled_g"]) == (None, None)
        assert answer(daemon, "forecast")["slots"] == []
