"""WattTime: every promise of a provider on the web, and its own traps; all payloads are made up."""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from greenrun.core.carbon.intensity import Basis, Signal
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, open_provider
from greenrun.providers.watttime import G_PER_KWH, WattTimeSettings
from tests.providers.source import NOW, Source, Values, answering, json_answer
from tests.providers.web_contract import WebContract

PASSWORD = "wt-password-4711"
ZONE = "CAISO_NORTH"
STEP = timedelta(minutes=5)
ISSUED_AT = NOW - timedelta(minutes=7)
LB_PER_MWH = 1 / G_PER_KWH["lbs_co2_per_mwh"]
NGINX = "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>nginx</body></html>"

Change = Callable[[dict[str, Any]], dict[str, Any]]


def body(starts: Sequence[datetime], values: Values) -> str:
    """Points in pounds per MWh that are these values in g/kWh; 77777 stays itself, for the tests that look for it."""
    rows = [
        {"point_time": at.isoformat(), "value": value if value in (None, 77777.0) else value * LB_PER_MWH}
        for at, value in zip(starts, values, strict=True)
    ]
    meta = {
        "data_point_period_seconds": 300, "region": ZONE, "warnings": [], "signal_type": "co2_moer",
        "model": {"date": "2023-03-01"}, "units": "lbs_co2_per_mwh", "generated_at_period_seconds": 300,
        "generated_at": ISSUED_AT.isoformat(),
    }  # fmt: skip
    return json.dumps({"data": rows, "meta": meta})


@dataclass
class Door:
    """The log-in: each gives another token, and questions with any other than the last are refused."""

    given: list[str] = field(default_factory=list)
    refuses: int = 403

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        """Answer log-ins, and questions that may not be asked."""
        if request.url.path == "/login":
            basic = b64encode(f"ada:{PASSWORD}".encode()).decode()
            assert request.headers["Authorization"] == f"Basic {basic}"
            self.given.append(f"token-{len(self.given)}")
            return json_answer(json.dumps({"token": self.given[-1]}))
        if request.headers["Authorization"] not in [f"Bearer {token}" for token in self.given[-1:]]:
            return json_answer('{"detail":"Unauthorized"}', self.refuses)
        if request.url.params["region"] != ZONE:
            return json_answer('{"error":"Invalid query parameters","message":"Invalid scope."}', 403)
        return None


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """Where the password lies."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    file.chmod(0o600)
    return file


def opened(password_file: Path, **settings: object) -> Provider:
    stated = {"username": "ada", "password_file": str(password_file), **settings}
    return open_provider("wt", WattTimeSettings.model_validate(stated), lambda key: NOW)


@pytest.fixture
def door() -> Door:
    """The log-in."""
    return Door()


@pytest.fixture
def source(password_file: Path, door: Door) -> Source:
    """The service."""
    return Source(
        open=lambda: opened(password_file),
        zone=ZONE,
        step=STEP,
        forecast=body,
        history=body,
        is_history=lambda request: request.url.path == "/v3/historical",
        side=door,
        ahead=timedelta(hours=6),
    )


class TestWattTime(WebContract):
    """WattTime keeps every promise."""

    @pytest.fixture
    def source(self, source: Source) -> Source:
        """The service."""
        return source


def meta(**fields: object) -> Change:
    """Say something else of the values."""
    return lambda said: {**said, "meta": {**said["meta"], **fields}}


def paths(requests: Sequence[httpx.Request]) -> list[str]:
    return [request.url.path.rsplit("/", 1)[1] for request in requests]


# --- units and provenance ---


def test_pounds_per_megawatt_hour_become_grams_per_kilowatt_hour(source: Source) -> None:
    """By the definition of the pound: 1048.41 lb/MWh are 475.55 g/kWh."""
    rows = [{"point_time": NOW.replace(minute=15).isoformat(), "value": 1048.4131919701972}]
    with answering(source.changed(lambda said: {**said, "data": rows})):
        series = source.open().forecast(ZONE, NOW).series
    assert [round(slot.intensity_g_per_kwh, 2) for slot in series] == [475.55]
    assert series.slots[0].end - series.slots[0].start == STEP


@pytest.mark.parametrize(
    "other",
    [
        {"units": "percentile"},
        {"units": "usd_per_mwh", "signal_type": "health_damage"},
        {"units": "kg_co2_per_mwh"},
        {"units": ""},
        {"signal_type": "co2_aoer"},
        {"region": "CAISO_SOUTH"},
    ],
    ids=str,
)
def test_anything_but_the_marginal_intensity_in_pounds_is_refused(source: Source, other: dict[str, object]) -> None:
    """Money, percents and other places' values are never called g/kWh, ahead or past."""
    for ask in ("forecast", "history"):
        provider, span = source.open(), () if ask == "forecast" else (NOW - timedelta(hours=1), NOW)
        with answering(source.changed(meta(**other))), pytest.raises(ProviderRefused, match="does not use it"):
            getattr(provider, ask)(ZONE, *span, NOW)


