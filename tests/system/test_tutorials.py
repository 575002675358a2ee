"""The tutorials, typed word for word into a shell by somebody with an empty home."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import require
from tests.documents import text
from tests.patience import HANGS_S
from tests.system.harness import GREENRUN, environment, free_port

pytestmark = pytest.mark.system


class Reader:
    """Who follows a tutorial, in one terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._env = environment(home) | {
            "HOME": str(home),
            "GREENRUN_PATHS__LOCKS": str(home / "locks"),
            "GREENRUN_API__METRICS": f"127.0.0.1:{free_port()}",
        }
        self._env["PATH"] = f"{GREENRUN.parent}:{self._env['PATH']}"
        del self._env["GREENRUN_CONFIG"]
        self._daemons: set[int] = set()

    def follows(self, script: str) -> str:
        """Type it; return what is told. The first command that fails ends it."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.home, env=self._env, capture_output=True, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
        self._daemons |= set(map(int, re.findall(r"the daemon runs as process (\d+)", done.stdout)))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def leaves(self) -> None:
        """End the daemons that were started."""
        for pid in self._daemons:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def steps(name: str) -> list[str]:
    """The commands of a tutorial, those of each block together."""
    return re.findall(r"^```sh\n(.*?)^```$", text(f"docs/tutorials/{name}.md"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Who has followed the first tutorial to its end, as the others say."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.leaves()


@pytest.fixture(scope="module")
def first_night(reader: Reader) -> str:
    """What the first tutorial tells."""
    return reader.follows("\n".join(steps("workstation")))


def test_the_first_night_ends_with_three_jobs_done_and_their_report(first_night: str) -> None:
    waits, starts = re.findall(r"^job 1 queued, planned .* (\d+) % below now", first_night, re.MULTILINE), "starts now"
    assert len(waits) == 1
    assert int(waits[0]) > 30  # it was dirty when it was submitted, and clean within its limits
    assert re.search(rf"^job 3 queued, {starts} \(2\d\d g/kWh\)", first_night, re.MULTILINE)
    assert "Planned from " in first_night
    assert re.search(r"^http://127\.0\.0\.1:\d+/sign-in\?ticket=", first_night, re.MULTILINE)
    assert "epoch 1\ndone\n" in first_night
    for number, name in enumerate(("train", "eval", "probe"), 1):
        assert re.search(rf"^ +{number} +succeeded +{name} ", first_night, re.MULTILINE)


def test_the_monthly_report_is_made_in_every_format_that_the_tutorial_names(reader: Reader, first_night: str) -> None:
    reader.follows("\n".join(steps("monthly-report")))
    made = {path.name for path in (reader.home / "trial").iterdir()}
    assert {"jobs.csv", "report.html", "before.json", "boamps.json", "sci.json", "report.schema.json"} <= made


def test_what_prometheus_is_given_is_good(reader: Reader, first_night: str) -> None:
    require("promtool", "it checks the rules")
    told = reader.follows("\n".join(steps("prometheus")))
    assert 'greenrun_jobs{state="running"}' in told
    assert "SUCCESS: " in told
