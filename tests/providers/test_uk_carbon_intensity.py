"""The UK Carbon Intensity API: nation, regions and postcodes, every promise of a provider on the web, and its traps."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from greenrun.core.carbon.intensity import Accounting, Basis, Kind, Signal
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, open_provider, web
from greenrun.providers.uk_carbon_intensity import UkCarbonIntensitySettings
from tests.providers.source import NOW, Respond, Source, Values, answering, json_answer, truth
from tests.providers.web_contract import WebContract

HALF_HOUR = timedelta(minutes=30)
FIRST = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)  # the half hour that holds NOW


def opened() -> Provider:
    """The provider as the settings' defaults open it."""
    return open_provider("uk", UkCarbonIntensitySettings(), lambda key: NOW)


def row(start: datetime, forecast: float | None, actual: float | None = None) -> dict[str, object]:
    """A half hour of the nation."""
    values = {"forecast": forecast, "actual": actual, "index": "moderate"}
    return {"from": f"{start:%Y-%m-%dT%H:%MZ}", "to": f"{start + HALF_HOUR:%Y-%m-%dT%H:%MZ}", "intensity": values}


def national(starts: Sequence[datetime], values: Values) -> str:
    """A forecast of the nation; nothing has come true yet."""
    return json.dumps({"data": [row(start, value) for start, value in zip(starts, values, strict=True)]})


def measured(starts: Sequence[datetime], values: Values) -> str:
    """The nation's past, whose forecast was another."""
    rows = [row(start, 555, value) for start, value in zip(starts, values, strict=True)]
    return json.dumps({"data": rows})


def region(starts: Sequence[datetime], values: Values, number: int = 13) -> dict[str, object]:
    """A region's part of an answer, which has no actual values and a mix."""
    mix = [{"fuel": "imports", "perc": 32.1}, {"fuel": "gas", "perc": 23.1}]
    rows = [row(start, value) | {"generationmix": mix} for start, value in zip(starts, values, strict=True)]
    for each in rows:
        del each["intensity"]["actual"]  # type: ignore[attr-defined]
    return {"regionid": number, "dnoregion": "UKPN London", "shortname": "London", "data": rows}


def nation() -> Source:
    """The service, asked for all of Great Britain."""
    return Source(
        open=opened,
        zone="GB",
        step=HALF_HOUR,
        forecast=national,
        history=measured,
        is_history=lambda request: "fw48h" not in request.url.path,
        ahead=timedelta(hours=48),
    )


def london() -> Source:
    """The service, asked for a region."""
    return Source(
        open=opened,
        zone="GB:13",
        step=HALF_HOUR,
        forecast=lambda starts, values: json.dumps({"data": region(starts, values)}),
        unknown_zone="GB:18",
        ahead=timedelta(hours=48),
    )


class TestNation(WebContract):
    """The nation keeps every promise."""

    @pytest.fixture
    def source(self) -> Source:
        """Great Britain."""
        return nation()


class TestRegion(WebContract):
    """A region keeps every promise, without history."""

    @pytest.fixture
    def source(self) -> Source:
        """London."""
        return london()


def answer(body: object, status: int = 200) -> Respond:
    """Answer every question with this."""
    return lambda request: json_answer(json.dumps(body), status)


def starts(count: int, begin: datetime = FIRST) -> list[datetime]:
    """The starts of half hours in a row."""
    return [begin + index * HALF_HOUR for index in range(count)]


@pytest.mark.parametrize(
    ("now", "asked_for"),
    [
        ("2026-06-03T10:00:00+00:00", "2026-06-03T10:01Z"),
        ("2026-06-03T10:29:59+00:00", "2026-06-03T10:01Z"),
        ("2026-06-03T10:30:00+00:00", "2026-06-03T10:31Z"),
        ("2026-06-03T10:59:59+00:00", "2026-06-03T10:31Z"),
        ("2026-06-03T15:47:00+05:30", "2026-06-03T10:01Z"),
    ],
)
@pytest.mark.parametrize(
    ("zone", "path"),
    [
        ("GB", "/intensity/{}/fw48h"),
        ("GB:1", "/regional/intensity/{}/fw48h/regionid/1"),
        ("GB:RG41", "/regional/intensity/{}/fw48h/postcode/RG41"),
        ("GB:M1", "/regional/intensity/{}/fw48h/postcode/M1"),
        ("GB:EC1A", "/regional/intensity/{}/fw48h/postcode/EC1A"),
    ],
)
def test_a_forecast_is_asked_for_a_minute_into_its_half_hour(now: str, asked_for: str, zone: str, path: str) -> None:
    """On the half hour itself the one before would come first; the address stays the same for the whole half hour."""
    with answering(answer({"data": []})) as asked, pytest.raises(ProviderUnavailable):
        opened().forecast(zone, datetime.fromisoformat(now))
    assert asked.requests[0].url.path == path.format(asked_for)


