"""Electricity Maps: every promise of a provider on the web, and its own traps; all payloads are made up."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from greenrun.core.carbon.intensity import Accounting, Basis
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, open_provider
from greenrun.providers.electricity_maps import ElectricityMapsSettings
from tests.providers.source import NOW, Source, Values, answering, json_answer
from tests.providers.web_contract import WebContract

KEY = "em-key-4711"
ZONES = {
    "DE": {"zoneName": "Germany", "access": ["*"]},
    "FR": {"zoneName": "France", "access": ["carbon-intensity/latest", "v4/carbon-intensity/forecast"]},
    "PL": {"zoneName": "Poland", "access": []},
}
HOUR = timedelta(hours=1)

Change = Callable[[dict[str, Any]], dict[str, Any]]


def instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def ahead(starts: Sequence[datetime], values: Values) -> str:
    """A forecast."""
    rows = [{"carbonIntensity": value, "datetime": instant(at)} for at, value in zip(starts, values, strict=True)]
    said = {"zone": "DE", "forecast": rows, "updatedAt": "2026-06-03T10:17:24.392Z", "temporalGranularity": "hourly"}
    return json.dumps(said)


def past(starts: Sequence[datetime], values: Values, **other: object) -> str:
    """Hours that were measured."""
    measured = {"isEstimated": False, "estimationMethod": None, "emissionFactorType": "lifecycle", "flowTraced": True}
    rows = [
        {"zone": "DE", "carbonIntensity": value, "datetime": instant(at), **measured, **other}
        for at, value in zip(starts, values, strict=True)
    ]
    return json.dumps({"zone": "DE", "data": rows, "temporalGranularity": "hourly"})


def zones(request: httpx.Request, said: Mapping[str, object] = ZONES) -> httpx.Response | None:
    """Answer the question for zones."""
    return json_answer(json.dumps(said)) if request.url.path.endswith("/zones") else None


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Where the key lies."""
    file = tmp_path / "key"
    file.write_text(KEY, encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.fixture
def source(key_file: Path) -> Source:
    """The service."""
    return Source(
        open=lambda: opened(key_file),
        zone="DE",
        step=HOUR,
        forecast=ahead,
        history=past,
        is_history=lambda request: request.url.path.endswith("/past-range"),
        side=zones,
        ahead=timedelta(hours=48),
    )


def opened(key_file: Path, **settings: object) -> Provider:
    settings = {"key_file": str(key_file), **settings}
    return open_provider("em", ElectricityMapsSettings.model_validate(settings), lambda key: NOW)


class TestElectricityMaps(WebContract):
    """Electricity Maps keeps every promise."""

    @pytest.fixture
    def source(self, source: Source) -> Source:
        """The service."""
        return source


# --- what is asked ---


V4 = {"disableCallerLookup": "true", "horizonHours": "72"}
V3 = {"shouldUseFallbackCallerLookup": "false", "horizonHours": "72"}
DIRECT = {"basis": "direct", "accounting": "production"}


@pytest.mark.parametrize(
    ("settings", "version", "params"),
    [
        ({}, "v4", {"emissionFactorType": "lifecycle", "flowTraced": "true", **V4}),
        (DIRECT, "v4", {"emissionFactorType": "direct", "flowTraced": "false", **V4}),
        ({"version": "v3"}, "v3", {"emissionFactorType": "lifecycle", **V3}),
    ],
    ids=["v4", "v4 direct", "v3"],
)
def test_what_is_meant_is_always_stated(
    key_file: Path, source: Source, settings: dict[str, object], version: str, params: dict[str, str]
) -> None:
    """Nothing is left to a default: which emissions, how far ahead, and never the place that asks."""
    with answering(source.well(NOW)) as asked:
        opened(key_file, horizon="72h", **settings).forecast("DE", NOW)
    paths = [request.url.path for request in asked.requests]
    assert paths == [f"/{version}/zones", f"/{version}/carbon-intensity/forecast"]
    assert dict(asked.requests[1].url.params) == {"zone": "DE", **params}
    assert {request.headers["auth-token"] for request in asked.requests} == {KEY}


def test_history_is_asked_for_with_the_hour_that_holds_its_start(key_file: Path, source: Source) -> None:
    """Half an hour's question needs the whole hours around it."""
    with answering(source.well(NOW)) as asked:
        opened(key_file).history("DE", NOW - timedelta(hours=5), NOW, NOW)
    params = asked.requests[-1].url.params
    assert (params["start"], params["end"]) == ("2026-06-03T04:17:00Z", "2026-06-03T10:17:00Z")


def test_which_emissions_are_counted_is_part_of_the_series(key_file: Path, source: Source) -> None:
    """75 and 20 g/kWh of the same hour are never put together."""
    with answering(source.well(NOW)):
        ids = [
            opened(key_file, basis=basis, accounting=accounting).forecast("DE", NOW).series.id
            for basis in ("lifecycle", "direct")
            for accounting in ("consumption", "production")
        ]
    assert [(one.basis, one.accounting) for one in ids] == [(b, a) for b in Basis for a in reversed(Accounting)]


@pytest.mark.parametrize("settings", [{"horizon": "36h"}, {"version": "v3", "accounting": "production"}])
def test_what_the_source_does_not_have_cannot_be_set(key_file: Path, settings: dict[str, object]) -> None:
    """A setting that would be ignored or refused is told when the settings are read."""
    with pytest.raises(ValidationError):
        opened(key_file, **settings)


# --- zones ---


def test_zones_are_found_at_the_first_question(source: Source) -> None:
    """Opening asks nothing; then the zones that the key may see are known, and not asked for again."""
    provider = source.open()
    with answering(source.well(NOW)) as asked:
        assert (provider.zones, asked.requests) == ({}, [])
        provider.forecast("DE", NOW)
        provider.history("DE", NOW - HOUR, NOW, NOW)
    assert provider.zones == {"DE": "Germany", "FR": "France"}
    assert [request.url.path.rsplit("/", 1)[1] for request in asked.requests] == ["zones", "forecast", "past-range"]


def test_what_the_key_may_not_ask_is_refused_without_asking(source: Source) -> None:
    """A zone without access, and one whose past is not part of the plan."""
    provider = source.open()
    with answering(source.well(NOW)) as asked:
        with pytest.raises(ProviderRefused, match="no access to forecast of 'PL'"):
            provider.forecast("PL", NOW)
        with pytest.raises(ProviderRefused, match="no access to past-range of 'FR'"):
            provider.history("FR", NOW - HOUR, NOW, NOW)
    assert all(request.url.path == "/v4/zones" for request in asked.requests)


def test_a_plan_may_change(source: Source) -> None:
    """A zone that was refused is looked up again when it is asked for again."""
    provider, listed = source.open(), {"FR": ZONES["FR"]}
    with answering(lambda request: zones(request, listed) or source.well(NOW)(request)):
        with pytest.raises(ProviderRefused, match="'DE'"):
            provider.forecast("DE", NOW)
        listed["DE"] = ZONES["DE"]
        assert len(provider.forecast("DE", NOW + timedelta(hours=2)).series)


@pytest.mark.parametrize("said", [{}, {"DE": {}}, {"DE": {"zoneName": "Germany"}, "_disclaimer": "Be careful."}])
def test_where_access_is_not_told_the_source_decides(source: Source, said: dict[str, object]) -> None:
    """A list without zones or without access refuses nothing."""
    with answering(lambda request: zones(request, said) or source.well(NOW)(request)):
        assert len(source.open().forecast("DE", NOW).series) == 49


# --- what is answered ---


def rows(said: dict[str, Any], **fields: object) -> dict[str, Any]:
    """The forecast with these fields in every row."""
    return {**said, "forecast": [{**row, **fields} for row in said["forecast"]]}


def test_a_forecast_of_a_day_has_twenty_five_hours(source: Source) -> None:
    """The hour that has begun, and 24 after it, each once."""
    starts = source.starts(NOW, NOW + timedelta(hours=24, minutes=43))
    with answering(source.saying(ahead(starts, [100.0] * 25))):
        series = source.open().forecast("DE", NOW).series
    assert (len(series), series.holes(), series.end) == (25, [], starts[0] + 25 * HOUR)


def test_when_it_was_asked_is_not_when_it_was_issued(source: Source) -> None:
    """`updatedAt` moves with every question, and would make a frozen forecast look fresh."""
    with answering(source.well(NOW)):
        assert source.open().forecast("DE", NOW).issued_at is None


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {**said, "_disclaimer": "This data is in SANDBOX MODE and is not real."},
        lambda said: rows(said, estimationMethod="SANDBOX_MODE_DATA"),
        lambda said: rows(said, _disclaimer="Sandbox mode"),
    ],
    ids=["disclaimer", "method", "rows"],
)
def test_the_numbers_of_the_sandbox_are_refused(source: Source, change: Change) -> None:
    """They look like real ones and are made up."""
    with answering(source.changed(change)), pytest.raises(ProviderRefused, match="made-up numbers"):
        source.open().forecast("DE", NOW)


