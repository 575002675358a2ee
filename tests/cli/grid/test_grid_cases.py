"""What sources have answered that once went wrong: a server plays it, and the real program says what is right.

The cases are in ../shared/cases; where they are not, these tests are skipped.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.config.load import load_config
from greenrun.core.carbon.intensity import Series
from greenrun.providers import Provider, open_provider, web
from greenrun.providers.csv_files.trace import parse_trace
from tests import cases
from tests.cases import GRID, HOUR
from tests.cli.conftest import Run
from tests.conftest import require
from tests.providers.conftest import Clock


@pytest.fixture(scope="module")
def played() -> Iterator[str]:
    """The address at which each scenario is played, by its first part."""
    with cases.played() as address:
        yield address


@pytest.fixture
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits between questions take no time."""
    made = Clock()
    monkeypatch.setattr(web, "pause", made.pause)
    monkeypatch.setattr(web, "monotonic", made.monotonic)


def written(folder: Path, url: str, kind: str, zone: str, scenario: str, **more: str) -> Path:
    """Settings with this source, as the README of the cases writes them."""
    settings, own = folder / "greenrun.toml", {**cases.section(folder, f"{url}/{scenario}", kind), **more}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in own.items())
    settings.write_text(
        f'[paths]\nstate = "{folder}/state"\n[grid]\nzone = "{zone}"\nprovider = "src"\n[provider.src]\n{lines}',
        encoding="utf-8",
    )
    return settings


def checked(run: Run, settings: Path) -> Mapping[str, Any]:
    """What `greenrun providers check` says of the only source."""
    (found,) = json.loads(run("providers", "check", "--config", str(settings), "--json").out)
    return dict(found)


@contextmanager
def source(settings: Path) -> Iterator[Provider]:
    """The source as the daemon opens it."""
    config = load_config(settings, {})
    opened = open_provider("src", config.provider["src"], lambda key: utc_now())
    try:
        yield opened
    finally:
        assert opened.web is not None
        opened.web.close()


def foretold(settings: Path, zone: str) -> Series:
    with source(settings) as opened:
        return opened.forecast(zone, utc_now()).series


@pytest.mark.usefixtures("_no_waits")
class TestPlayed:
    """Each scenario with the right value."""

    @pytest.mark.parametrize(
        ("kind", "zone", "scenario", "told"),
        [
            ("watttime", "CAISO_NORTH", "wt-zero", "zeros"),
            ("electricity_maps", "DE", "em-zero", "zeros"),
            ("uk_carbon_intensity", "GB", "uk-empty", "no values for GB from now on"),
            ("uk_carbon_intensity", "GB", "uk-datalist", "no values for GB from now on"),
            ("uk_carbon_intensity", "GB", "uk-html", "web page"),
            ("uk_carbon_intensity", "GB", "uk-500", "HTTP 500"),
            ("uk_carbon_intensity", "GB", "uk-429date", "HTTP 429"),
            ("uk_carbon_intensity", "GB", "uk-429num", "HTTP 429"),
            ("uk_carbon_intensity", "GB", "uk-br", "does not use"),
            ("entsoe", "DE", "et-999", "no data"),
            ("entsoe", "DE", "et-401", "refuses access"),
        ],
    )
    def test_what_is_no_answer_is_not_used(
        self, run: Run, tmp_path: Path, played: str, kind: str, zone: str, scenario: str, told: str
    ) -> None:
        found = checked(run, written(tmp_path, played, kind, zone, scenario))
        assert found["forecast"] is None
        assert told in found["forecast_problem"]

    @pytest.mark.parametrize("scenario", ["uk-bom", "uk-gzip", "uk-deflate"])
    def test_the_same_two_days_in_any_wrapping(self, run: Run, tmp_path: Path, played: str, scenario: str) -> None:
        found = foretold(written(tmp_path, played, "uk_carbon_intensity", "GB", scenario), "GB")
        assert [slot.intensity_g_per_kwh for slot in found][:95] == [float(100 + at) for at in range(95)]

    @pytest.mark.parametrize(
        ("scenario", "slots"), [("uk-short", 10), ("uk-null", 20), ("uk-nan", 20), ("em-null", 11)]
    )
    def test_what_is_missing_is_a_hole_and_told(
        self, run: Run, tmp_path: Path, played: str, scenario: str, slots: int
    ) -> None:
        kind, zone = ("electricity_maps", "DE") if scenario == "em-null" else ("uk_carbon_intensity", "GB")
        found = checked(run, written(tmp_path, played, kind, zone, scenario))
        assert slots - 1 <= found["forecast"]["slots"] <= slots
        assert bool(found["dropped"]) == (scenario != "uk-short")

    def test_hours_keep_an_hour_and_quarters_a_quarter(self, run: Run, tmp_path: Path, played: str) -> None:
        found = foretold(written(tmp_path, played, "energy_charts", "DE", "ec-switch"), "DE")
        assert found.holes() == []
        assert {slot.end - slot.start for slot in found} == {HOUR, HOUR / 4}

    def test_what_the_source_warns_of_is_shown(self, run: Run, tmp_path: Path, played: str) -> None:
        settings = written(tmp_path, played, "watttime", "CAISO_NORTH", "wt-warn")
        assert checked(run, settings)["warnings"] == ["FALLBACK: model down, values are substituted"]
        assert "the source warns: FALLBACK: model down" in run("providers", "check", "--config", str(settings)).out

    def test_a_key_without_ranges_settles_from_the_last_day(self, run: Run, tmp_path: Path) -> None:
        with cases.played_with_history("em-free", 310.0) as address:
            settings = written(tmp_path, address, "electricity_maps", "DE", "")
            found = checked(run, settings)
            assert found["forecast"]["slots"] == 49
            assert found["history_problem"] is None
            now = utc_now()
            with source(settings) as opened:
                past = opened.history("DE", now - 6 * HOUR, now, now)
        assert len(past) >= 5
        assert set(past.values.tolist()) == {310.0}

    def test_who_never_answers_is_given_up(self, run: Run, tmp_path: Path, played: str) -> None:
        found = checked(run, written(tmp_path, played, "uk_carbon_intensity", "GB", "uk-hang", timeout="500ms"))
        assert found["forecast"] is None
        assert "timed out" in found["forecast_problem"]

    @pytest.mark.parametrize("scenario", ["et-ok", "et-dup", "et-update", "et-mixdup", "et-neg", "et-trunc"])
    def test_a_forecast_of_generation_stays_whole(self, run: Run, tmp_path: Path, played: str, scenario: str) -> None:
        settings = written(tmp_path, played, "entsoe", "DE", scenario)
        with source(settings) as asked:
            found = asked.forecast("DE", utc_now()).series
        wind_mw = {"et-update": 5100}.get(scenario, 5000)
        coal, gas = (8000, 6000)
        rest = (40_000 - 1000 - wind_mw) / (coal + gas)
        mean = (45 * 1000 + 11 * wind_mw + rest * (820 * coal + 490 * gas)) / 40_000
        assert found.holes() == []
        assert len(found) > 100
        if scenario != "et-trunc":
            assert found.values.tolist() == pytest.approx([mean] * len(found))
        assert asked.web is not None
        told = {"et-update": ["the later holds, as an update"], "et-mixdup": ["the finer holds"]}
        assert [text.partition("; ")[2] for text in asked.web.warnings] == told.get(scenario, [])

    @pytest.mark.parametrize("zone", ["IE", "CY", "LU", "MT", "IT-CALA"])
    def test_every_zone_of_the_platform_is_served(self, run: Run, tmp_path: Path, played: str, zone: str) -> None:
        assert checked(run, written(tmp_path, played, "entsoe", zone, "et-ok"))["forecast"]["slots"] > 100