def test_the_half_hour_before_is_left_out() -> None:
    """49 rows, of which the first has ended, are 48 hours and not half an hour more."""
    rows = [row(at, truth(at)) for at in starts(97, FIRST - HALF_HOUR)]
    with answering(answer({"data": rows})):
        series = opened().forecast("GB", FIRST).series
    assert (series.start, len(series)) == (FIRST, 96)


def test_what_came_true_of_the_current_half_hour_does_not_make_the_forecast_measured() -> None:
    """The row of now may have both values: a forecast holds the one that was forecast, as such."""
    rows = [row(FIRST, 120, 111), *(row(at, 130) for at in starts(3, FIRST + HALF_HOUR))]
    with answering(answer({"data": rows})):
        series = opened().forecast("GB", NOW).series
    assert (series.at(NOW), set(series.kinds)) == (120, {Kind.FORECAST})


@pytest.mark.parametrize("shape", ["object", "list"])
def test_a_region_comes_bare_or_in_a_list(shape: str) -> None:
    """Both are what the service answers, by turns."""
    part = region(starts(31), [134.0] * 31)
    with answering(answer({"data": part if shape == "object" else [part]})):
        assert len(opened().forecast("GB:13", NOW).series) == 31


@pytest.mark.parametrize("numbers", [[12], [13, 12], list(range(1, 19))])
def test_another_region_is_never_taken_for_the_one_asked_for(numbers: list[int]) -> None:
    """A service that overlooks which region is meant answers for another, or for all."""
    parts = [region(starts(4), [134.0] * 4, number) for number in numbers]
    with answering(answer({"data": parts})), pytest.raises(ProviderGarbage, match="not for GB:13"):
        opened().forecast("GB:13", NOW)


@pytest.mark.parametrize("postcode", [None, "RG41", "RG4"])
def test_a_postcode_is_served_by_its_region(postcode: str | None) -> None:
    """Which region that is only the service knows; if it names a postcode, it must be this one."""
    part = region(starts(4), [134.0] * 4, 12) | {"postcode": postcode}
    with answering(answer({"data": part})):
        if postcode == "RG4":
            with pytest.raises(ProviderGarbage, match="not for GB:RG41"):
                opened().forecast("GB:RG41", NOW)
        else:
            assert opened().forecast("GB:RG41", NOW).series.id.zone == "GB:RG41"


@pytest.mark.parametrize("zone", ["GB", "GB:13", "GB:RG41"])
@pytest.mark.parametrize("body", [{"data": []}, {}])
def test_an_empty_answer_is_no_forecast(zone: str, body: object) -> None:
    """The service says 200 and nothing, past the end of what it knows: that is an error in words, for any zone."""
    with answering(answer(body)), pytest.raises((ProviderUnavailable, ProviderGarbage), match=r"uk (has no|answered)"):
        opened().forecast(zone, NOW)


def test_a_short_horizon_is_not_stretched() -> None:
    """The forecast often ends with the day and not after 48 hours."""
    with answering(answer({"data": [row(at, 100) for at in starts(29)]})):
        assert opened().forecast("GB", NOW).series.end == FIRST + 29 * HALF_HOUR


def test_a_500_that_means_not_there_is_asked_again_and_then_told() -> None:
    """The service says "internal error" when it finds nothing."""
    said = {"error": {"code": "500 Internal Server Error", "message": "Requested resource not found."}}
    with answering(answer(said, 500)) as asked, pytest.raises(ProviderUnavailable, match="resource not found"):
        opened().forecast("GB", NOW)
    assert len(asked.requests) == web.TRIES


def test_a_postcode_that_is_none_for_the_service_is_refused_at_once() -> None:
    """Status 400 is for the operator; asking again brings nothing."""
    said = {"error": {"code": "400 Bad Request", "message": "Please enter a valid postcode"}}
    with answering(answer(said, 400)) as asked, pytest.raises(ProviderRefused, match=r"valid postcode.*check zone"):
        opened().forecast("GB:ZZ9", NOW)
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    "zone", ["GB:0", "GB:18", "GB:013", "GB:", "GB:R", "GB:RG41 1AA", "GB:RG411AA", "gb", "DE", "UK"]
)
def test_a_zone_that_cannot_be_is_refused_unasked(zone: str) -> None:
    """Neither the nation's numbers nor another region's are served for a typing error."""
    with answering(nation().well(NOW)) as asked, pytest.raises(ProviderRefused, match=f"not '{zone}'"):
        opened().forecast(zone, NOW)
    assert asked.requests == []