def test_the_sandbox_s_history_is_refused(source: Source) -> None:
    """Nothing is settled with made-up numbers."""
    body = past(source.starts(NOW - 3 * HOUR, NOW), [100.0] * 4, estimationMethod="SANDBOX_MODE_DATA")
    with answering(source.saying(body)), pytest.raises(ProviderRefused, match="sandbox"):
        source.open().history("DE", NOW - 3 * HOUR, NOW, NOW)


def test_another_disclaimer_is_none_of_our_business(source: Source) -> None:
    """Some answers come with a remark that says nothing of a sandbox."""
    with answering(source.changed(lambda said: {**said, "_disclaimer": "This data is the property of its owner."})):
        assert len(source.open().forecast("DE", NOW).series) == 49


@pytest.mark.parametrize(
    "other",
    [
        {"isEstimated": True, "estimationMethod": "TIME_SLICER_AVERAGE"},
        {"isEstimated": True},
        {"isEstimated": None},
        {"estimationMethod": "FORECASTS_HIERARCHY"},
    ],
    ids=str,
)
def test_an_estimated_hour_is_not_measured(source: Source, other: dict[str, object]) -> None:
    """Only what the source calls neither estimated nor made by a method counts."""
    starts = source.starts(NOW - 4 * HOUR, NOW - HOUR)
    rows = [json.loads(past([at], [100.0], **(other if at == starts[1] else {})))["data"][0] for at in starts]
    body = json.dumps({"zone": "DE", "data": rows})
    with answering(source.saying(body)):
        series = source.open().history("DE", NOW - 4 * HOUR, NOW, NOW)
    assert [slot.start for slot in series] == [starts[0], *starts[2:]]


