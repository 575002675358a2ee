"""Bad input through the real command line: a clear sentence, the right exit code, and nothing half-stored."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from tests.conftest import absent
from tests.patience import until
from tests.system.harness import (
    Daemon,
    Ran,
    environment,
    instant,
    replayed,
    run_greenrun,
    short_folder,
    write_config,
    write_trace,
)

FILLED_AT_THE_START = ("alembic_version", "anchors", "lineage")
USAGE, NOT_FOUND, NOT_REACHABLE, TIMED_OUT, STORAGE_FULL, CONFIG = 2, 3, 5, 6, 7, 78


def serve(folder: Path) -> Ran:
    """Run the daemon with the settings in a folder, which it is to refuse, and see that it stored nothing."""
    done = run_greenrun("serve", env=environment(folder), cwd=folder)
    assert rows(folder / "state" / "greenrun.db") == {}
    assert not (folder / "s").exists()
    return done


def rows(database: Path) -> dict[str, int]:
    """Return how many rows there are in every table that has any and that a daemon's start does not fill."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    return {name: count for name, count in counts.items() if count and name not in FILLED_AT_THE_START}


# settings


def test_an_unknown_zone_is_refused_with_the_one_that_was_probably_meant(folder: Path) -> None:
    write_config(folder, {**replayed(write_trace(folder, [100, 200])), "grid": {"zone": "UK", "provider": "trace"}})
    done = serve(folder)
    assert done.code == CONFIG
    assert "grid.zone: unknown zone 'UK'" in done.err
    assert "did you mean 'GB'?" in done.err


def test_settings_that_are_not_toml_are_told_by_line(folder: Path) -> None:
    (folder / "greenrun.toml").write_text('[grid]\nzone = "GB\n', encoding="utf-8")
    done = serve(folder)
    assert done.code == CONFIG
    assert "it is not TOML" in done.err
    assert "line 2" in done.err


def test_all_bad_settings_are_told_at_once_with_their_key_paths(folder: Path) -> None:
    bad = {
        "planner": {"tick": "soon", "min_savings": 0.1},
        "devices": {"meter": "emulted", "pue": 0.5},
        "provider": {"trace": {"kind": "fil"}},
        "grid": {"zone": "GB", "provider": "uk"},
    }
    write_config(folder, bad)
    done = serve(folder)
    assert done.code == CONFIG
    told = [line.strip().partition(":")[0] for line in done.err.splitlines()[1:]]
    assert sorted(told) == [
        "devices.meter[0]",
        "devices.pue",
        "grid.provider",
        "planner.min_savings",
        "planner.tick",
        "provider.trace.kind",
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([100, "NaN", 300], "line 3: 'NaN' is not a number"),
        ([100, 200, None, 400], "a hole of 0:30:00 from 2026-01-01T01:00:00+00:00"),
    ],
    ids=["NaN", "hole"],
)
def test_a_trace_with_a_fault_is_refused_at_the_start(folder: Path, values: list[object], said: str) -> None:
    trace = write_trace(folder, values)
    lines = trace.read_text(encoding="utf-8").splitlines(keepends=True)
    trace.write_text("".join(line for line in lines if "None" not in line), encoding="utf-8")
    write_config(folder, replayed(trace))
    done = serve(folder)
    assert (done.code, said in done.err) == (CONFIG, True), done
    assert "Traceback" not in done.err


# jobs


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with short_folder() as folder, Daemon(folder, replayed(write_trace(folder, [300, 200, 100] * 60))) as running:
        yield running


def refused(daemon: Daemon, *words: object) -> Ran:
    """Submit what is to be refused, and see that nothing was stored of it."""
    before = rows(daemon.state / "greenrun.db").get("jobs"), len(daemon.client.jobs())
    done = daemon.cli("submit", *words)
    assert (rows(daemon.state / "greenrun.db").get("jobs"), len(daemon.client.jobs())) == before
    assert (done.out, "Traceback" in done.err) == ("", False), done
    return done


def test_a_missing_command_is_told(daemon: Daemon) -> None:
    done = refused(daemon, "--duration", "1h")
    assert done.code == USAGE
    assert "there is no command to run; name it last" in done.err


def test_a_command_that_does_not_exist_is_told(daemon: Daemon) -> None:
    done = refused(daemon, "--", "trian.py", "--epochs", "90")
    assert done.code == USAGE
    assert "there is no program 'trian.py' in PATH" in done.err


def test_more_gpus_than_there_are_is_told(daemon: Daemon) -> None:
    done = refused(daemon, "--gpus", "3", "--", "true")
    assert done.code == USAGE
    assert "the job needs 3 GPUs and this machine has 2" in done.err