def test_a_zone_that_the_settings_name_is_the_only_one() -> None:
    """Beside another provider it is not asked for that one's zone."""
    provider = open_provider("uk", UkCarbonIntensitySettings(zone="GB:13"), lambda key: NOW)
    with answering(london().well(NOW)):
        assert len(provider.forecast("GB:13", NOW).series) > 0
        with pytest.raises(ProviderRefused, match="serves 'GB:13', not 'GB'"):
            provider.forecast("GB", NOW)


@pytest.mark.parametrize("zone", ["GB:13", "GB:RG41"])
def test_regions_have_no_measured_values(zone: str) -> None:
    """What was forecast for a region is never booked as measured."""
    with answering(london().well(NOW)) as asked, pytest.raises(ProviderRefused, match=f'{zone}.*zone = "GB"'):
        opened().history(zone, NOW - timedelta(days=1), NOW, NOW)
    assert asked.requests == []


def test_history_holds_what_came_true_and_nothing_else() -> None:
    """A half hour without an actual value is a hole, whatever was forecast of it."""
    begin = FIRST - 4 * HALF_HOUR
    rows = [row(at, 99, actual) for at, actual in zip(starts(5, begin), [200, None, 202, 203, None], strict=True)]
    with answering(answer({"data": rows})):
        series = opened().history("GB", begin, NOW, NOW)
    assert [slot.intensity_g_per_kwh for slot in series] == [200, 202, 203]
    assert set(series.kinds) == {Kind.MEASURED}


def test_long_histories_are_asked_for_in_parts_without_doubles() -> None:
    """No question is longer than the service allows; rows at both ends of two parts count once, also when revised."""
    begin, revised = FIRST - timedelta(days=30), iter(range(100, 200))

    def respond(request: httpx.Request) -> httpx.Response:
        since, until = (datetime.fromisoformat(part) for part in request.url.path.split("/")[2:])
        assert until - since <= timedelta(days=13)
        value, count = next(revised), (until - since) // HALF_HOUR
        return json_answer(json.dumps({"data": [row(at, 1, value) for at in starts(count + 2, since - HALF_HOUR)]}))

    with answering(respond) as asked:
        series = opened().history("GB", begin, FIRST, NOW)
    assert (len(asked.requests), len(series), series.holes()) == (3, 30 * 48, [])


def test_a_row_of_another_length_is_refused() -> None:
    """Half hours are what the service promises; hours would be booked for half of their time."""
    rows = [row(at, 100) | {"to": f"{at + 2 * HALF_HOUR:%Y-%m-%dT%H:%MZ}"} for at in starts(4)[::2]]
    with answering(answer({"data": rows})), pytest.raises(ProviderGarbage, match="not half an hour"):
        opened().forecast("GB", NOW)


def test_values_are_the_mean_of_what_is_used_without_the_chain_before_it() -> None:
    """Direct emissions of consumption; a key is not needed, and the licence asks to be shown."""
    with answering(nation().well(NOW)):
        told = opened().forecast("GB", NOW).series.id
    assert (told.signal, told.accounting, told.basis) == (Signal.AVERAGE, Accounting.CONSUMPTION, Basis.DIRECT)
    assert "CC BY 4.0" in opened().attribution


def test_every_region_has_a_name() -> None:
    """`greenrun zones` lists them."""
    zones = opened().zones
    assert [*zones] == ["GB", *(f"GB:{number}" for number in range(1, 18))]
    assert (zones["GB:13"], zones["GB:17"]) == ("London", "Wales")


@pytest.mark.parametrize("zone", ["GB", "GB:13", "GB:RG41"])
def test_an_empty_answer_knows_nothing_more(zone: str) -> None:
    """It has been seen with status 200 where the end of the known was reached: no error of form."""
    provider = open_provider("uk", UkCarbonIntensitySettings(), lambda key: NOW)
    with answering(lambda request: json_answer("{}")), pytest.raises(ProviderUnavailable, match="no values"):
        provider.forecast(zone, NOW)


def test_a_byte_order_mark_is_passed_over() -> None:
    provider = open_provider("uk", UkCarbonIntensitySettings(), lambda key: NOW)
    row = '{"from": "2026-06-03T10:00Z", "to": "2026-06-03T10:30Z", "intensity": {"forecast": 93, "actual": null}}'
    with answering(lambda request: httpx.Response(200, content=b"\xef\xbb\xbf" + f'{{"data": [{row}]}}'.encode())):
        found = provider.history("GB", NOW - timedelta(hours=2), NOW, NOW)
    assert len(found) == 0  # nothing measured yet, and nothing wrong
