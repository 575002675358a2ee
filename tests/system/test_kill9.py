"""Daemons and shims are killed at the worst moments: nothing runs twice, and nothing that ran is forgotten."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.patience import exit_code, until
from tests.system.harness import Daemon, instant, is_alive, kill_shim, live_shim, replayed, write_trace

BUSY_W = 350.0
TILL_TOLD = "echo >> {ran}; until [ -e {go} ]; do sleep 0.05; done; exit "  # a job that ends when the test wants it
OF_A_TREE = 'echo ran >> {ran}; sleep 60 & echo "$$ $!" > {pids}; wait'
LOOK_FOR_A_TREE = 'for p in $(cat {pids}); do tr -d "\\0" < /proc/$p/cmdline >> {alive}; done; echo looked >> {alive}'


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    trace = write_trace(folder, [100 + 7 * index % 97 for index in range(1000)])
    with Daemon(folder, replayed(trace, horizon="200h")) as running:  # 400 s: long beside any restart
        yield running


def script(text: str, **places: Path) -> tuple[str, ...]:
    """Return the words of a job that runs this shell script."""
    return ("--", "sh", "-c", text.format(**places))


def started(daemon: Daemon, job: int) -> dict[str, Any]:
    """Return a job's run once its command runs."""
    return dict(daemon.wait_for(job, "running")["runs"][-1])


# the daemon


def test_jobs_run_on_over_a_killed_daemon_each_once_with_its_own_exit_code(daemon: Daemon) -> None:
    ran = [daemon.folder / f"ran-{index}" for index in range(3)]
    go = [daemon.folder / f"go-{index}" for index in range(2)]
    short = daemon.submit("--now", "--duration", "3s", *script(TILL_TOLD + "3", ran=ran[0], go=go[0]))
    long = daemon.submit("--now", "--duration", "7s", *script(TILL_TOLD + "0", ran=ran[1], go=go[1]))
    later = daemon.submit(
        "--start-after", "5s", "--max-delay", "6s", "--duration", "1s", *script("echo >> {ran}; exit 4", ran=ran[2])
    )
    started(daemon, short)
    started(daemon, long)
    shown = _intensities(daemon)
    until(lambda: _known_powers(daemon) == 2, "the books know what both GPUs draw at work, to bridge a gap with")
    daemon.kill9()
    go[0].touch()
    until(lambda: daemon.run_record("1.1", "exit"), "the short job ends while no daemon is there")
    daemon.start()
    again = _intensities(daemon)
    go[1].touch()

    jobs = [daemon.wait_for(job) for job in (short, long, later)]
    assert [(job["state"], _exit_codes(job)) for job in jobs] == [
        ("failed", [3]), ("succeeded", [0]), ("failed", [4]),
    ]  # fmt: skip
    assert [path.read_text() for path in ran] == ["\n"] * 3
    both = shown.keys() & again.keys()
    assert (len(both) > 20, {at: again[at] for at in both}) == (True, {at: shown[at] for at in both})
    _check_energy_over_the_gap(daemon, short, long)


def _exit_codes(job: dict[str, Any]) -> list[int | None]:
    """Return those of a job's runs, but for one that the kill kept from starting."""
    return [run["exit_code"] for run in job["runs"] if run["outcome"] != "failed_to_start"]


def _intensities(daemon: Daemon) -> dict[str, float]:
    return {slot["start"]: slot["g_per_kwh"] for slot in daemon.client.forecast()["slots"]}


def _known_powers(daemon: Daemon) -> int:
    with closing(sqlite3.connect(f"file:{daemon.state / 'greenrun.db'}?mode=ro", uri=True)) as books:
        return int(books.execute("SELECT count(held_w) FROM device_marks").fetchone()[0])


def _check_energy_over_the_gap(daemon: Daemon, *jobs: int) -> None:
    for job in jobs:
        run = daemon.booked(job)
        end = daemon.run_record(f"{job}.1", "exit")
        true_j = BUSY_W * (end["ended_at"] - end["started_at"])
        assert (run["energy_quality"], run["energy_j"]) == ("bridged", pytest.approx(true_j, rel=0.02))


def test_term_ends_the_daemon_with_0_and_leaves_jobs_running(daemon: Daemon) -> None:
    ran, go = daemon.folder / "ran", daemon.folder / "go"
    job = daemon.submit("--now", "--duration", "3s", *script(TILL_TOLD + "5", ran=ran, go=go))
    started(daemon, job)
    assert daemon.terminate() == 0
    assert (live_shim(daemon.state / "runs" / "1.1") is not None, (daemon.folder / "s").exists()) == (True, False)
    daemon.start()
    go.touch()
    run = daemon.wait_for(job)["runs"]
    assert ([row["exit_code"] for row in run], ran.read_text()) == ([5], "\n")


