"""The first hour: what README tells a new user to type, from nothing to the first job's place, on GPUs of a driver."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.documents import text
from tests.meters.nvml.driver import Driver, board, built, constant, uuid
from tests.patience import HANGS_S
from tests.system import uk_service
from tests.system.harness import GREENRUN, Ran, environment, free_port


class User:
    """A new user whose home has nothing of greenrun's, on a machine with two GPUs and a driver."""

    def __init__(self, home: Path, service: str) -> None:
        self.home = home
        self.driver = Driver(built(), home, t0_s=monotonic())
        self.driver.play(*board(0, constant(300)), *board(1, constant(100)))
        self.env = {**environment(home), **self.driver.environment, "GREENRUN_PROVIDER__UK__URL": service}
        self.env |= {"GREENRUN_PATHS__LOCKS": str(home / "locks"), "GREENRUN_API__METRICS": f"127.0.0.1:{free_port()}"}
        self.env["PATH"] = f"{GREENRUN.parent}:{self.env['PATH']}"
        del self.env["GREENRUN_CONFIG"]
        self._daemons: list[int] = []

    def types(self, line: str) -> Ran:
        """Type a line into a shell."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.home,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            check=False,
        )
        self._daemons += map(int, re.findall(r"the daemon runs as process (\d+)", done.stdout))
        return Ran(done.returncode, done.stdout, done.stderr)

    def leaves(self) -> None:
        """End the daemons that were started."""
        for pid in self._daemons:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def user(folder: Path) -> Iterator[User]:
    """A new user, who has a network as far as the UK's service."""
    with uk_service.serving() as url:
        user = User(folder, url)
        yield user
        user.leaves()


def commands_of_the_readme() -> list[str]:
    """The commands of its quick start, but for the one that makes the environment."""
    block = re.search(r"^## Quick start\n.*?^```sh\n(.*?)^```$", text("README.md"), re.MULTILINE | re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if line.startswith("greenrun ")]


def test_what_the_readme_says_leads_from_nothing_to_the_first_job_s_place(user: User) -> None:
    (user.home / "train.py").write_text("print('trained')\n", encoding="utf-8")
    commands = commands_of_the_readme()
    assert len(commands) < 5
    told = [user.types(command) for command in commands]
    assert [(done.code, done.err) for done in told] == [(0, "")] * len(commands)
    initialised, _, submitted, listed = (done.out for done in told)
    assert "uk for GB answers, reaches to" in initialised
    assert "GPUs: 2, read by nvml\n" in initialised
    assert uuid(1) in initialised
    assert re.match(r"job 1 queued, planned .* \(\d+ g/kWh, \d+ % below now\)", submitted), submitted
    assert " queued " in listed
    examined = user.types("greenrun doctor")
    assert (examined.code, "failed  " in examined.out) == (0, False), examined.out
    for said in ("uk for GB answers", "can be scraped", "says that all is well", "read by its energy counter"):
        assert said in examined.out


def test_a_daemon_that_cannot_start_is_told_with_the_end_of_its_log_and_nobody_waits(user: User) -> None:
    settings = user.home / ".config" / "greenrun" / "greenrun.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[devices]\nmeter = 'nvml'\n", encoding="utf-8")
    del user.env["GREENRUN_PROVIDER__UK__URL"]
    user.driver.play("init_error 9")
    refused = user.types("greenrun serve --detach")
    assert (refused.code, "NVIDIA's driver is not loaded" in refused.err) == (1, True), refused
    assert user.types("GREENRUN_PLANNER__TICK=soon greenrun serve --detach").code == 78
    failing = user.types("greenrun doctor --problems")
    assert (failing.code, "failed   gpus: No meter could be opened" in failing.out) == (1, True), failing.out
