"""`greenrun doctor` prints what was found as lines or as JSON, and its exit code tells whether something has failed."""

import json
from collections.abc import Iterator

import pytest

from greenrun.doctor.finding import Area, Finding, failed, ok, warning
from tests.cli.conftest import Run

WELL = ok(Area.CLOCK, "the clock is synchronised")
WORTH_A_LOOK = warning(Area.GPUS, "no GPU is used", "set devices.meter")
BROKEN = failed(Area.DISK, "the disk is\x1b[31m full", "free some space")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What there is to be found."""
    findings: list[Finding] = []

    def examine(*_: object) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr("greenrun.doctor.examine.examine", examine)
    return findings


def test_each_finding_is_a_line_with_its_remedy_below(run: Run, found: list[Finding]) -> None:
    found += [WELL, WORTH_A_LOOK, BROKEN]
    ran = run("doctor")
    assert ran.out.splitlines() == [
        "ok       clock: the clock is synchronised",
        "warning  gpus: no GPU is used",
        "         -> set devices.meter",
        "failed   disk: the disk is\\x1b[31m full",
        "         -> free some space",
        "3 checks: 1 failure and 1 warning",
    ]
    assert ran.code == 1


def test_a_warning_fails_nothing_and_what_is_well_can_be_left_out(run: Run, found: list[Finding]) -> None:
    found += [WELL, WORTH_A_LOOK]
    ran = run("doctor", "--problems")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "warning  gpus: no GPU is used")
    assert "clock" not in ran.out


def test_json_has_all_of_it(run: Run, found: list[Finding]) -> None:
    found += [WELL, BROKEN]
    ran = run("doctor", "--json", "--problems")
    told = json.loads(ran.out)
    assert (ran.code, told["status"], [row["status"] for row in told["checks"]]) == (1, "failed", ["ok", "failed"])
    assert told["checks"][0] == {"area": "clock", "status": "ok", "text": WELL.text, "remedy": ""}