def test_a_shim_that_was_delayed_over_a_crash_starts_nothing(daemon: Daemon) -> None:
    ran = daemon.folder / "ran"
    words = script("echo $GREENRUN_RUN >> {ran}", ran=ran)
    job, shim = until(lambda: _with_a_shim_that_waits(daemon, *words), "a shim is stopped before it has done anything")
    ran.unlink(missing_ok=True)
    daemon.kill9()
    daemon.start()
    finished = daemon.wait_for(job)
    os.kill(shim, signal.SIGCONT)
    until(lambda: not is_alive(shim), "the delayed shim ends")
    assert ran.read_text() == f"{job}.2\n"
    assert [run["outcome"] for run in finished["runs"]] == ["failed_to_start", "succeeded"]


def _with_a_shim_that_waits(daemon: Daemon, *words: str) -> tuple[int, int] | None:
    """Start a job and stop its shim before it has a folder; return both, None if the shim was faster."""
    job = daemon.submit("--now", "--duration", "1s", *words)
    label = f"{job}.1"
    shim = until(lambda: _new_shim(daemon.pid, label) or daemon.found(job, ("succeeded",)), "a shim is spawned")
    if isinstance(shim, int) and _stop(shim):
        if not (daemon.state / "runs" / label).exists():
            return job, shim
        os.kill(shim, signal.SIGCONT)
    daemon.wait_for(job, "succeeded")
    return None


def _new_shim(daemon: int, label: str) -> int | None:
    """Return the shim of a run among a daemon's children."""
    tasks = Path(f"/proc/{daemon}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    return next((pid for pid in children if _is_shim(pid, label)), None)


def _is_shim(pid: int, label: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return label in words and any("shim_entry" in word for word in words)


def _stop(pid: int) -> bool:
    """Stop a process; return whether it stands still, and did not end first."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: not is_alive(pid) or psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it stands still")
    return is_alive(pid)


# the shim


@pytest.mark.parametrize("daemon_is_down", [False, True], ids=["while the daemon is up", "while the daemon is down"])
def test_a_run_whose_shim_is_killed_is_lost_and_gone_before_its_gpus_are_used_again(
    daemon: Daemon, daemon_is_down: bool
) -> None:
    places = {name: daemon.folder / name for name in ("ran", "pids", "alive")}
    lost = daemon.submit("--now", "--gpus", "2", "--duration", "60s", *script(OF_A_TREE, **places))
    following = daemon.submit("--now", "--gpus", "2", "--duration", "1s", *script(LOOK_FOR_A_TREE, **places))
    started(daemon, lost)
    until(lambda: places["pids"].exists() and len(places["pids"].read_text().split()) == 2, "the tree is complete")
    if daemon_is_down:
        daemon.kill9()
    kill_shim(daemon.state / "runs" / "1.1")
    if daemon_is_down:
        daemon.start()
    (run,) = daemon.wait_for(lost)["runs"]
    assert (run["outcome"], run["exit_code"]) == ("lost", None)
    assert daemon.wait_for(following)["state"] == "succeeded"
    assert (places["alive"].read_text(), places["ran"].read_text()) == ("looked\n", "ran\n")
    assert instant(run["ended_at"]) <= instant(daemon.client.job(following)["runs"][0]["started_at"])


# two daemons


def test_a_second_daemon_on_the_same_state_is_refused(daemon: Daemon) -> None:
    other = Daemon(daemon.folder, {"api": {"socket": str(daemon.folder / "other")}})
    assert exit_code(other.spawn()) == 1
    assert f"error: Another daemon uses {daemon.state}: use that one, stop it" in other.log()
    assert daemon.client.health()["status"] == "ok"


def test_a_second_daemon_on_the_same_socket_is_refused(daemon: Daemon) -> None:
    other = Daemon(daemon.folder, {"paths": {"state": str(daemon.folder / "other")}})
    assert exit_code(other.spawn()) == 1
    assert f"error: Another daemon answers at {daemon.folder / 's'}: use it, stop it" in other.log()
    assert daemon.client.health()["status"] == "ok"


def test_two_daemons_of_one_host_never_lease_the_same_gpu(folder: Path) -> None:
    first, second = folder / "first", folder / "second"
    first.mkdir()
    second.mkdir()
    locks = {"paths": {"locks": str(folder / "locks")}}
    with Daemon(first, locks) as one, Daemon(second, locks) as two:
        told = folder / "told"
        holds = ("sh", "-c", f"until [ -e {told} ]; do sleep 0.05; done")
        job = one.submit("--now", "--gpus", "2", "--duration", "4s", "--", *holds)
        run = started(one, job)
        waiting = two.submit("--now", "--duration", "1s", "--", "true")
        reason = until(lambda: _waits_for_others(two, waiting), "the second daemon says why its job waits")
        assert "run 1.1 of user" in reason
        assert {row["held_elsewhere"] is not None for row in two.client.devices()} == {True}
        told.touch()
        later = two.wait_for(waiting)
        assert (later["state"], one.wait_for(job)["state"]) == ("succeeded", "succeeded")
        assert later["runs"][0]["devices"][0] in run["devices"]
        assert instant(later["runs"][0]["started_at"]) >= instant(one.client.job(job)["runs"][0]["ended_at"])


def _waits_for_others(daemon: Daemon, job: int) -> str:
    answer = daemon.client.job(job)
    assert answer["state"] == "queued"
    return str(answer["reason"]["text"]) if answer["reason"]["code"] == "gpus_held_elsewhere" else ""
