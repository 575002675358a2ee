"""Generic JSON: every promise of a provider, over HTTP and from files, and what its own form and places bring."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, open_provider, web
from greenrun.providers.json_rates import JsonSettings
from tests.providers.contract import Case, ProviderContract
from tests.providers.source import NOW, Source, Values, answering, json_answer, truth
from tests.providers.web_contract import WebContract

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
FIRST = NOW.replace(minute=15)
URL, HISTORY = "https://rates.example/api/co2.json?country=DE", "https://past.example/measured/"


def opened(**settings: object) -> Provider:
    """The provider with these settings."""
    return open_provider("own", JsonSettings.model_validate(settings), lambda key: NOW)


def rates(starts: Sequence[datetime], values: Values, length: timedelta = QUARTER) -> list[dict[str, object]]:
    """Slots of one length."""
    return [
        {"start": at.isoformat(), "end": (at + length).isoformat(), "value": value}
        for at, value in zip(starts, values, strict=True)
    ]


def body(starts: Sequence[datetime], values: Values) -> str:
    """Slots, written."""
    return json.dumps(rates(starts, values))


def served() -> Source:
    """Two addresses of the operator's own."""
    return Source(
        open=lambda: opened(url=URL, history_url=HISTORY, zone="DE"),
        zone="DE",
        step=QUARTER,
        forecast=body,
        history=body,
        is_history=lambda request: request.url.host == "past.example",
    )


def asked_file(path: Path, **settings: object) -> Provider:
    """The provider over a file."""
    return opened(path=str(path), **settings)


def written(path: Path, slots: object) -> Path:
    """The file with these slots."""
    path.write_text(json.dumps(slots), encoding="utf-8")
    return path


def from_now(count: int) -> list[datetime]:
    """The starts of slots from the one that holds NOW on."""
    return [FIRST + index * QUARTER for index in range(count)]


class TestServed(WebContract):
    """Over HTTP every promise is kept."""

    @pytest.fixture
    def source(self) -> Source:
        """Two addresses."""
        return served()


class TestFiles(ProviderContract):
    """From files the promises that hold for any provider are kept."""

    @pytest.fixture(params=[True, False], ids=["with history", "without"])
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Case:
        """A file of forecasts, and perhaps one of measured values."""
        ahead, behind = from_now(96), [FIRST - index * QUARTER for index in range(96, 0, -1)]
        files = {"path": written(tmp_path / "f.json", rates(ahead, [truth(at) for at in ahead]))}
        if request.param:
            files["history_path"] = written(tmp_path / "h.json", rates(behind, [truth(at) for at in behind]))
        own = {name: str(path) for name, path in files.items()}
        return Case(provider=opened(zone="DE", **own), zone="DE", now=NOW, has_history=request.param)


def test_slots_have_the_lengths_that_they_say(tmp_path: Path) -> None:
    """An hour, a quarter and a day in one answer, with a hole: nothing is stretched or cut to one step."""
    ends = [FIRST + HOUR, FIRST + HOUR + QUARTER, FIRST + 3 * HOUR]
    slots = [
        *rates([FIRST], [100], HOUR),
        *rates([ends[0]], [200], QUARTER),
        *rates([ends[2]], [300], timedelta(days=1)),
    ]
    series = asked_file(written(tmp_path / "a.json", slots)).forecast("DE", NOW).series
    assert [slot.end for slot in series] == [*ends[:2], ends[2] + timedelta(days=1)]
    assert series.mean(FIRST, ends[1]) == pytest.approx((100 * 4 + 200) / 5)
    assert series.holes() == [(ends[1], ends[2])]


def test_one_slot_is_a_forecast(tmp_path: Path) -> None:
    """A slot that says where it ends needs no neighbour."""
    path = written(tmp_path / "a.json", rates([FIRST], [100], timedelta(days=30)))
    assert len(asked_file(path).forecast("DE", NOW).series) == 1


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((HOUR, HOUR), "before the one above ends"),
        ((QUARTER, -QUARTER), "does not end after it begins"),
        ((QUARTER, timedelta(0)), "does not end after it begins"),
    ],
)
def test_slots_that_cannot_be_are_refused(tmp_path: Path, ends: tuple[timedelta, timedelta], said: str) -> None:
    """Overlaps would count emissions twice; a slot without length has no mean."""
    slots = [slot for at, length in zip(from_now(2), ends, strict=True) for slot in rates([at], [100], length)]
    with pytest.raises(ProviderGarbage, match=said):
        asked_file(written(tmp_path / "a.json", slots)).forecast("DE", NOW)


def test_two_ends_of_one_slot_are_a_contradiction(tmp_path: Path) -> None:
    """Which of them is true cannot be told, though the values agree."""
    slots = [*rates([FIRST], [100], QUARTER), *rates([FIRST], [100], HOUR)]
    with pytest.raises(ProviderGarbage, match="ends at two instants"):
        asked_file(written(tmp_path / "a.json", slots)).forecast("DE", NOW)


@pytest.mark.parametrize("missing", ["start", "end", "value"])
def test_a_part_that_is_missing_is_told_by_name(tmp_path: Path, missing: str) -> None:
    """A bridge that forgets the end, or calls the value otherwise, is told so."""
    slots = rates(from_now(3), [100, 101, 102])
    del slots[1][missing]
    with pytest.raises(ProviderGarbage, match=rf"1\.{missing}"):
        asked_file(written(tmp_path / "a.json", slots)).forecast("DE", NOW)


