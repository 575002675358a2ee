"""Energy-Charts: most of Europe, every promise of a provider on the web, and its own traps."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import httpx
import pytest
from structlog.testing import capture_logs

from greenrun.core.carbon.intensity import Accounting, Basis, Kind
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import open_provider
from greenrun.providers.energy_charts import AHEAD, AROUND, EnergyChartsSettings
from tests.providers.conftest import Clock
from tests.providers.source import NOW, Source, Values, answering, json_answer
from tests.providers.web_contract import WebContract

QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)


def body(starts: Sequence[datetime], measured: Values, forecast: Values, **more: object) -> str:
    """Parallel lists."""
    seconds = [int(start.timestamp()) for start in starts]
    said = {"unix_seconds": seconds, "co2eq": list(measured), "co2eq_forecast": list(forecast), "deprecated": False}
    return json.dumps(said | more)


def energy_charts(step: timedelta = QUARTER) -> Source:
    """The service, with slots of this length."""
    return Source(
        open=lambda: open_provider("ise", EnergyChartsSettings(), lambda key: NOW),
        zone="DE",
        step=step,
        forecast=lambda starts, values: body(starts, [None] * len(starts), values),
        history=lambda starts, values: body(starts, values, [None] * len(starts)),
        is_history=lambda request: "end" in request.url.params and _asked(request.url.params) != AROUND + AHEAD,
        names_times=False,
        ahead=timedelta(hours=9),
    )


def _asked(params: httpx.QueryParams) -> timedelta:
    return timedelta(seconds=float(params["end"]) - float(params["start"]))


class TestQuarters(WebContract):
    """A country in quarters of an hour keeps every promise."""

    @pytest.fixture
    def source(self) -> Source:
        """Germany."""
        return energy_charts()


class TestHours(WebContract):
    """A country in hours keeps every promise."""

    @pytest.fixture
    def source(self) -> Source:
        """A country that publishes hours."""
        return energy_charts(HOUR)


def quarters(count: int) -> list[datetime]:
    """The starts of so many slots, the third of which holds NOW."""
    begin = NOW.replace(minute=15) - 2 * QUARTER
    return [begin + index * QUARTER for index in range(count)]


def test_measured_values_come_before_forecasts_and_only_they_are_history() -> None:
    """Both lists are one series; where there are both, the forecast has come true."""
    said = body(quarters(5), [101.0, 102.0, 103.0, None, None], [None, 99.0, 98.0, 104.0, 105.0])
    with answering(lambda request: json_answer(said)):
        forecast = energy_charts().open().forecast("DE", NOW).series
        history = energy_charts().open().history("DE", NOW - HOUR, NOW, NOW)
    assert [slot.intensity_g_per_kwh for slot in forecast] == [103.0, 104.0, 105.0]
    assert set(forecast.kinds) == {Kind.FORECAST}
    assert [slot.intensity_g_per_kwh for slot in history] == [101.0, 102.0]


def test_what_is_measured_in_the_future_is_not_believed() -> None:
    """A value cannot be measured before its slot has begun; the forecast stands."""
    said = body(quarters(5), [101.0, 102.0, 103.0, 1.0, 1.0], [None, None, None, 104.0, None])
    with answering(lambda request: json_answer(said)):
        series = energy_charts().open().forecast("DE", NOW).series
    assert [slot.intensity_g_per_kwh for slot in series] == [103.0, 104.0]


def test_it_says_what_its_numbers_are() -> None:
    """The mix of what is generated, over the life cycle, with the attribution that its licence asks for."""
    with answering(energy_charts().well(NOW)):
        provider = energy_charts().open()
        series_id = provider.forecast("DE", NOW).series.id
    assert (series_id.accounting, series_id.basis) == (Accounting.PRODUCTION, Basis.LIFECYCLE)
    assert "Energy-Charts.info (Fraunhofer ISE)" in provider.attribution


@pytest.mark.parametrize(("zone", "country"), [("DE", "de"), ("GB", "uk")])
def test_a_country_is_asked_for_in_epoch_seconds(zone: str, country: str) -> None:
    """Days would be the country's own, and the United Kingdom has a code of its own."""
    with answering(energy_charts().well(NOW)) as asked:
        energy_charts().open().forecast(zone, NOW)
    params = asked.requests[0].url.params
    assert params["country"] == country
    assert float(params["start"]) <= NOW.timestamp() - HOUR.total_seconds()
    assert float(params["end"]) >= NOW.timestamp() + timedelta(days=2).total_seconds()


