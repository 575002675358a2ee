"""The cases of ../shared/cases that are about jobs, and a marginal source alone, through the real program."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from tests import cases
from tests.patience import HANGS_S, until
from tests.system.harness import Daemon, Ran, instant, replayed, short_folder, write_trace

USAGE = 2
LB_PER_MWH = 0.45359237  # in g per kWh


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with two emulated GPUs, little intensity to choose among, and logs of 4 MiB."""
    with short_folder() as folder:
        trace = write_trace(folder, [209.0] * 400)
        with Daemon(folder, {**replayed(trace, speed=1), "jobs": {"log_cap": "4MiB"}}) as running:
            yield running


def submitted(daemon: Daemon, *words: object) -> Ran:
    """What the program says to a job for now that takes ten seconds at most."""
    return daemon.cli("submit", "--now", "--duration", "10s", "-q", *words)


def script(daemon: Daemon, name: str, text: str) -> str:
    """An executable file beside the daemon's."""
    path = daemon.folder / name
    path.write_bytes(text.encode())
    path.chmod(0o755)
    return f"./{name}"


def test_exit_code_255_is_no_signal(daemon: Daemon) -> None:
    ended = daemon.wait_for(daemon.submit("--now", "--duration", "10s", "-g", "0", "--", "sh", "-c", "exit 255"))
    assert (ended["state"], ended["runs"][-1]["exit_code"]) == ("failed", 255)
    assert "255" in ended["reason"]["text"]
    assert "signal" not in ended["reason"]["text"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("crlf", "#!/bin/bash\r\necho hi\r\n", "CRLF"),
        ("none", "#!/no/such/interpreter\n", "/no/such/interpreter"),
        ("bare", "echo hi\n", "#!"),
    ],
)
def test_a_script_that_cannot_be_executed_is_refused_at_submission(
    daemon: Daemon, name: str, text: str, told: str
) -> None:
    ran = submitted(daemon, "--", script(daemon, name, text))
    assert ran.code == USAGE, ran
    assert told in ran.err


def test_a_log_in_a_folder_that_is_not_there_is_refused(daemon: Daemon) -> None:
    ran = submitted(daemon, "--log", "nolog/x.log", "--", "true")
    assert ran.code == USAGE, ran
    assert "nolog" in ran.err


def test_memory_that_no_gpu_has_is_refused_as_too_many_gpus_are(daemon: Daemon) -> None:
    for words in (("-g", "1", "--gpu-memory", "800"), ("-g", "5")):
        ran = submitted(daemon, *words, "--", "true")
        assert ran.code == USAGE, ran
        assert "GPU" in ran.err


def test_a_dependency_of_a_script_on_no_job_is_refused(daemon: Daemon) -> None:
    ran = submitted(daemon, script(daemon, "dep.sh", "#!/bin/sh\n#SBATCH --dependency=afterok:999999\ntrue\n"))
    assert ran.code != 0
    assert "999999" in ran.err


def test_a_unique_key_is_another_job_s_for_another_command(daemon: Daemon) -> None:
    assert submitted(daemon, "--unique", "k", "--", "true").code == 0
    ran = submitted(daemon, "--unique", "k", "--", "false")
    assert ran.code != 0
    assert "--unique" in ran.err


def test_what_a_script_leaves_behind_is_ended_and_said(daemon: Daemon) -> None:
    left = script(daemon, "left.sh", "#!/bin/sh\nsleep 100 &\necho started\n")
    job = daemon.submit("--now", "--duration", "10s", "-g", "0", "--", left)
    ended = daemon.wait_for(job)
    assert ended["state"] == "succeeded"
    assert "left 1 process" in ended["reason"]["text"]
    assert "left 1 process" in daemon.cli("logs", job).out


def test_a_job_that_fails_at_once_is_tried_again_after_pauses_that_grow(daemon: Daemon) -> None:
    """By its own records: after each failure it is left alone for longer, and was."""
    job = daemon.submit("--now", "--duration", "10s", "-g", "0", "--retries", "50", "--", "sh", "-c", "exit 1")
    rows = until(lambda: found if len(found := _failures(daemon, job)) >= 2 else None, "it has failed twice")
    daemon.cli("cancel", job)
    ended = daemon.wait_for(job)
    pauses_s = [(instant(row["after"]["retry_at"]) - instant(row["at"])).total_seconds() for row in rows[:2]]
    assert 5 <= pauses_s[0] < pauses_s[1]
    assert instant(ended["runs"][1]["started_at"]) >= instant(rows[0]["after"]["retry_at"])


def _failures(daemon: Daemon, job: int) -> list[dict[str, Any]]:
    """The events of its failures after which it is to be tried again."""
    return [row for row in daemon.client.events(job) if row["kind"] == "requeued"]


def test_a_log_keeps_to_its_limit_and_who_follows_it_reads_to_the_very_end(daemon: Daemon) -> None:
    """60 MB of output for a log of 4 MiB."""
    command = "yes | head -c 60000000; echo the very end"
    job = daemon.submit("--now", "--duration", "10s", "-g", "0", "--", "sh", "-c", command)
    followed = daemon.cli("logs", "-f", job)
    assert followed.code == 0, followed.err
    assert followed.out.endswith("the very end\n")
    assert daemon.wait_for(job)["state"] == "succeeded"
    kept = sum(path.stat().st_size for path in (daemon.state / "runs" / f"{job}.1").glob("log*"))
    assert 2 << 20 <= kept <= 4 << 20


