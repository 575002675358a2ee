"""`providers list` tells what the daemon knows of its sources, and `providers check` asks them without it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.clock import utc_now
from tests.cli.conftest import Run
from tests.cli.examples import trace
from tests.fake_api import FakeApi


def a_provider(**own: Any) -> dict[str, Any]:
    at = utc_now().replace(microsecond=0)
    base = {"name": "uk", "kind": "uk_carbon_intensity", "role": "both", "label": "", "attribution": "Source: NESO"}
    times = {
        "forecast_at": at - timedelta(minutes=12),
        "forecast_issued_at": None,
        "forecast_end": at,
        "measured_at": at,
    }
    times |= {"measured_from": None, "measured_until": at}
    told = {name: moment and moment.isoformat() for name, moment in times.items()}
    asked = {"requests": 9, "failures": {"ProviderUnavailable": 2}, "dropped": {}, "quota_left": None}
    base |= {"package": "greenrun", "problem": None}
    return {**base, "zones": ["GB"], "needs_key": False, "key_problem": None, **told, "asked": asked, **own}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings with a file that reaches from days ago to days ahead, and a source whose file is not there."""
    hour = utc_now().replace(minute=0, second=0, microsecond=0)
    trace(tmp_path / "grid.csv", hour - timedelta(days=3), 6 * 24)
    text = f"""
        [grid]
        zone = "GB"
        provider = "trace"
        [provider.trace]
        kind = "file"
        path = "{tmp_path / "grid.csv"}"
        attribution = "made up"
        [provider.spare]
        kind = "file"
        path = "{tmp_path / "gone.csv"}"
    """
    written = tmp_path / "greenrun.toml"
    written.write_text(text, encoding="utf-8")
    return written


def test_the_sources_are_a_table_with_what_must_be_shown_below(api: FakeApi, run: Run) -> None:
    key = {"needs_key": True, "key_problem": "the key file /k cannot be read", "zones": ["a", "b", "c"]}
    api.get("/v1/providers", [a_provider(), a_provider(name="em", role="unused", asked=None, forecast_at=None, **key)])
    lines = run("providers", "list").out.splitlines()
    assert lines[0].split()[:6] == ["NAME", "KIND", "ROLE", "ZONES", "KEY", "FORECAST"]
    assert [word in lines[1] for word in ("GB", "not needed", "12m", "both")] == [True] * 4
    assert lines[1].split()[-2:] == ["9", "2"]
    assert [word in lines[2] for word in ("3 zones", "unreadable", "unused")] == [True] * 3
    assert lines[3:] == ["uk: Source: NESO", "em: Source: NESO", "em: the key file /k cannot be read"]


def test_the_sources_as_json_are_the_api_s_own(api: FakeApi, run: Run) -> None:
    api.get("/v1/providers", [a_provider()])
    assert json.loads(run("providers", "list", "--json").out)[0]["asked"]["requests"] == 9
    api.get("/v1/providers", [])
    assert run("providers", "list").out.startswith("no provider is set up: add a [provider.NAME]")


def test_without_a_daemon_the_settings_tell_of_the_sources(settings: Path, run: Run) -> None:
    words = ("--config", str(settings), "--socket", "/nowhere/s")
    ran = run("providers", "list", *words)
    assert ran.code == 0
    assert ran.out.endswith("the daemon does not answer, so this is from the settings alone\n")
    first, second = json.loads(run("providers", "list", "--json", *words).out)
    assert (first["name"], first["role"], first["asked"], first["attribution"]) == ("trace", "both", None, "made up")
    assert (second["name"], second["role"]) == ("spare", "unused")


def test_a_check_asks_each_source_and_tells_of_those_that_fail(settings: Path, run: Run) -> None:
    ran = run("providers", "check", "--config", str(settings))
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0] == "trace: GB (average; g CO2e/kWh)"
    assert lines[1].startswith("  forecast: 72 slots of 1h, ")
    assert ", no holes; " in lines[1]
    assert "ahead" in lines[1]
    assert lines[2].startswith("  last day: 2")
    assert lines[3:5] == ["  made up", "spare: GB"]
    assert "gone.csv cannot be read" in lines[5]


def test_a_check_as_json_has_every_figure(settings: Path, run: Run) -> None:
    first, second = json.loads(run("providers", "check", "--config", str(settings), "--json").out)
    assert (first["forecast"]["slots"], first["forecast"]["step_s"], first["forecast"]["holes"]) == (72, 3600, [])
    assert first["series"]["zone"] == "GB"
    assert (second["answers"], second["forecast"], second["history"]) == (False, None, None)


def test_a_check_that_nobody_answers_fails(settings: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "grid.csv").unlink()
    assert run("providers", "check", "--config", str(settings)).code == 1
    empty = tmp_path / "empty.toml"
    empty.write_text("", encoding="utf-8")
    ran = run("providers", "check", "--config", str(empty))
    assert (ran.code, ran.err.startswith("error: no provider is set up")) == (1, True)
