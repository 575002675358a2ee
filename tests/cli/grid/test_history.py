"""`history import` sends a file in parts that the daemon takes, and `history fetch` goes back week by week."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.api.grid_models import ImportIn
from greenrun.cli.grid import history_fetch, history_import
from greenrun.clock import utc_now
from tests.cli.conftest import Run
from tests.cli.examples import trace
from tests.fake_api import Asked, FakeApi, problem

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PORTAL = "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (Life cycle),Data estimated"
SERIES = {"provider": "mine", "zone": "GB", "signal": "average", "accounting": None, "basis": None}


def hour() -> datetime:
    return utc_now().replace(minute=0, second=0, microsecond=0)


def taken(asked: Asked) -> tuple[int, dict[str, Any]]:
    """Take an import as the API does."""
    body = ImportIn.model_validate(asked.body)
    issued = sum(part.issued_at is not None for part in body.parts)
    given = issued or sum(len(part.slots) for part in body.parts)
    series = {**SERIES, "provider": body.provider, "zone": body.zone or "GB", "basis": body.basis}
    return 200, {
        "series": series,
        "given": given,
        "new": given - 1,
        "is_used": body.provider == "uk",
        "zeros": 0,
        "dropped": {},
        "doubt": None,
    }


@pytest.fixture
def daemon(api: FakeApi) -> FakeApi:
    """A daemon that takes imports and has the source `uk`."""
    api.answers["POST", "/v1/history/import"] = taken
    api.get("/v1/providers", [{"name": "uk"}])
    return api


def sent(api: FakeApi) -> list[dict[str, Any]]:
    return [asked.body for asked in api.asked if asked.method == "POST"]


# import


def test_a_file_is_sent_in_parts_oldest_first_and_summed(
    daemon: FakeApi, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_import, "AT_ONCE", 50)
    trace(tmp_path / "a.csv", hour() - 10 * DAY, 120)
    told = json.loads(run("history", "import", "a.csv", "--zone", "GB", "--provider", "uk", "--json").out)
    assert (told["given"], told["new"], told["holes"], told["left_out"]) == (120, 117, 0, [])
    bodies = sent(daemon)
    assert [sum(len(part["slots"]) for part in body["parts"]) for body in bodies] == [50, 50, 20]
    starts = [slot[0] for body in bodies for part in body["parts"] for slot in part["slots"]]
    assert starts == sorted(starts)
    assert {(body["provider"], body["zone"], body["step_s"]) for body in bodies} == {("uk", "GB", 3600.0)}


def test_an_import_says_what_it_is_and_that_it_is_not_learned_from(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    trace(tmp_path / "mine.csv", hour() - 10 * DAY, 24)
    lines = run("history", "import", "mine.csv").out.splitlines()
    assert lines[0] == "GB by mine (average): 24 values, 23 new"
    assert lines[1].endswith(", no holes")
    assert lines[2].startswith("the daemon learns from another series of GB now")
    assert len(run("history", "import", "mine.csv", "--provider", "uk").out.splitlines()) == 2


def test_a_file_that_is_called_as_a_source_must_be_claimed(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    trace(tmp_path / "uk.csv", hour() - 10 * DAY, 24)
    ran = run("history", "import", "uk.csv")
    assert (ran.code, sent(daemon)) == (2, [])
    assert "'uk' is a configured provider: say --provider uk" in ran.err


def test_what_is_not_over_is_left_out_and_told(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    trace(tmp_path / "a.csv", hour() - 10 * HOUR, 24)
    assert "left out: 14 values of slots that are not over yet\n" in run("history", "import", "a.csv").out
    trace(tmp_path / "a.csv", hour(), 24)
    ran = run("history", "import", "a.csv")
    assert (ran.code, "has nothing to import: 24 values" in ran.err) == (2, True)


def test_values_of_a_file_that_changes_from_hours_to_quarters_are_sent_with_their_own_lengths(
    daemon: FakeApi, run: Run, tmp_path: Path
) -> None:
    begin = hour() - 10 * DAY
    at = [*(begin + index * HOUR for index in range(4)), *(begin + 4 * HOUR + index * HOUR / 4 for index in range(8))]
    (tmp_path / "a.csv").write_text("\n".join(["start,g_per_kwh", *(f"{each.isoformat()},100" for each in at)]))
    assert "no holes" in run("history", "import", "a.csv").out
    (part,) = sent(daemon)[0]["parts"]
    assert part["steps_s"] == [3600.0] * 4 + [900.0] * 8


def test_holes_stay_holes(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    lines = trace(tmp_path / "a.csv", hour() - 10 * DAY, 24).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:5], *lines[8:]]))
    told = json.loads(run("history", "import", "a.csv", "--json").out)
    assert (told["given"], told["holes"]) == (21, 1)


def test_the_portal_s_files_tell_their_zone_and_what_they_count(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    flags = ["false", "true", "false"]
    rows = [f"{first + n * HOUR:%Y-%m-%d %H:%M:%S},Germany,Germany,DE,{300 + n},{flag}" for n, flag in enumerate(flags)]
    (tmp_path / "a.csv").write_text("\n".join([PORTAL, *rows]), encoding="utf-8")
    told = json.loads(run("history", "import", "a.csv", "--json").out)
    assert (told["given"], told["left_out"]) == (2, ["1 values that the file calls estimated"])
    (body,) = sent(daemon)
    assert (body["zone"], body["basis"], body["accounting"]) == ("DE", "lifecycle", "consumption")


def test_forecasts_are_sent_as_issued_without_those_of_the_present(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    issues = [hour() - 10 * DAY, hour() - 9 * DAY, hour() - DAY]
    rows = [f"{at.isoformat()},{(at + n * HOUR).isoformat()},{100 + n}" for at in issues for n in range(12)]
    (tmp_path / "a.csv").write_text("\n".join(["issued_at,start,g_per_kwh", *rows]), encoding="utf-8")
    out = run("history", "import", "a.csv", "--provider", "uk").out
    assert "GB by uk (average): 2 forecasts, 1 new\n" in out
    assert "left out: 1 forecasts of the present, which only their source may provide\n" in out
    (body,) = sent(daemon)
    assert [(len(part["slots"]), part["issued_at"]) for part in body["parts"]] == [
        (12, at.isoformat()) for at in issues[:2]
    ]


def test_all_that_is_wrong_with_a_file_is_told_and_nothing_sent(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,g_per_kwh\n2026-01-01T00:00,1\n2026-01-01T01:00Z,x\n", encoding="utf-8")
    ran = run("history", "import", "a.csv")
    assert (ran.code, "line 2: " in ran.err, "line 3: " in ran.err, daemon.asked) == (2, True, True, [])


@pytest.mark.parametrize("words", [["gone.csv"], ["a.csv", "--basis", "carbon"], ["a.csv", "--signal", "x"], []])
def test_what_cannot_be_meant_is_usage(daemon: FakeApi, run: Run, tmp_path: Path, words: list[str]) -> None:
    trace(tmp_path / "a.csv", hour() - 10 * DAY, 24)
    assert (run("history", "import", *words).code, daemon.asked) == (2, [])


def test_a_refusal_of_the_daemon_is_told_as_it_is(daemon: FakeApi, run: Run, tmp_path: Path) -> None:
    trace(tmp_path / "a.csv", hour() - 10 * DAY, 24)
    daemon.post("/v1/history/import", problem(403, "not permitted", "Only root and green may."), 403)
    ran = run("history", "import", "a.csv")
    assert (ran.code, ran.err) == (4, "error: Only root and green may.\n")


# fetch


def told(given: int, **own: Any) -> dict[str, Any]:
    return {"series": {**SERIES, "provider": "uk"}, "given": given, "new": given, "holes": [], "failures": [], **own}


def failed(message: str, *, is_final: bool = False, retry_after_s: float | None = None) -> dict[str, Any]:
    failure = {"provider": "uk", "is_final": is_final, "message": message, "retry_after_s": retry_after_s}
    return told(0, series=None, failures=[failure])


def answering(*answers: dict[str, Any]) -> Callable[[Asked], tuple[int, Any]]:
    """Give these answers in turn, each of the last week of what is asked for."""
    left = list(answers)

    def answer(asked: Asked) -> tuple[int, Any]:
        start, end = (datetime.fromisoformat(asked.body[edge]) for edge in ("from", "to"))
        start = max(start, end - 7 * DAY)
        return 200, {"start": start.isoformat(), "end": end.isoformat(), **left.pop(0)}

    return answer


def test_weeks_are_asked_for_from_the_latest_back(api: FakeApi, run: Run) -> None:
    api.answers["POST", "/v1/history/fetch"] = answering(told(168), told(168, new=100), told(24))
    ran = run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-16", "--zone", "GB", "--provider", "uk")
    assert ran.code == 0
    assert [(body["from"][:10], body["to"][:10]) for body in sent(api)] == [
        ("2026-01-01", "2026-01-16"), ("2026-01-01", "2026-01-09"), ("2026-01-01", "2026-01-02")
    ]  # fmt: skip
    assert {(body["zone"], body["provider"]) for body in sent(api)} == {("GB", "uk")}
    assert "GB by uk: 360 values from " in ran.out
    assert ran.out.endswith(", 292 new and 68 known before\n")


def test_the_first_refusal_ends_it_with_what_there_is(api: FakeApi, run: Run) -> None:
    api.answers["POST", "/v1/history/fetch"] = answering(told(168), failed("your plan ends here", is_final=True))
    ran = run("history", "fetch", "--from", "2026-01-01", "--to", "2026-02-01")
    assert (ran.code, len(sent(api))) == (1, 2)
    assert "168 values" in ran.out
    assert ran.out.endswith("it ended there, and what came before is kept: your plan ends here\n")


def test_a_week_that_cannot_be_had_now_is_told_and_passed_over(api: FakeApi, run: Run) -> None:
    api.answers["POST", "/v1/history/fetch"] = answering(failed("it is down"), told(168))
    ran = run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-15", "--json")
    answer = json.loads(ran.out)
    assert (ran.code, answer["given"], answer["refused"]) == (1, 168, None)
    assert [(row["start"][:10], row["message"]) for row in answer["missing"]] == [("2026-01-08", "it is down")]


def test_it_goes_on_while_one_source_may_still_answer(api: FakeApi, run: Run) -> None:
    both = failed("it is down")["failures"] + failed("no plan", is_final=True)["failures"]
    api.answers["POST", "/v1/history/fetch"] = answering(told(0, series=None, failures=both), told(168))
    ran = run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-15", "--json")
    assert (json.loads(ran.out)["refused"], len(sent(api))) == (None, 2)


def test_all_that_answered_are_named(api: FakeApi, run: Run) -> None:
    other = told(168, series={**SERIES, "provider": "other"})
    api.answers["POST", "/v1/history/fetch"] = answering(told(168), other, told(24))
    assert "GB by uk and other: 360 values" in run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-16").out


def test_a_source_that_asks_to_wait_is_waited_for(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(history_fetch, "pause", waited.append)
    later = failed("in a minute", retry_after_s=58.5)
    api.answers["POST", "/v1/history/fetch"] = answering(later, told(24))
    ran = run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-02")
    assert (ran.code, waited, "24 values" in ran.out) == (0, [58.5], True)
    api.answers["POST", "/v1/history/fetch"] = answering(failed("tomorrow", retry_after_s=86_400.0))
    assert run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-02").code == 1
    assert waited == [58.5]


def test_holes_are_told(api: FakeApi, run: Run) -> None:
    hole = {"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T12:00:00Z"}
    api.answers["POST", "/v1/history/fetch"] = answering(told(22, holes=[hole]))
    assert "hole: 2026-01-01 10:00-12:00\n" in run("history", "fetch", "--from", "2026-01-01", "--to", "2026-01-02").out


@pytest.mark.parametrize(
    "words", [[], ["--from", "someday"], ["--from", "2026-01-02", "--to", "2026-01-01"], ["--from", "2100-01-01"]]
)
def test_an_interval_that_is_none_is_usage(api: FakeApi, run: Run, words: list[str]) -> None:
    assert (run("history", "fetch", *words).code, api.asked) == (2, [])


def test_up_to_now_is_asked_for_when_no_end_is_given() -> None:
    start, end = history_fetch.span("2026-01-01", None)
    assert start < end <= utc_now()