@pytest.mark.parametrize("gpus_are_busy", [False, True], ids=["idle", "busy"])
def test_a_finish_by_that_cannot_be_met_is_refused_with_one_that_would_do(daemon: Daemon, gpus_are_busy: bool) -> None:
    busy = ("--now", "--gpus", "2", "--duration", "90s", "--", "sleep", "600")
    in_the_way = daemon.submit(*busy) if gpus_are_busy else 0
    if in_the_way:
        daemon.wait_for(in_the_way, "running")
    accepted = until(lambda: advised(daemon, in_the_way), "advice is there to be followed in time")
    daemon.cli("cancel", *{accepted, in_the_way} - {0})
    daemon.wait_for(accepted)
    if in_the_way:
        daemon.wait_for(in_the_way)


def advised(daemon: Daemon, in_the_way: int) -> int | None:
    """Ask for what cannot be met, then for what was advised; return that job, None if the machine was too slow."""
    runs = daemon.client.job(in_the_way)["runs"] if in_the_way else []
    before = utc_now()
    done = refused(daemon, "--duration", "60s", "--finish-by", "40s", "--", "true")
    after = utc_now()
    assert (done.code, done.err.count("\n")) == (USAGE, 1), done
    suggested = next(
        word for word in done.err.replace(",", " ").split() if word.startswith("20") and word.endswith("Z")
    )
    since = [instant(run["started_at"]) + timedelta(seconds=90) for run in runs if run["started_at"]]
    soonest = timedelta(seconds=60)
    room = instant(suggested) - soonest
    assert max([before, *since]) < room < max([after, *since]) + timedelta(seconds=10), (
        "the smallest change, and a moment"
    )
    again = daemon.cli("submit", "--quiet", "--duration", "60s", "--finish-by", suggested, "--", "true")
    assert again.code == os.EX_OK or utc_now() > room, "advice that is followed in time is accepted"
    return int(again.out) if again.code == os.EX_OK else None


def test_an_unknown_job_is_told(daemon: Daemon) -> None:
    for verb in ("show", "explain", "cancel", "wait", "logs"):
        done = daemon.cli(verb, 999)
        assert (done.code, done.out, "999" in done.err) == (NOT_FOUND, "", True), verb


def test_a_wait_that_times_out_says_that_the_job_goes_on(daemon: Daemon) -> None:
    job = daemon.submit("--start-after", "1h", "--duration", "20s", "--", "true")
    done = daemon.cli("wait", job, "--timeout", "500ms")
    assert done.code == TIMED_OUT
    assert f"job {job} is still" in done.err
    assert daemon.found(job, ("queued",)) is not None
    daemon.cli("cancel", job)
    daemon.wait_for(job)


@pytest.mark.parametrize("verb", ["list", "plan", "forecast", "submit"])
def test_a_daemon_that_is_not_there_is_told(folder: Path, verb: str) -> None:
    write_config(folder, {})
    words = ("--", "true") if verb == "submit" else ()
    done = run_greenrun(verb, *words, env=environment(folder), cwd=folder)
    assert (done.code, done.out) == (NOT_REACHABLE, "")
    assert f"cannot reach the greenrun daemon at {folder / 's'}" in done.err
    assert "start it with `greenrun serve --detach`" in done.err


# a full disk


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Give an empty file system of 4 MiB; skip the test where this user may not mount one."""
    at = folder / "disk"
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "greenrun-test", at], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        absent(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def test_a_full_disk_on_submit_stores_nothing_and_room_lets_submit_work_again(folder: Path) -> None:
    with small_disk(folder) as disk, Daemon(folder, {"paths": {"state": str(disk / "state")}}) as daemon:
        first = daemon.submit("--duration", "1s", "--", "true")
        daemon.wait_for(first)
        filler = disk / "filler"
        fill(filler)
        refusals = [daemon.cli("submit", "--now", "--label", f"pad={'x' * 190}", "--", "true") for _ in range(3)]
        assert [done.code for done in refusals] == [STORAGE_FULL] * 3, refusals
        assert {done.out for done in refusals} == {""}
        assert all("there is no room left" in done.err and "nothing was stored" in done.err for done in refusals)
        assert [job["id"] for job in daemon.client.jobs()] == [first]
        filler.unlink()
        second = until(lambda: submitted(daemon), "a submission is accepted again")
        assert daemon.wait_for(second)["state"] == "succeeded"
        assert [job["id"] for job in daemon.client.jobs()] == [first, second]
        assert check(disk / "state" / "greenrun.db") == "ok"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0")


def submitted(daemon: Daemon) -> int | None:
    done = daemon.cli("submit", "--quiet", "--now", "--duration", "1s", "--", "true")
    return int(done.out) if done.code == os.EX_OK else None


def check(database: Path) -> str:
    """Return what SQLite's own check says."""
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