def test_hours_that_do_not_say_are_not_measured(source: Source) -> None:
    """Rows without the field are no measurements."""
    hours = json.loads(ahead(source.starts(NOW - 3 * HOUR, NOW), [100.0] * 4))["forecast"]
    body = json.dumps({"zone": "DE", "data": hours})
    with answering(source.saying(body)):
        assert len(source.open().history("DE", NOW - 3 * HOUR, NOW, NOW)) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {**said, "zone": "FR"},
        lambda said: {**said, "temporalGranularity": "5_minutes"},
        lambda said: rows(said, emissionFactorType="direct"),
        lambda said: rows(said, flowTraced=False),
        lambda said: {key: value for key, value in said.items() if key != "zone"},
    ],
    ids=["zone", "granularity", "factors", "tracing", "no zone"],
)
def test_an_answer_to_another_question_is_refused(source: Source, change: Change) -> None:
    """Another place's numbers, or other emissions, are never taken for what was asked."""
    with answering(source.changed(change)), pytest.raises(ProviderGarbage):
        source.open().forecast("DE", NOW)


# --- errors ---


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{"error":"Request unauthorized for zoneKey=DE,requestType=forecast.","message":"No access."}'),
        (401, '{"error":"Invalid auth-token"}'),
        (403, "Access denied"),
        (404, '{"error":"No such zone"}'),
    ],
)
def test_no_is_told_and_not_asked_again(source: Source, status: int, body: str) -> None:
    """A bad key and a zone that is not in the plan look alike; what the source says of it is repeated."""
    told = pytest.raises(ProviderRefused, match=r"No such zone|Access denied|Invalid|zoneKey=DE")
    with answering(source.saying(body, status)) as asked, told:
        source.open().forecast("DE", NOW)
    assert len(asked.requests) == 2


