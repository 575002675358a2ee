"""Day-ahead prices: what Energy-Charts says per MWh is kept per kWh, negative prices too; all else is refused."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.grid.day_ahead import AROUND, DayAhead
from tests.providers.source import NOW, answering, json_answer

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
START = NOW.replace(minute=0)


def body(prices: Sequence[float | None], step: timedelta = HOUR, **more: object) -> str:
    """What it answers of the slots from START on."""
    seconds = [int((START + index * step).timestamp()) for index in range(len(prices))]
    said = {"license_info": "CC BY 4.0", "unix_seconds": seconds, "price": list(prices), "unit": "EUR / MWh"}
    return json.dumps(said | {"deprecated": False} | more)


def source() -> DayAhead:
    """Germany's."""
    return DayAhead("DE-LU", url="https://api.energy-charts.info", timeout=timedelta(seconds=5))


def asked(text: str, end: datetime = START + 6 * HOUR) -> list[tuple[timedelta, float]]:
    """The prices from START on when it answers so: length and EUR per kWh."""
    with answering(lambda request: json_answer(text)):
        spans = source().prices(START, end).spans()
    return [(row.end - row.start, row.value) for row in spans]


def test_a_price_per_mwh_is_a_thousandth_per_kwh_and_may_be_negative() -> None:
    assert asked(body([100.0, -35.5, 0.0])) == [(HOUR, 0.1), (HOUR, -0.0355), (HOUR, 0.0)]


def test_quarters_of_hours_and_holes_are_kept_as_they_are() -> None:
    assert asked(body([80.0, None, 90.0], QUARTER)) == [(QUARTER, 0.08), (QUARTER, 0.09)]


def test_a_bidding_zone_is_asked_for_in_epoch_seconds() -> None:
    """A little more than is wanted, so that two values tell how long one holds; only what is wanted is returned."""
    with answering(lambda request: json_answer(body([1.0, 2.0, 3.0]))) as seen:
        assert len(source().prices(START, START + HOUR)) == 1
    request = seen.requests[0]
    assert (request.url.path, request.url.params["bzn"]) == ("/price", "DE-LU")
    assert float(request.url.params["start"]) == (START - AROUND).timestamp()
    assert float(request.url.params["end"]) == (START + HOUR + AROUND).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        body([1.0, 2.0], unit="ct / kWh"), body([1.0, 2.0], price=[1.0]), body([1.0, 20_001.0]), body([1.0]),
        body([1.0, 2.0, 3.0], timedelta(days=1)), body([1.0, 2.0], unix_seconds=[0.5, 1]), body(["1", "2"]),  # type: ignore[list-item]
        "{}", "[]", "<html>", "",
    ],
    ids=["unit", "lengths", "absurd", "one value", "days", "halves of seconds", "text", "{}", "[]", "page", "empty"],
)  # fmt: skip
def test_what_is_no_series_of_prices_is_garbage(text: str) -> None:
    with pytest.raises(ProviderGarbage, match="greenrun does not use what day-ahead prices answered"):
        asked(text)


@pytest.mark.parametrize("text", [body([]), body([None, None])])
def test_no_price_at_all_is_no_answer(text: str) -> None:
    with pytest.raises(ProviderUnavailable, match="no price for then"):
        asked(text)


def test_a_zone_that_it_does_not_know_names_the_settings() -> None:
    with answering(lambda request: json_answer("no such bidding zone", 404)), pytest.raises(ProviderRefused) as caught:
        source().prices(START, START + HOUR)
    assert "[electricity]" in str(caught.value)
