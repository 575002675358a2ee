"""ENTSO-E: every promise of a provider on the web, the method by hand, and the traps of its documents."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Accounting, Basis, Kind, Series
from greenrun.core.errors import ProviderError, ProviderRefused, ProviderUnavailable
from greenrun.core.reference.emission_factors import Fuel
from greenrun.providers import open_provider
from greenrun.providers.entsoe.areas import AREAS
from greenrun.providers.entsoe.entsoe import FUELS, STORES, EntsoeSettings, expected, generated, rest_of
from tests.providers.conftest import Clock
from tests.providers.entsoe.platform import (
    BEGIN,
    COAL,
    DAY,
    KEY,
    QUARTER,
    WIND,
    document,
    documents,
    entsoe,
    forecast_of,
    history_of,
    quarters,
    question,
    series,
    starts,
    values,
    window,
)
from tests.providers.source import NOW, Respond, Source, answering, json_answer
from tests.providers.web_contract import WebContract, saying
from tests.sampling import examples


class TestEntsoe(WebContract):
    """ENTSO-E keeps every promise."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        """The platform."""
        return entsoe(tmp_path)

    def test_zeros_that_do_not_end_are_no_forecast(self, source: Source) -> None:
        """Its intensities are computed of a mix, so a direct mean of zero is what was generated."""
        with answering(saying(source, [0.0] * 24)):
            assert set(source.open().forecast(source.zone, NOW).series.values) == {0.0}

    @settings(examples(60), suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_whatever_the_bytes_a_series_or_an_error(self, source: Source, data: st.DataObject) -> None:
        """Any body, near to a true one or far from it, to any of the questions."""
        for ask in (forecast_of, history_of):
            change = data.draw(st.binary(max_size=200).map(lambda body: lambda _: body) | st.integers().map(_mutation))
            changed = data.draw(st.sampled_from(["load", "renewable", "mix", "history"]))
            with answering(_changed(source.well(NOW), changed, change)):
                try:
                    found = ask(source)
                except ProviderError:
                    continue
                Series.of(found.id, found.slots)  # raises where it is not valid
                assert all(0 <= slot.intensity_g_per_kwh <= 1000 for slot in found)


def _changed(well: Respond, asked: str, change: Callable[[str], bytes]) -> Respond:
    """Answer one question otherwise."""

    def respond(request: httpx.Request) -> httpx.Response:
        answer = well(request)
        return json_answer(change(answer.text)) if question(request) == asked else answer

    return respond


def _mutation(seed: int) -> Callable[[str], bytes]:
    """Replace a part of a document: a name, a text, or a whole stretch."""
    odd = ["", "0", "-1", "x", "NaN", "9" * 30, "PT1M", "A03", "A02", "B99", "9999-12-31T23:59Z", "0001-01-01T00:00Z"]
    chance = random.Random(seed)

    def change(text: str) -> bytes:
        spans = [found.span(1) for found in re.finditer(r">([^<>]+)<|<(/?[\w.]+)", text) if found[1]]
        first, last = sorted(chance.sample(range(len(text)), 2))
        start, end = chance.choice([*chance.choices(spans, k=3), (first, last)])
        return (text[:start] + chance.choice(odd) + text[end:]).encode()

    return change


# the method


@pytest.mark.parametrize(
    ("basis", "ahead", "past"),
    [
        (Basis.LIFECYCLE, 0.4 * 11 + 0.6 * (0.75 * 820 + 0.25 * 12), 0.75 * 820 + 0.25 * 12),
        (Basis.DIRECT, 0.6 * 0.75 * 760, 0.75 * 760),
    ],
)
def test_the_rest_of_the_load_is_made_as_of_late(tmp_path: Path, basis: Basis, ahead: float, past: float) -> None:
    """Of 100 MW the wind makes 40; of the rest coal makes three quarters and uranium one."""
    source = entsoe(tmp_path, basis)
    with answering(documents()):
        forecast, history = forecast_of(source), history_of(source)
    assert values(forecast) == pytest.approx([ahead] * 8)
    assert values(history) == pytest.approx([past] * 96)
    assert (set(forecast.kinds), set(history.kinds)) == ({Kind.FORECAST}, {Kind.MEASURED})
    assert forecast.id == history.id
    assert (forecast.id.basis, forecast.id.accounting) == (basis, Accounting.PRODUCTION)


def test_it_is_marked_as_greenrun_s_own_work(tmp_path: Path) -> None:
    """The platform publishes no intensities, so what is shown says who computed them, and from what."""
    provider = entsoe(tmp_path).open()
    assert provider.label == "computed by greenrun"
    assert "ENTSO-E Transparency Platform" in provider.attribution
    assert "IPCC" in provider.attribution


MW = st.floats(0, 50_000)


@given(load=st.floats(1, 50_000), wind=MW, sun=MW, mix=st.dictionaries(st.sampled_from(Fuel), MW, min_size=1))
def test_more_wind_never_emits_more(load: float, wind: float, sun: float, mix: dict[Fuel, float]) -> None:
    """A forecast lies between its parts, and falls as the wind grows."""
    if not sum(mix.values()) > 0:
        return

    def said(wind_mw: float) -> float | None:
        renewable = {WIND: {BEGIN: wind_mw}, "B16": {BEGIN: sun}}
        (point,) = expected({BEGIN: load}, renewable, mix, Basis.LIFECYCLE)
        return point.g_per_kwh

    calm, windy = said(wind), said(wind * 1.5)
    if calm == calm and windy == windy:  # NaN where wind and sun are ten times the load
        assert calm is not None
        assert windy is not None
        assert 11 - 1e-6 <= windy <= calm + 1e-6


def test_a_surplus_of_wind_leaves_nothing_to_the_rest() -> None:
    """What exceeds the load is exported; what is generated is wind, and many times the load is a mistake."""
    mix = {Fuel.COAL: 1.0}
    for wind, wanted in ((100.0, 11.0), (400.0, 11.0)):
        assert [p.g_per_kwh for p in expected({BEGIN: 100.0}, {WIND: {BEGIN: wind}}, mix, Basis.LIFECYCLE)] == [wanted]
    (point,) = expected({BEGIN: 100.0}, {WIND: {BEGIN: 1001.0}}, mix, Basis.LIFECYCLE)
    assert point.g_per_kwh != point.g_per_kwh


def test_sun_that_is_not_forecast_stays_in_the_mix() -> None:
    """A kind is never counted twice, and never left out because nobody forecasts it."""
    power = {COAL: {BEGIN: 60.0}, "B16": {BEGIN: 30.0}, WIND: {BEGIN: 500.0}, "B10": {BEGIN: 77.0}}
    assert rest_of(power, {WIND: {}}) == {Fuel.COAL: 60.0, Fuel.SOLAR: 30.0}


def test_a_slot_of_which_one_forecast_is_missing_is_a_hole(tmp_path: Path) -> None:
    """Wind without sun would look dirtier, a load without wind cleaner than it is."""
    wind = series(quarters(8), [40] * 8, WIND)
    sun = series(quarters(8), [1, 1, None, 1, 1, 1, 1, 1], "B16")
    load = document(series(quarters(8), [100, 100, 100, 100, None, 100, 100, 100], side="out"))
    with answering(documents(renewable=document(wind, sun), load=load)):
        found = forecast_of(entsoe(tmp_path))
    assert found.holes() == [(BEGIN + i * QUARTER, BEGIN + (i + 1) * QUARTER) for i in (2, 4)]


def test_a_kind_that_falls_silent_makes_a_hole_unless_it_hardly_counts() -> None:
    """A mix without its coal would look clean; one without its last oil-fired plant is as good as whole."""
    later = BEGIN + QUARTER
    for silent, usual, wanted in ((COAL, 60.0, [BEGIN]), ("B06", 0.5, [BEGIN, later])):
        power = {"B14": {BEGIN: 100.0, later: 100.0}, silent: {BEGIN: usual}}
        assert [point.start for point in generated(power, Basis.LIFECYCLE)] == wanted


def test_pumps_and_batteries_make_no_power() -> None:
    """What they give was made, and counted, before; a plant that draws more than it makes gives nothing."""
    power = {COAL: {BEGIN: 50.0}, "B10": {BEGIN: 900.0}, "B25": {BEGIN: 9.0}, "B04": {BEGIN: -3.0}}
    assert [point.g_per_kwh for point in generated(power, Basis.LIFECYCLE)] == [820.0]


def test_every_kind_of_generation_has_its_fuel() -> None:
    """The platform's list ends with other, B20; waste and other are unknown, and so is a kind to come."""
    known = {f"B{number:02}" for number in range(1, 21)}
    assert known - set(FUELS) - STORES == {"B17", "B20"}
    assert [p.g_per_kwh for p in generated({"B99": {BEGIN: 1.0}}, Basis.LIFECYCLE)] == [700.0]