@pytest.mark.parametrize("missing", ["units", "signal_type", "region", "data_point_period_seconds"])
def test_values_that_do_not_say_what_they_are_are_refused(source: Source, missing: str) -> None:
    """A unit is read, never assumed."""

    def without(said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "meta": {key: value for key, value in said["meta"].items() if key != missing}}

    with answering(source.changed(without)), pytest.raises(ProviderGarbage, match=missing):
        source.open().forecast(ZONE, NOW)


def test_other_signals_cannot_be_set(password_file: Path) -> None:
    """Nor a horizon that the service does not have."""
    for settings in ({"signal_type": "health_damage"}, {"horizon": "73h"}, {"username": ""}, {"username": "a:b"}):
        with pytest.raises(ValidationError):
            opened(password_file, **settings)


def test_it_is_another_signal_than_the_mean(source: Source) -> None:
    """Marginal and at the stack: never put together with an average."""
    with answering(source.well(NOW)):
        series = source.open().forecast(ZONE, NOW).series
    assert (series.id.signal, series.id.basis, series.id.accounting) == (Signal.MARGINAL, Basis.DIRECT, None)


def test_a_forecast_is_as_old_as_its_source_says(source: Source) -> None:
    """`generated_at` is when it was issued; one that is ahead of us is a clock's fault."""
    with answering(source.well(NOW)):
        assert source.open().forecast(ZONE, NOW).issued_at == ISSUED_AT
    with answering(source.changed(meta(generated_at=(NOW + timedelta(hours=1)).isoformat()))):
        assert source.open().forecast(ZONE, NOW).issued_at == NOW


def test_what_was_filled_in_is_not_measured(source: Source) -> None:
    """Values for want of data are asked to be marked, and left out."""
    starts = source.starts(NOW - 4 * STEP, NOW - 2 * STEP)
    rows = [{"point_time": at.isoformat(), "value": 900.0, "imputed_data_used": at == starts[1]} for at in starts]
    with answering(source.changed(lambda said: {**said, "data": rows})) as asked:
        series = source.open().history(ZONE, NOW - 4 * STEP, NOW, NOW)
    assert [slot.start for slot in series] == [starts[0], *starts[2:]]
    assert asked.requests[-1].url.params["include_imputed_marker"] == "true"


def test_what_is_asked(source: Source, password_file: Path) -> None:
    """Region, signal, as far ahead as set, and instants with their zone."""
    with answering(source.well(NOW)) as asked:
        provider = opened(password_file, horizon="90m")
        provider.forecast(ZONE, NOW)
        provider.history(ZONE, NOW - timedelta(days=1), NOW, NOW)
    ahead, past = (dict(request.url.params) for request in asked.requests[1:])
    assert ahead == {"region": ZONE, "signal_type": "co2_moer", "horizon_hours": "2"}
    assert (past["start"], past["end"]) == ("2026-06-02T09:17Z", "2026-06-03T10:17Z")


