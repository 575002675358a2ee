"""A user orders jobs about as people name them; it all outlives kill -9 of the daemon, and nothing is doubled."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.patience import until
from tests.system.harness import Daemon, instant, short_folder

pytestmark = pytest.mark.system


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with short_folder() as folder, Daemon(folder) as running:
        yield running


def test_an_array_is_ordered_as_a_whole_and_in_parts(daemon: Daemon) -> None:
    done = daemon.cli("submit", "--quiet", "--array", "0-4", "--name", "sweep", "--start-after", "9h", "--", "true")
    first, *rest = map(int, done.out.split())
    last = daemon.submit("--after", "sweep:any", "--name", "last", "--", "true")
    assert [row["job"] for row in daemon.client.job(last)["after"]] == [first, *rest]
    assert daemon.cli("hold", f"{first}[]").code == 0
    assert [daemon.client.job(job)["held"] for job in (first, *rest)] == [True] * 5
    assert daemon.cli("release", "sweep[1-2]", f"{first}_3").code == 0
    assert [daemon.client.job(job)["held"] for job in (first, *rest)] == [True, False, False, False, True]
    edited = daemon.cli("edit", "sweep", "--json", "--duration", "5m", "--priority", "3")
    assert [json.loads(line)["duration_s"] for line in edited.out.splitlines()] == [300] * 5
    assert daemon.cli("cancel", "--state", "held").code == 0
    wrong = daemon.cli("cancel", "sweep[1]", "nobody", "sweep[9]")
    assert (wrong.code, "'nobody'" in wrong.err, "the indices of sweep are 0-4" in wrong.err) == (3, True, True)
    for job in (first, rest[0], rest[-1]):
        daemon.wait_for(job, "cancelled")
    assert [daemon.client.job(job)["state"] for job in rest[1:3]] == ["queued", "queued"]
    assert daemon.cli("cancel", f"{first}-{last}").code == 0
    assert daemon.cli("wait", "sweep", "last").code == 1


def test_a_pause_and_a_requeue_outlive_the_daemon_and_double_nothing(daemon: Daemon) -> None:
    job = daemon.submit("--now", "--gpus", "0", "--retries", "1", "--name", "flaky", "--", "sh", "-c", "exit 75")
    pausing = until(lambda: _pausing(daemon, job), lambda: f"the job pauses: {daemon.client.job(job)}")
    assert pausing["reason"]["code"] == "retry_pause"
    daemon.kill9()
    daemon.start()
    still = daemon.client.job(job)  # on a busy machine the pause may be over by now
    assert still["retry_at"] == pausing["retry_at"] or len(still["runs"]) > 1, still
    failed = daemon.wait_for(job, "failed")
    first, second = _begun(failed)
    assert instant(second["started_at"]) >= instant(pausing["retry_at"])
    assert instant(second["started_at"]) - instant(first["ended_at"]) >= timedelta(seconds=10)
    assert daemon.cli("requeue", "flaky", "--retries", "0", "--", "true", env={"PATH": "/usr/bin:/bin"}).code == 0
    daemon.kill9()
    daemon.start()
    again = daemon.wait_for(job, "succeeded")
    assert [run["outcome"] for run in _begun(again)] == ["failed", "failed", "succeeded"]
    kinds = [row["kind"] for row in daemon.client.all_events([job])]
    assert kinds.count("claimed") == len(again["runs"])
    daemons = daemon.client.all_events(kinds=["daemon_started", "daemon_stopped"])
    assert [row["kind"] for row in daemons] == ["daemon_started"] * 3


def _pausing(daemon: Daemon, job: int) -> dict[str, Any] | None:
    """Return a job if it pauses before its next try."""
    answer = daemon.client.job(job)
    return answer if answer["retry_at"] else None


def _begun(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a job's runs, but for one that a kill of the daemon kept from starting."""
    return [run for run in job["runs"] if run["outcome"] != "failed_to_start"]
