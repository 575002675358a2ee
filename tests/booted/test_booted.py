"""The executor of units and the service of a machine, tried in a systemd that is booted for that.

What is tried is in `inside_*.py`, which pytest runs in there; each has a systemd of its own.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booted.boot import ROOT, Booted, CannotBoot, booted
from tests.patience import HANGS_S
from tests.sampling import EFFORT, SEED, Effort

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture
def machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Booted]:
    """A booted systemd. Where none can be booted, tests are skipped, also in CI, and that is said aloud."""
    place = tmp_path / "machine"
    place.mkdir()
    try:
        with booted(place) as up:
            yield up
    except CannotBoot as exc:
        with capfd.disabled():
            print(f"\nNOT TRIED: no systemd can be booted here, so system mode is not tested: {exc}", flush=True)
        pytest.skip(f"no systemd can be booted here: {exc}")


@pytest.mark.parametrize("module", ["inside_contract", "inside_service"])
def test_in_a_booted_systemd(machine: Booted, module: str) -> None:
    """Each test of the module passes in there, and none is skipped."""
    file = Path(__file__).with_name(f"{module}.py")
    words = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-n0",
        "-p",
        "no:cacheprovider",
        "--basetemp=/tmp/pytest",
        str(file),
    ]
    draws = {"GREENRUN_TEST_SEED": str(SEED), "GREENRUN_TEST_LONG": str(int(EFFORT is Effort.LONG))}
    done = machine.run(
        "env", f"--chdir={ROOT}", *words, PYTHONDONTWRITEBYTECODE="1", GREENRUN_REQUIRE_ALL="1", **draws,
        limit_s=HANGS_S * (20 if EFFORT is Effort.LONG else 1),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4_000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert [line for line in skipped if "no container can be made here" not in line] == []
    assert " passed" in done.stdout