def test_a_zone_that_does_not_tell_its_mix_has_noforecast_of(tmp_path: Path) -> None:
    """Without the mix the rest of the load could be made of anything."""
    only_wind = document(series(quarters(96, BEGIN - DAY), [99] * 96, WIND))
    with answering(documents(mix=only_wind)), pytest.raises(ProviderUnavailable, match="how DE generated"):
        forecast_of(entsoe(tmp_path))


# the questions


def test_the_questions_name_document_process_area_and_utc(tmp_path: Path) -> None:
    """Wind and sun (A69), load (A65) and the mix (A75), the load by the area that draws it."""
    with answering(entsoe(tmp_path).well(NOW)) as asked:
        forecast_of(entsoe(tmp_path))
    said = [dict(request.url.params) for request in asked.requests]
    assert [(p["documentType"], p["processType"]) for p in said] == [("A69", "A01"), ("A65", "A01"), ("A75", "A16")]
    assert [p.get("in_Domain") or p["outBiddingZone_Domain"] for p in said] == [AREAS["DE"][0]] * 3
    assert "outBiddingZone_Domain" in said[1]
    assert {p["securityToken"] for p in said} == {KEY}
    assert window(asked.requests[0])[0] == BEGIN == starts(asked.requests[0])[0]
    assert {request.url.path for request in asked.requests} == {"/api"}