# --- the log-in ---


def test_one_log_in_serves_until_its_token_is_old(source: Source, door: Door) -> None:
    """A token is good for half an hour: one of 25 minutes is changed for a new one before it is refused."""
    provider = source.open()
    with answering(source.well(NOW)) as asked:
        for minute in (0, 20, 40):
            provider.forecast(ZONE, NOW + timedelta(minutes=minute))
        provider.history(ZONE, NOW - timedelta(hours=1), NOW, NOW + timedelta(minutes=41))
    assert paths(asked.requests) == ["login", "forecast", "forecast", "login", "forecast", "historical"]
    assert len(door.given) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_changed_once(source: Source, door: Door, status: int) -> None:
    """The source may forget a token early: one new log-in, one more try."""
    provider, door.refuses = source.open(), status
    with answering(source.well(NOW)) as asked:
        provider.forecast(ZONE, NOW)
        door.given.append("another")  # as if somebody else had logged in
        provider.history(ZONE, NOW - timedelta(hours=1), NOW, NOW)
    assert paths(asked.requests) == ["login", "forecast", "historical", "login", "historical"]


@pytest.mark.parametrize("status", [401, 403])
def test_what_stays_refused_is_told_with_its_zone(source: Source, status: int) -> None:
    """After one more log-in it is the account that may not; a web server's page is not repeated."""
    with answering(source.saying(NGINX, status)) as asked, pytest.raises(ProviderRefused, match=ZONE) as caught:
        source.open().forecast(ZONE, NOW)
    assert paths(asked.requests) == ["login", "forecast", "login", "forecast"]
    assert (caught.value.status, "nginx" in str(caught.value)) == (status, False)


def test_a_wrong_password_is_told_and_not_tried_again(source: Source) -> None:
    """The sentence names what to correct."""
    told = pytest.raises(ProviderRefused, match="username and password_file")
    with answering(lambda request: json_answer('{"detail":"Invalid user"}', 401)) as asked, told as caught:
        source.open().forecast(ZONE, NOW)
    assert (paths(asked.requests), caught.value.status) == (["login"], 401)


@pytest.mark.parametrize("answer", ["{}", '{"token":""}', '{"token":"a\\nb"}', '{"token":7}', NGINX])
def test_a_log_in_without_a_token_is_garbage(source: Source, answer: str) -> None:
    """Nothing that is no token is sent as one."""
    with answering(lambda request: json_answer(answer)) as asked, pytest.raises(ProviderGarbage):
        source.open().forecast(ZONE, NOW)
    assert paths(asked.requests) == ["login"]


def test_a_log_in_that_fails_is_tried_again_later(source: Source) -> None:
    """A source in trouble is no refusal."""
    provider = source.open()
    with answering(lambda request: json_answer("", 503)) as asked, pytest.raises(ProviderUnavailable):
        provider.forecast(ZONE, NOW)
    assert paths(asked.requests) == ["login"] * 3
    with answering(source.well(NOW)):
        assert len(provider.forecast(ZONE, NOW).series)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([{"type": "FALLBACK", "message": "model down, values are substituted"}], ["FALLBACK: model down, values are"]),
        ([{"message": "late"}, {"type": "EXAMPLE"}], ["late", "EXAMPLE"]),
        (["in words"], ["in words"]),
        ([], []),
        (None, []),
    ],
)
def test_what_the_source_warns_of_is_kept_and_logged_once(source: Source, said: object, told: list[str]) -> None:
    def warned(request: httpx.Request) -> httpx.Response:
        answer = source.well(NOW)(request)
        if request.url.path == "/login":
            return answer
        found = json.loads(answer.content)
        found["meta"]["warnings"] = said
        return json_answer(json.dumps(found))

    provider = source.open()
    with answering(warned):
        provider.forecast(ZONE, NOW)
        provider.forecast(ZONE, NOW)
    assert provider.web is not None
    assert [text[: len(start)] for text, start in zip(provider.web.warnings, told, strict=True)] == told
