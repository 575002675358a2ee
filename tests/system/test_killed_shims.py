"""Supervisors are killed by the dozen while jobs start, run and end: nothing is lost, done twice or told falsely."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from greenrun.procfs import all_pids
from tests.patience import HANGS_S, until
from tests.sampling import EFFORT, dice
from tests.system.harness import Daemon, live_shim, replayed, write_trace

JOBS = (6, 12, 60)[EFFORT]
LONGEST_S = 1.5  # from when a run's folder appears until its shim is killed; the jobs take 0 to 1 s
COUNTS = "echo start >> {ran}; sleep {lasts}; echo end >> {ran}; exit {code}"
LEAVES = "echo start >> {ran}; (setsid sleep 600 > /dev/null &); sleep {lasts}; echo end >> {ran}; exit {code}"
HIDES = """echo start >> {ran}; env -i OF={mark} setsid sh -c 'exec 0>&- 1>&- 2>&- 3>&- 4>&- 5>&-; exec sleep 600' &
sleep {lasts}; echo end >> {ran}; exit {code}"""


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    config = {"devices": {"cpu_slots": 4}, "planner": {"tick": "1s"}}
    with Daemon(folder, {**replayed(write_trace(folder, [100.0] * 200)), **config}) as running:
        yield running


def alive_of(mark: str) -> list[int]:
    """Return the processes whose environment holds this mark."""
    found = []
    for pid in all_pids():
        try:
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def job(folder: Path, number: int, lasts_s: float) -> dict[str, Any]:
    """Return a job that tells when it starts and ends, and may leave processes; every third hides one."""
    script = (COUNTS, LEAVES, HIDES)[number % 3]
    text = script.format(
        ran=folder / f"ran-{number}", lasts=f"{lasts_s:.2f}", code=number % 2 * 7, mark=f"{folder}-{number}-"
    )
    return {"command": ["sh", "-c", text], "gpus": 0, "workdir": str(folder), "duration_s": 2, "start_now": True,
            "env": {"PATH": os.environ["PATH"]}}  # fmt: skip


def kill_shims(daemon: Daemon, doomed: dict[str, float]) -> set[str]:
    """Kill the shims of these runs so long after their folders appear, until every run has ended; return whose."""
    seen_at: dict[str, float] = {}
    killed: set[str] = set()

    def all_over() -> bool:
        now_s = monotonic()
        for folder in daemon.run_folders():
            due_s = seen_at.setdefault(folder.name, now_s) + doomed.get(folder.name, float("inf"))
            if now_s >= due_s and folder.name not in killed and (shim := live_shim(folder)):
                with suppress(ProcessLookupError):
                    os.kill(shim, signal.SIGKILL)
                    killed.add(folder.name)
        return all(row["state"] in ("succeeded", "failed") for row in daemon.client.jobs(limit=JOBS))

    until(all_over, "every job has ended", HANGS_S)
    return killed


def test_nothing_is_lost_doubled_or_falsely_told_when_shims_are_killed_under_load(daemon: Daemon) -> None:
    draw = dice("killed shims")
    lasts_s = [draw.uniform(0, 1) for _ in range(JOBS)]
    made = daemon.client.submit_many([job(daemon.folder, number, lasts_s[number]) for number in range(JOBS)])
    numbers = {row["id"]: number for number, row in enumerate(made)}
    doomed = {f"{id}.1": draw.uniform(0, LONGEST_S) for id, number in numbers.items() if number % 4 != 3}
    killed = kill_shims(daemon, doomed)
    told = {id: check(daemon, id, number, killed) for id, number in numbers.items()}
    assert len(told) == JOBS
    assert [id for id, number in numbers.items() if forgotten(daemon, id, number, killed)] == []
    assert sum(outcome == "lost" for outcome in told.values()) <= len(killed)


def forgotten(daemon: Daemon, id: int, number: int, killed: set[str]) -> set[int]:
    """Return which hidden processes of a job are alive that must not be; end all.

    One may be that hid within the moment since its shim had last looked before it was killed.
    """
    alive = alive_of(f"{daemon.folder}-{number}-")
    noted = daemon.run_record(f"{id}.1", "members").get("processes", [])
    for pid in alive:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {pid for pid in alive if f"{id}.1" not in killed or pid in {known for known, _ in noted}}


def check(daemon: Daemon, id: int, number: int, killed: set[str]) -> str:
    """Check one job against what its command has written down; return the outcome of its last run."""
    found = daemon.client.job(id)
    run, reason = found["runs"][-1], found["reason"]["text"]
    path = daemon.folder / f"ran-{number}"
    lines = path.read_text().split() if path.exists() else []
    code = number % 2 * 7
    assert lines.count("start") <= 1, (found, lines)
    if run["outcome"] == "lost":
        assert (f"{id}.{run['number']}" in killed, run["exit_code"]) == (True, None), found
        assert reason.startswith("its supervisor died without recording its end, and "), reason
        assert reason.endswith(", so its exit code is unknown"), reason
        return "lost"
    assert (found["state"], run["exit_code"], lines) == ("failed" if code else "succeeded", code, ["start", "end"]), (
        found
    )
    assert reason.startswith("its command ended with exit code 7" if code else "finished with exit code 0"), reason
    assert reason.endswith("; left 1 process, ended") == (number % 3 != 0), reason
    return str(run["outcome"])