def test_questions_are_a_second_apart(tmp_path: Path, clock: Clock) -> None:
    """Four hundred in a minute ban the address for ten."""
    with answering(entsoe(tmp_path).well(NOW)):
        forecast_of(entsoe(tmp_path))
    assert clock.waited == [1.0, 1.0]


@pytest.mark.parametrize("body", [f"<x>{KEY}</x>", document(series(quarters(2), [KEY, KEY], WIND))])
def test_the_key_is_in_no_error(tmp_path: Path, body: str) -> None:
    """The key is part of the address, and a source may echo it."""
    for status in (200, 401, 400, 503):
        with answering(lambda request, status=status: json_answer(body, status)):
            with pytest.raises(ProviderError) as caught:
                forecast_of(entsoe(tmp_path))
            assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {getattr(caught.value, 'payload', '')}"


def test_without_a_key_it_does_not_open(tmp_path: Path) -> None:
    """The daemon says at once what is missing."""
    with pytest.raises(ProviderRefused, match="key"):
        open_provider("tp", EntsoeSettings(key_file=tmp_path / "none"), lambda key: NOW)


def _check_character(code: str) -> str:
    """The last character of an Energy Identification Code, of the fifteen before it (EIC Reference Manual)."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
    total = sum(letters.index(letter) * (16 - place) for place, letter in enumerate(code[:15]))
    return letters[36 - (total - 1) % 37]


@pytest.mark.parametrize("zone", AREAS)
def test_the_areas_codes_are_whole(zone: str) -> None:
    """A typing error in a code is seen by its check character."""
    code, _ = AREAS[zone]
    assert (len(code), code[-1]) == (16, _check_character(code))
    assert len({code for code, _ in AREAS.values()}) == len(AREAS)