def test_no_recent_data_means_later(source: Source) -> None:
    """A 404 that says so is not for good, so it is not remembered as a refusal."""
    provider, body = source.open(), '{"error":"No recent data for zone \\"DE\\""}'
    told = pytest.raises(ProviderUnavailable, match="no recent data of DE")
    with answering(source.saying(body, 404)), told as caught:
        provider.forecast("DE", NOW)
    assert caught.value.status == 404
    with answering(source.well(NOW)):
        assert len(provider.forecast("DE", NOW).series)


def test_a_key_that_is_no_use_is_told_when_it_is_opened(key_file: Path) -> None:
    """One that everybody may read, and one that is not there."""
    key_file.chmod(0o644)
    with pytest.raises(ProviderRefused, match="chmod 600"):
        opened(key_file)
    with pytest.raises(ProviderRefused, match="cannot be read"):
        opened(key_file.with_name("absent"))


# --- a key of the free plan ---

FREE = {"DE": {"zoneName": "Germany", "access": ["carbon-intensity/latest", "carbon-intensity/history"]}}
DAY = [NOW.replace(minute=0) - index * HOUR for index in range(24, 0, -1)]


def free(request: httpx.Request, *, said: Mapping[str, object] = FREE) -> httpx.Response:
    """What the service says to a key that may ask for the last 24 hours only."""
    if request.url.path.endswith("/zones"):
        return json_answer(json.dumps(said))
    if request.url.path.endswith("/history"):
        return json_answer(past(DAY, [300.0 + index for index in range(24)]).replace('"data"', '"history"'))
    return json_answer('{"error": "Request unauthorized for zoneKey=DE"}', 401)


@pytest.mark.parametrize("access", [FREE["DE"]["access"], ["*"]], ids=["as listed", "promised too much"])
def test_a_key_without_ranges_gets_the_last_day(key_file: Path, access: list[str]) -> None:
    """The list of what a key may ask promises a little too much, so a refusal counts as well."""
    provider = opened(key_file)
    with answering(lambda request: free(request, said={"DE": {"zoneName": "Germany", "access": access}})) as asked:
        for _ in range(2):
            found = provider.history("DE", NOW - 48 * HOUR, NOW, NOW)
            assert [slot.intensity_g_per_kwh for slot in found] == [300.0 + index for index in range(24)]
            assert {slot.kind.value for slot in found} == {"measured"}
    assert [request.url.path.rpartition("/")[2] for request in asked.requests].count("past-range") <= 1


def test_advice_of_a_key_without_forecasts_names_what_helps(key_file: Path) -> None:
    with answering(free), pytest.raises(ProviderRefused, match=r"access to forecast of 'DE'; name another source in"):
        opened(key_file).forecast("DE", NOW)


def test_advice_of_a_key_without_anything_measured_names_what_helps(key_file: Path) -> None:
    only = {"DE": {"zoneName": "Germany", "access": ["carbon-intensity/forecast"]}}
    with answering(lambda request: free(request, said=only)), pytest.raises(ProviderRefused, match="history_provider"):
        opened(key_file).history("DE", NOW - 48 * HOUR, NOW, NOW)
