"""The Carbon Aware SDK's WebAPI: every promise of a provider on the web, and its own traps."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from greenrun.core.carbon.intensity import Basis, Signal
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, open_provider
from greenrun.providers.carbon_aware_sdk import CarbonAwareSdkSettings
from tests.providers.source import NOW, Source, Values, answering, json_answer
from tests.providers.web_contract import WebContract

STEP = timedelta(minutes=5)
FIRST = NOW.replace(minute=15)
ISSUED = NOW - timedelta(minutes=12)
WANTED = {"url": "https://sdk.example/api", "location": {"IE": "northeurope", "GB": "uksouth"}, "signal": "marginal"}


def opened(**settings: object) -> Provider:
    """The provider with these settings besides."""
    return open_provider("sdk", CarbonAwareSdkSettings.model_validate({**WANTED, **settings}), lambda key: NOW)


def points(starts: Sequence[datetime], values: Values, minutes: int = 5) -> list[dict[str, object]]:
    """Means over so many minutes; the source's own name of the place is another."""
    return [
        {"location": "IE", "timestamp": at.isoformat(), "duration": minutes, "value": value}
        for at, value in zip(starts, values, strict=True)
    ]


def told(data: object, **own: object) -> dict[str, object]:
    """What is answered for one location."""
    return {
        "generatedAt": ISSUED.isoformat(),
        "requestedAt": NOW.isoformat(),
        "location": "northeurope",
        "dataStartAt": NOW.isoformat(),
        "dataEndAt": NOW.isoformat(),
        "windowSize": 5,
        "optimalDataPoints": points([FIRST], [1.5]),
        "forecastData": data,
        **own,
    }


def body(starts: Sequence[datetime], values: Values) -> str:
    """A forecast."""
    return json.dumps([told(points(starts, values))])


def sdk() -> Source:
    """A service of the operator's own."""
    return Source(open=opened, zone="IE", step=STEP, forecast=body)


class TestCarbonAwareSdk(WebContract):
    """The Carbon Aware SDK keeps every promise."""

    @pytest.fixture
    def source(self) -> Source:
        """A service."""
        return sdk()


def every(step: timedelta, count: int) -> list[datetime]:
    """Instants so far apart, from the slot that holds NOW on."""
    return [FIRST + index * step for index in range(count)]


def series_of(data: object, **own: object) -> list[tuple[datetime, datetime, float]]:
    """The slots of the forecast that is made of an answer."""
    with answering(lambda request: json_answer(json.dumps([told(data, **own)]))):
        series = opened().forecast("IE", NOW).series
    return [(slot.start, slot.end, slot.intensity_g_per_kwh) for slot in series]


def test_the_zone_s_location_is_asked_for_and_no_window() -> None:
    """A window makes the means roll; without it they are as short as the source behind has them."""
    with answering(sdk().well(NOW)) as asked:
        opened().forecast("IE", NOW)
    url = asked.requests[0].url
    assert (url.path, dict(url.params)) == ("/api/emissions/forecasts/current", {"location": "northeurope"})


def test_a_forecast_is_as_old_as_it_says() -> None:
    """`generatedAt` is when it was made, unless that was never set."""
    for issued, expected in ((ISSUED.isoformat(), ISSUED), ("0001-01-01T00:00:00+00:00", None), (None, None)):
        answer = [told(points(every(STEP, 4), [1, 2, 3, 4]), generatedAt=issued)]
        with answering(lambda request, answer=answer: json_answer(json.dumps(answer))):
            assert opened().forecast("IE", NOW).issued_at == expected


@pytest.mark.parametrize("name", ["optimalDataPoint", "optimalDataPoints", "other"])
def test_what_is_held_to_be_the_best_start_does_not_matter(name: str) -> None:
    """Under either name, as a list, alone or absent."""
    answer = told(points(every(STEP, 3), [1, 2, 3]))
    answer[name] = answer.pop("optimalDataPoints")
    for best in (answer[name], points([FIRST], [1.5])[0], None):
        with answering(lambda request, best=best: json_answer(json.dumps([answer | {name: best}]))):
            assert len(opened().forecast("IE", NOW).series) == 3