@pytest.mark.parametrize("cut", ["unix_seconds", "co2eq", "co2eq_forecast"])
def test_lists_that_do_not_belong_together_are_garbage(cut: str) -> None:
    """A value more or less would move all others in time."""
    said = json.loads(body(quarters(5), [None] * 5, [100.0] * 5))
    for wrong in ({**said, cut: said[cut][:-1]}, {key: said[key] for key in said if key != cut}):
        respond = json.dumps(wrong)
        with answering(lambda request, text=respond: json_answer(text)), pytest.raises(ProviderGarbage):
            energy_charts().open().forecast("DE", NOW)


def test_a_country_that_goes_over_to_quarters_keeps_each_value_for_its_own_length() -> None:
    begin = NOW - 2 * HOUR
    starts = [
        *(begin + index * HOUR for index in range(6)),
        *(begin + 6 * HOUR + index * QUARTER for index in range(40)),
    ]
    said = body(starts, [400.0] * 2 + [None] * 44, [None] * 2 + [300.0 + index for index in range(44)])
    with answering(lambda request: json_answer(said)):
        forecast = energy_charts().open().forecast("DE", NOW).series
        history = energy_charts().open().history("DE", begin, NOW, NOW)
    assert [slot.end - slot.start for slot in forecast] == [HOUR] * 4 + [QUARTER] * 40
    assert (forecast.holes(), [slot.end - slot.start for slot in history]) == ([], [HOUR] * 2)


@pytest.mark.parametrize(
    "step", [timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=3), timedelta(days=1), None]
)
def test_slots_of_another_length_are_garbage(step: timedelta | None) -> None:
    """The length is told from the starts, so a list that was thinned out must not pass for longer slots."""
    starts = [quarters(3)[2] + index * step for index in range(9)] if step else quarters(3)[2:]
    said = body(starts, [None] * len(starts), [100.0] * len(starts))
    with answering(lambda request: json_answer(said)), pytest.raises(ProviderGarbage, match="slots"):
        energy_charts().open().forecast("DE", NOW)


def test_an_interface_that_will_end_is_told_once() -> None:
    """Half a year's notice is worth a warning, and not one at every question."""
    starts = quarters(9)
    said = body(starts, [None] * 9, [100.0] * 9, deprecated=True)
    provider = energy_charts().open()
    with answering(lambda request: json_answer(said)), capture_logs() as logged:
        provider.forecast("DE", NOW)
        provider.history("DE", NOW - HOUR, NOW, NOW)
    assert [(line["log_level"], line["provider"]) for line in logged] == [("warning", "ise")]


def test_a_country_that_it_does_not_know_is_refused_with_its_words() -> None:
    """The source's own sentence, which is no JSON, is told."""
    said = "'XK' is not the code for an available country. Please refer to the API doc"
    respond = json_answer(said, 400)
    with answering(lambda request: respond), pytest.raises(ProviderRefused, match="not the code for an available"):
        energy_charts().open().forecast("XK", NOW)


def test_a_provider_for_one_zone_serves_no_other() -> None:
    """What the settings say of its place holds, though the source knows more."""
    provider = open_provider("ise", EnergyChartsSettings(zone="DE"), lambda key: NOW)
    with answering(energy_charts().well(NOW)) as asked, pytest.raises(ProviderRefused, match="'FR'"):
        provider.forecast("FR", NOW)
    assert asked.requests == []


def test_it_is_asked_again_after_seven_and_a_half_seconds(clock: Clock) -> None:
    """It gives out a token that often; where it asks for more patience than there is, the question fails."""
    provider = energy_charts().open()
    with answering(energy_charts().well(NOW)):
        provider.forecast("DE", NOW)
        provider.forecast("FR", NOW)
    assert clock.waited == [7.5]
    busy = json_answer("Too many requests", 429, **{"Retry-After": "60"})
    with answering(lambda request: busy) as asked, pytest.raises(ProviderUnavailable) as caught:
        provider.forecast("AT", NOW)
    assert (len(asked.requests), caught.value.retry_after_s) == (1, 60.0)