FILES = {
    "bom": True, "crlf": True, "local": True, "em-15": True, "switch": True, "ok": True, "empty": False,
    "decq": False, "semi": False, "naive": False, "utf16": False, "neg": False, "zero": False,
}  # fmt: skip


@pytest.mark.parametrize(("name", "is_used"), FILES.items())
@pytest.mark.parametrize("holes", ["refuse", "keep"])
def test_a_file_is_read_or_refused_with_advice(run: Run, tmp_path: Path, name: str, is_used: bool, holes: str) -> None:
    path = require(GRID / "csv" / f"{name}.csv", "it is one of the cases")
    settings = tmp_path / "greenrun.toml"
    at = "2026-10-25T00:00:00Z"
    settings.write_text(
        f'[paths]\nstate = "{tmp_path}/state"\n[grid]\nzone = "DE"\nprovider = "src"\n[provider.src]\nkind = "file"\n'
        f'path = "{path}"\nholes = "{holes}"\nbasis = "lifecycle"\nreplay = {{ at = "{at}", speed = 1 }}\n',
        encoding="utf-8",
    )
    ran = run("providers", "check", "--config", str(settings), "--json")
    (found,) = json.loads(ran.out)
    if is_used or (name == "empty" and holes == "keep"):
        assert found["forecast"] is not None, found
        assert len(found["forecast"]["holes"]) == (name == "empty")
    else:
        assert found["forecast"] is None
        assert found["forecast_problem"]


@pytest.mark.parametrize("name", ["bom", "crlf", "local", "empty", "em-15", "switch"])
def test_an_import_reads_what_a_source_reads(name: str) -> None:
    """An import keeps holes; what it would send is shown without a daemon."""
    path = require(GRID / "csv" / f"{name}.csv", "it is one of the cases")
    (issue,) = parse_trace(path.read_bytes(), str(path), keep_holes=True).issues
    lengths = {timedelta.resolution * int(us) for us in issue.ends_us - issue.starts_us}
    expected = {"em-15": {HOUR / 4}, "switch": {HOUR, HOUR / 4}}.get(name, {HOUR})
    assert lengths == expected
    assert int((issue.starts_us[1:] > issue.ends_us[:-1]).sum()) == (name == "empty")