def test_means_that_roll_are_used_only_where_they_do_not_overlap() -> None:
    """Every third of means over fifteen minutes, each five minutes on, is the true mean of a slot of its own."""
    under = [float(10 * index) for index in range(11)]
    rolling = [sum(under[index : index + 3]) / 3 for index in range(9)]
    slots = series_of(points(every(STEP, 9), rolling, minutes=15))
    assert slots == [
        (at, at + 3 * STEP, value) for at, value in zip(every(3 * STEP, 3), [10.0, 40.0, 70.0], strict=True)
    ]
    covered = sum((end - start).total_seconds() * value for start, end, value in slots)
    assert covered == pytest.approx(sum(STEP.total_seconds() * value for value in under[:9]))


def test_windows_that_do_not_fit_leave_holes() -> None:
    """Means over seven minutes every five: what lies between two that do not overlap is not known."""
    slots = series_of(points(every(STEP, 5), [1, 2, 3, 4, 5], minutes=7))
    assert slots == [
        (at, at + timedelta(minutes=7), value) for at, value in zip(every(2 * STEP, 3), [1, 3, 5], strict=True)
    ]


def test_a_duration_that_is_not_told_is_the_distance() -> None:
    """Some sources behind it leave the duration at 0."""
    hour = timedelta(hours=1)
    assert series_of(points(every(hour, 3), [1, 2, 3], minutes=0)) == [
        (at, at + hour, value) for at, value in zip(every(hour, 3), [1, 2, 3], strict=True)
    ]


def test_two_values_of_one_slot_are_refused() -> None:
    """Overlapping windows are left out, contradictions are not."""
    with pytest.raises(ProviderGarbage, match="both 1 and 2"):
        series_of(points([FIRST, FIRST, FIRST + STEP], [1, 2, 3]))


@pytest.mark.parametrize("data", [[], None])
def test_a_forecast_of_nothing_is_told_as_missing(data: object) -> None:
    """The service filters all points away where its source ends."""
    with pytest.raises(ProviderUnavailable, match="no values"):
        series_of(data, optimalDataPoints=None)


@pytest.mark.parametrize("locations", [["uksouth"], ["northeurope", "uksouth"], ["northeurope", "northeurope"]])
def test_another_location_is_never_taken_for_the_one_asked_for(locations: list[str]) -> None:
    """There is one answer for one location."""
    answer = [told(points(every(STEP, 3), [1, 2, 3]), location=location) for location in locations]
    with answering(lambda request: json_answer(json.dumps(answer))), pytest.raises(ProviderGarbage, match="asked for"):
        opened().forecast("IE", NOW)


def test_the_case_of_a_location_does_not_matter() -> None:
    """The service is not strict about it either."""
    assert len(series_of(points(every(STEP, 3), [1, 2, 3]), location="NorthEurope")) == 3


def test_a_source_behind_it_without_forecasts_is_refused_with_what_to_do() -> None:
    """501 is for the operator: later it will be no different."""
    problem = json.dumps({"title": "NotImplementedException", "status": 501})
    refused = pytest.raises(ProviderRefused, match="set up another one")
    with answering(lambda request: json_answer(problem, 501)), refused as caught:
        opened().forecast("IE", NOW)
    assert caught.value.status == 501


def test_a_zone_without_a_location_is_told_where_to_add_it() -> None:
    """Locations have names that no zone can be guessed from."""
    with pytest.raises(ProviderRefused, match=r"IE, GB, not for 'FR'; add it to location of \[provider.sdk\]"):
        opened().forecast("FR", NOW)


def test_it_settles_nothing() -> None:
    """Its past values may be estimates, and do not say so."""
    with answering(sdk().well(NOW)) as asked, pytest.raises(ProviderRefused, match="history_provider"):
        opened().history("IE", NOW - timedelta(hours=1), NOW, NOW)
    assert asked.requests == []


def test_the_values_are_what_the_settings_say_they_are() -> None:
    """The signal depends on the source behind, which cannot be seen, so it must be stated."""
    with answering(sdk().well(NOW)):
        known = opened(basis="direct").forecast("IE", NOW).series.id
    assert (known.signal, known.accounting, known.basis) == (Signal.MARGINAL, None, Basis.DIRECT)
    for key in ("signal", "location", "url"):
        with pytest.raises(ValidationError, match=key):
            CarbonAwareSdkSettings.model_validate({name: WANTED[name] for name in WANTED if name != key})
    with pytest.raises(ValidationError, match="location"):
        opened(location={})
    assert opened().zones == {"IE": "northeurope", "GB": "uksouth"}