def test_the_list_may_be_inside_of_an_object(tmp_path: Path) -> None:
    """evcc's own API wraps it so."""
    path = written(tmp_path / "a.json", {"rates": rates(from_now(4), [1, 2, 3, 4])})
    assert len(asked_file(path).forecast("DE", NOW).series) == 4


def test_the_address_is_asked_as_it_is_written() -> None:
    """A query stays, and the last slash too, which makes another address where there is one."""
    provider = served().open()
    with answering(served().well(NOW)) as asked:
        provider.forecast("DE", NOW)
        provider.history("DE", NOW - HOUR, NOW, NOW)
    assert [str(request.url) for request in asked.requests] == [URL, HISTORY]


def test_a_key_in_the_address_is_not_told() -> None:
    """What an address holds of secrets stays out of errors, whatever the source repeats of it."""
    key = "s3cr3t+key/of=mine"
    provider = opened(url=str(httpx.URL("https://rates.example/co2", params={"token": key, "country": "DE"})))

    def echo(request: httpx.Request) -> httpx.Response:
        return json_answer(f"no rights for {request.url} and {request.url.params['token']} in DE", 403)

    with answering(echo), pytest.raises(ProviderRefused) as caught:
        provider.forecast("DE", NOW)
    assert "in DE" in str(caught.value)
    assert [form for form in (key, "s3cr3t") if form in str(caught.value)] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://rates.example/co2?country=DE", "https://rates.example/co2?country=DE"),
        ("https://rates.example/co2?country=DE&token=s3cr3t+key", "https://rates.example/co2?***"),
    ],
)
def test_the_settings_are_shown_without_what_may_be_a_key(url: str, shown: str) -> None:
    """`greenrun config show` is pasted into reports; what is asked for stays as it is written."""
    settings = JsonSettings.model_validate({"url": url, "history_url": url})
    assert settings.url == url
    told = settings.model_dump(mode="json")
    assert (told["url"], told["history_url"], told["path"]) == (shown, shown, None)


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """A bridge writes it when it has news."""
    path = tmp_path / "a.json"
    provider = asked_file(path)
    with pytest.raises(ProviderUnavailable, match="no file yet"):
        provider.forecast("DE", NOW)
    for value in (100.0, 200.0):
        written(path, rates(from_now(2), [value, value]))
        assert provider.forecast("DE", NOW).series.at(NOW) == value
    path.write_text('[{"start": "2026', encoding="utf-8")
    with pytest.raises(ProviderGarbage):
        provider.forecast("DE", NOW)


@pytest.mark.parametrize("kind", ["a folder", "too much", "not text"])
def test_a_file_that_is_no_use_is_an_error(tmp_path: Path, kind: str) -> None:
    """Whatever the file is, a ProviderError says so."""
    path = tmp_path / "a.json"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b" " * (web.SIZE_CAP_BYTES + 1) if kind == "too much" else b"\x00\xff\xfe")
    with pytest.raises(ProviderError, match=r"a\.json"):
        asked_file(path).forecast("DE", NOW)


def test_forecasts_and_measured_values_may_come_from_different_places(tmp_path: Path) -> None:
    """A file for the one and an address for the other, with no question to the address for a forecast."""
    path = written(tmp_path / "a.json", rates(from_now(8), [100] * 8))
    provider = opened(path=str(path), history_url=HISTORY)
    with answering(served().well(NOW)) as asked:
        assert provider.forecast("DE", NOW).series.at(NOW) == 100
        assert asked.requests == []
        assert len(provider.history("DE", NOW - HOUR, NOW, NOW)) == 4


def test_without_a_place_for_it_there_is_no_history() -> None:
    """A forecast that has passed is no measurement."""
    with pytest.raises(ProviderRefused, match="history_url or history_path"):
        opened(url=URL).history("DE", NOW - HOUR, NOW, NOW)


def test_the_values_are_what_the_settings_say_they_are(tmp_path: Path) -> None:
    """Signal, accounting and basis cannot be seen in a number."""
    path = written(tmp_path / "a.json", rates(from_now(2), [100, 101]))
    stated = {"signal": "marginal", "accounting": "production", "basis": "direct"}
    told = asked_file(path, **stated).forecast("FR", NOW).series.id
    assert (told.zone, told.signal, told.accounting, told.basis) == (
        "FR",
        Signal.MARGINAL,
        Accounting.PRODUCTION,
        Basis.DIRECT,
    )
    told = asked_file(path).forecast("FR", NOW).series.id
    assert (told.signal, told.accounting, told.basis) == (Signal.AVERAGE, None, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either a url or a path"),
        ({"url": URL, "path": "a.json"}, "either a url or a path"),
        ({"url": URL, "history_url": HISTORY, "history_path": "a.json"}, "one of them"),
        ({"url": "http://rates.example/co2?a=b"}, "https"),
        ({"url": "https://me:pw@rates.example/co2?a=b"}, "without a user"),
        ({"url": "https://rates.example/co2?a=b#c"}, "fragment"),
        ({"url": "rates.example"}, "https"),
        ({"url": URL, "refresh_every": "10ms"}, "1s or longer"),
    ],
)
def test_settings_that_leave_the_place_open_are_refused(settings: dict[str, str], said: str) -> None:
    """One place for each role, and nothing in the clear but on this machine."""
    with pytest.raises(ValidationError, match=said):
        JsonSettings.model_validate(settings)
