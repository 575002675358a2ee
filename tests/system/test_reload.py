"""On HUP the real daemon reads its settings again: all of them or none, and jobs go on."""

import os
import signal
from pathlib import Path

import pytest

from tests.patience import until
from tests.system.harness import Daemon

pytestmark = pytest.mark.system

TAKEN, KEPT = "settings read again", "settings not taken, those before hold"


def hang_up(daemon: Daemon, event: str) -> dict[str, object]:
    """Send HUP, and return the next line that the daemon logs of this event."""
    before = len(daemon.logged(event))
    os.kill(daemon.pid, signal.SIGHUP)
    return until(lambda: daemon.logged(event)[before:], lambda: daemon.log())[0]


def most_queued(daemon: Daemon) -> bool:
    """Whether a job beyond the first that waits is refused, as with max_queued = 1."""
    refused = daemon.cli("submit", "--start-after", "10h", "--", "true")
    return refused.code != 0


def test_new_settings_hold_after_a_hup_and_a_running_job_goes_on(folder: Path) -> None:
    with Daemon(folder) as daemon:
        job = daemon.submit("--now", "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 4")
        daemon.wait_for(job, "running")
        daemon.submit("--start-after", "10h", "--", "true")
        text = daemon.config.read_text()
        daemon.config.write_text(f"{text}\n[jobs]\nmax_queued = 1\n")
        assert hang_up(daemon, TAKEN)["changed"] == ["jobs.max_queued"]
        until(lambda: len(daemon.logged("ready")) == 2)
        assert most_queued(daemon)
        (folder / "go").touch()
        ended = daemon.wait_for(job, "failed")
        assert [run["exit_code"] for run in ended["runs"]] == [4]


BAD = {
    '[jobs]\nmax_queued = 0\n[reports]\nby = "colour"\n': ("jobs.max_queued", "reports.by"),
    "[nonsense": ("TOML",),
    '[grid]\nzone = "GB"\nprovider = "gone"\n': ("grid.provider",),
    '[server]\nmode = "system"\n': ("server.mode", "restart"),
}


def test_settings_that_cannot_be_used_change_nothing(folder: Path) -> None:
    with Daemon(folder) as daemon:
        text = daemon.config.read_text()
        for written, why in BAD.items():
            daemon.config.write_text(f"{text}\n{written}")
            told = str(hang_up(daemon, KEPT)["why"])
            assert all(word in told for word in why), told
        assert len(daemon.logged("ready")) == 1
        assert daemon.client.health()["status"] == "ok"


def test_settings_that_only_the_start_finds_unusable_give_way_to_those_before(folder: Path) -> None:
    """No socket can be made there, which reading the settings does not tell."""
    with Daemon(folder) as daemon:
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace(f'socket = "{folder}/s"', 'socket = "/proc/greenrun/s"'))
        hang_up(daemon, KEPT)
        until(lambda: len(daemon.logged("ready")) == 2)
        assert len(daemon.client.devices()) == 2
        daemon.config.write_text(text)
        assert hang_up(daemon, TAKEN)["changed"] == []