def test_jobs_for_now_start_by_priority(daemon: Daemon) -> None:
    gate = daemon.folder / "gate"
    waiting = f"until test -e {gate}; do sleep .1; done"
    blocker = daemon.submit("--now", "--duration", "10s", "-g", "2", "--", "sh", "-c", waiting)
    daemon.wait_for(blocker, "running")
    of = {
        priority: daemon.submit("--now", "--duration", "10s", "-g", "2", "--priority", priority, "--", "true")
        for priority in (0, 1000, 1)
    }
    gate.touch()
    started = {daemon.wait_for(job)["runs"][0]["started_at"]: priority for priority, job in of.items()}
    assert [started[at] for at in sorted(started)] == [1000, 1, 0]


def test_a_job_that_may_run_below_more_than_it_is_starts_at_once(daemon: Daemon) -> None:
    job = daemon.submit("--run-below", "900", "--duration", "2h", "--", "sleep", "0.1")
    assert daemon.wait_for(job)["state"] == "succeeded"


def test_a_socket_that_is_removed_is_bound_again(daemon: Daemon) -> None:
    place = daemon.folder / "s"
    place.unlink()
    until(place.exists, "the socket is bound again")
    assert daemon.wait_for(daemon.submit("--now", "--duration", "1s", "-g", "0", "--", "true"))["state"] == "succeeded"


def test_a_marginal_source_alone_is_marginal_everywhere() -> None:
    """900 lb/MWh at a PUE of 1.5: under its own name in each output, and what an average would be is not known."""
    with cases.played() as address, short_folder() as folder:
        settings = {
            "grid": {"zone": "CAISO_NORTH", "provider": "src"},
            "provider": {"src": dict(cases.section(folder, f"{address}/wt-ok", "watttime"))},
            "devices": {"pue": 1.5},
        }
        with Daemon(folder, settings) as daemon:
            until(lambda: daemon.client.forecast()["rung"] == "fresh", "the source has answered")
            job = daemon.submit("--now", "--duration", "5s", "--", "sleep", "1.5")
            run = daemon.booked(job)
            (shown,) = daemon.client.job(job)["runs"]
            marginal_g = run["energy_j"] * 1.5 / 3.6e6 * 900 * LB_PER_MWH
            assert shown["emissions_location_g"] is None
            assert shown["emissions_marginal_g"] == pytest.approx(marginal_g, rel=1e-6)
            listed = json.loads(daemon.cli("list", "--all", "--json").out)
            (row,) = [each for each in listed if each["id"] == job]
            (told,) = row["runs"]
            assert (told["emissions_location_g"], told["emissions_marginal_g"] is None) == (None, False)
            with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
                samples = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
            grams = {line.partition("{")[0] for line in samples if "emissions_grams_total" in line}
            assert grams == {
                "greenrun_marginal_emissions_grams_total", "greenrun_settled_marginal_emissions_grams_total",
            }  # fmt: skip
            report = json.loads(daemon.cli("report", "--format", "json", "--from", "today").out)
            assert report["total"]["emissions_location_g"] is None


def test_a_database_that_is_deleted_takes_no_job_and_is_told() -> None:
    with short_folder() as folder, Daemon(folder) as daemon:
        for path in folder.glob("state/greenrun.db*"):
            path.unlink()
        for _ in range(3):
            assert daemon.cli("submit", "--now", "-q", "--", "true").code != 0
        assert daemon.client.health()["status"] != "ok"


def test_a_large_job_starts_before_all_but_a_first_few_that_came_after_it_and_overrun_their_estimates() -> None:
    """Four GPUs are busy with jobs that overrun; then come one for all four, and 24 that say 1 s and run 6.

    Until the start that the large one was first told has passed, each GPU may take one that says it will be done by
    then, and that runs past it; from then on GPUs are held.
    """
    with short_folder() as folder, Daemon(folder, {"devices": {"emulated": {"gpus": 4}}}) as daemon:
        words = ("submit", "--quiet", "--now", "--duration", "1s")
        gate = f"until test -e {folder / 'gate'}; do sleep .2; done"
        blockers = daemon.cli(*words, "--array", "0-3", "--", "sh", "-c", gate).out.split()
        for blocker in blockers:
            daemon.wait_for(int(blocker), "running")
        large = daemon.submit("--now", "--duration", "10s", "-g", "4", "--", "true")
        small = [int(job) for job in daemon.cli(*words, "--array", "0-23", "--", "sleep", "6").out.split()]
        assert (len(blockers), len(small)) == (4, 24)
        (folder / "gate").touch()
        started = daemon.wait_for(large)["runs"][0]["started_at"]
        begun = [run["started_at"] for job in small for run in daemon.client.job(job)["runs"]]
        daemon.cli("cancel", *small)
        for job in small:
            daemon.wait_for(job)
        assert sum(1 for at in begun if at is not None and at < started) <= 4


def test_no_job_reads_the_checkpoint_of_one_of_a_database_that_was_moved_away() -> None:
    """The first job of the new database has neither the number nor the folder of the old one."""
    saves = 'test -e "$GREENRUN_CHECKPOINT_DIR/mark" && exit 3; touch "$GREENRUN_CHECKPOINT_DIR/mark"'
    words = ("--now", "--duration", "10s", "-g", "0", "--interruptible", "--min-run", "1s", "--", "sh", "-c", saves)
    with short_folder() as folder, Daemon(folder) as daemon:
        old = daemon.submit(*words)
        assert daemon.wait_for(old)["state"] == "succeeded"
        assert daemon.terminate() == 0
        for path in daemon.state.glob("greenrun.db*"):
            path.rename(folder / path.name)
        daemon.start()
        new = daemon.submit(*words)
        assert new > old
        assert daemon.wait_for(new)["state"] == "succeeded"
