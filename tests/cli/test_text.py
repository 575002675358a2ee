"""Times and amounts read well, and what is missing is said to be unknown."""

from datetime import UTC, datetime

import pytest

from greenrun.cli import text
from tests.cli.examples import job
from tests.cli.zones import BERLIN

NOW = datetime(2026, 6, 3, 20, 0, tzinfo=UTC)  # 22:00 in Berlin


def plan(start: str, end: str, **own: float | None) -> dict[str, object]:
    grams = {"g_per_kwh": 93.0, "expected_g": 59.0, "start_now_g": 100.0, "start_now_g_per_kwh": 158.0}
    return {"start": start, "end": end, **grams, **own}


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (plan("2026-06-04T00:30Z", "2026-06-04T06:30Z"), "2026-06-04 02:30-08:30 (93 g/kWh, 41 % below now)"),
        (plan("2026-06-03T20:30Z", "2026-06-04T06:30Z"), "22:30-08:30 (93 g/kWh, 41 % below now)"),
        (
            plan("2026-06-03T20:30Z", "2026-06-04T20:20Z"),
            "22:30 to 2026-06-04 22:20 (93 g/kWh, 41 % below now)",
        ),
        (
            plan("2026-06-03T20:30Z", "2026-06-03T20:30:08Z", expected_g=103),
            "22:30:00-22:30:08 (93 g/kWh, 3 % above now)",
        ),
        (plan("2026-06-03T21:00Z", "2026-06-03T21:30Z", expected_g=100.2), "23:00-23:30 (93 g/kWh, as now)"),
        (plan("2026-06-03T21:00Z", "2026-06-03T21:30Z", expected_g=None), "23:00-23:30 (93 g/kWh, 41 % below now)"),
        (
            plan("2026-06-03T21:00Z", "2026-06-03T21:30Z", g_per_kwh=None, expected_g=None),
            "23:00-23:30 (emissions unknown: no forecast)",
        ),
    ],
)
def test_a_submission_is_answered_in_local_time(planned: dict[str, object], expected: str) -> None:
    assert text.submitted_text(job(planned=planned), NOW, BERLIN) == f"job 12 queued, planned {expected}"


def test_a_job_without_a_place_in_the_plan_says_why() -> None:
    held = job(planned=None, reason={"code": "held", "text": "held by ada"})
    assert text.submitted_text(held, NOW) == "job 12 queued: held by ada"


def test_a_sum_with_a_missing_part_is_unknown() -> None:
    assert [text.summed([]), text.summed([1, None]), text.summed([1, 2])] == [None, None, 3]


def test_control_characters_are_shown_not_obeyed() -> None:
    assert text.printable("a\x1b[31mb\nü") == "a\\x1b[31mb\\nü"


@pytest.mark.parametrize(
    ("seconds", "said"), [(10, "2 planned from 12:00:05 to 12:00:15"), (7200, "2 planned from 12:00 to 14:00")]
)
def test_an_array_of_seconds_is_told_with_seconds(seconds: int, said: str) -> None:
    row = {"start": "2026-03-02T12:00:05Z", "end": f"2026-03-02T{12 + seconds // 3600}:00:{(5 + seconds) % 60:02}Z"}
    jobs = [{"id": number, "name": f"a[{number}]", "state": "queued", "planned": row} for number in (1, 2)]
    told = text.array_text(jobs, datetime(2026, 3, 2, 11, tzinfo=UTC), UTC)
    assert told == f"2 jobs of a queued (1-2), {said}"
