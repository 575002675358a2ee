"""A yearly mean is served as the estimate that it is, for places it is known of, and never as a measurement."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from greenrun.core.carbon.intensity import Accounting, Basis, FallbackLevel, Kind
from greenrun.core.errors import ProviderRefused
from greenrun.core.reference.zones import COUNTRIES
from greenrun.providers import Provider, open_provider
from greenrun.providers.static import StaticSettings, yearly_means
from tests.providers.contract import Case, ProviderContract

NOW = datetime(2026, 3, 29, 22, 40, tzinfo=UTC)
COURSE = (*(1.2,) * 8, *(0.7,) * 8, *(1.1,) * 8)


def opened(**settings: object) -> Provider:
    return open_provider("usual", StaticSettings.model_validate(settings), lambda key: NOW)


def of_a_country() -> Case:
    """The packaged mean of a country."""
    return Case(provider=opened(), zone="DE", now=NOW, has_history=False, fallback_level=FallbackLevel.STATIC)


def of_ones_own() -> Case:
    """A number and a course of one's own, for one zone."""
    provider = opened(zone="US-CAL-CISO", g_per_kwh=250, profile=COURSE)
    return Case(provider=provider, zone="US-CAL-CISO", now=NOW, has_history=False, fallback_level=FallbackLevel.STATIC)


class TestStatic(ProviderContract):
    """It keeps every promise of a provider."""

    @pytest.fixture(params=[of_a_country, of_ones_own], ids=lambda form: form.__name__)
    def case(self, request: pytest.FixtureRequest) -> Case:
        """One form of it."""
        made: Case = request.param()
        return made


@given(minutes=st.integers(0, 10**7))
def test_every_hour_is_an_estimate_in_the_course_of_the_day_and_none_is_missing(minutes: int) -> None:
    now = NOW + timedelta(minutes=minutes)
    series = opened(g_per_kwh=200.0, profile=COURSE).forecast("SYNTHETIC", now).series
    assert {slot.kind for slot in series} == {Kind.ESTIMATED}
    assert [slot.intensity_g_per_kwh for slot in series] == [200.0 * COURSE[slot.start.hour] for slot in series]
    assert (series.holes(), series.end) == ([], series.slots[0].start + timedelta(hours=72))


def test_the_mean_over_a_day_is_the_yearly_mean() -> None:
    series = opened(g_per_kwh=200.0, profile=COURSE).forecast("GB", NOW).series
    assert series.mean(NOW, NOW + timedelta(days=1)) == pytest.approx(200.0)


def test_a_packaged_mean_says_whose_it_is_and_what_it_counts() -> None:
    provider = opened()
    told = provider.forecast("US", NOW).series
    assert (told.values[0], told.id.accounting, told.id.basis) == (383.55, Accounting.PRODUCTION, Basis.LIFECYCLE)
    assert "Ember" in provider.attribution
    assert "CC BY 4.0" in provider.attribution
    assert provider.zones["US"] == "United States"


def test_one_s_own_number_counts_what_its_owner_says() -> None:
    provider = opened(g_per_kwh=90, basis="direct", attribution="my utility")
    told = provider.forecast("GB:13", NOW).series.id
    assert (told.accounting, told.basis, provider.attribution) == (None, Basis.DIRECT, "my utility")


def test_the_mean_of_a_country_is_not_that_of_its_parts() -> None:
    with pytest.raises(ProviderRefused, match=r"no yearly mean of US-CAL-CISO \(US's, 383\.55, .* set g_per_kwh"):
        opened().forecast("US-CAL-CISO", NOW)


def test_a_profile_too_steep_for_a_packaged_mean_is_refused() -> None:
    with pytest.raises(ProviderRefused, match="DE: profile makes 8259 g/kWh"):
        opened(g_per_kwh=None, profile=[24.0] + [0.0] * 23, zone="DE").forecast("DE", NOW)


def test_it_settles_nothing() -> None:
    with pytest.raises(ProviderRefused, match="a yearly mean is no measurement"):
        opened().history("GB", NOW, NOW, NOW)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"profile": [1.0] * 23}, "profile has 23 values; write 24"),
        ({"profile": [2.0] * 24}, "profile has the mean 2; divide"),
        ({"basis": "direct"}, "describe your own g_per_kwh"),
        ({"profile": [1.0], "basis": "direct"}, "profile has 1 values.*describe your own"),
        ({"profile": [-1.0] + [1.0] * 23}, "profile.0"),
        ({"g_per_kwh": 2500}, "g_per_kwh"),
        ({"g_per_kwh": 0}, "g_per_kwh is 0, which is not believed"),
        ({"g_per_kwh": 0, "basis": "direct"}, "g_per_kwh is 0, which is not believed"),
        ({"g_per_kwh": 0, "basis": "lifecycle", "profile": COURSE}, "g_per_kwh is 0, which is not believed"),
        ({"g_per_kwh": 4.9, "basis": "lifecycle"}, "g_per_kwh is 4.9, below 5 g/kWh"),
        ({"g_per_kwh": 0.0001, "basis": "lifecycle"}, "g_per_kwh is 0.0001, below 5 g/kWh"),
        ({"g_per_kwh": 6, "basis": "lifecycle", "profile": COURSE}, "profile makes 4.2 g/kWh of an hour, below 5"),
        ({"g_per_kwh": 200, "basis": "lifecycle", "profile": [0.0] + [24 / 23] * 23}, "profile makes 0 g/kWh"),
        ({"g_per_kwh": 200, "profile": [0.0] * 12 + [2.0] * 12}, "profile has zeros for so long"),
        ({"g_per_kwh": 500, "profile": [24.0] + [0.0] * 23}, "profile makes 12000 g/kWh.*lower"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StaticSettings.model_validate(settings)
    assert re.search(told, str(caught.value))


@pytest.mark.parametrize(
    "settings",
    [
        {"g_per_kwh": 5, "basis": "lifecycle"},
        {"g_per_kwh": 4},  # what it counts is not said
        {"g_per_kwh": 0.5, "basis": "direct"},
        {"g_per_kwh": 200, "basis": "direct", "profile": [0.0] * 8 + [1.5] * 16},
    ],
)
def test_a_low_number_that_is_believed_is_answered_whole_at_every_hour(settings: dict[str, object]) -> None:
    provider = opened(**settings)
    for hour in range(24):
        assert len(provider.forecast("DE", NOW + timedelta(hours=hour)).series) == 72


def test_the_packaged_means_are_of_countries_and_can_be_true() -> None:
    means = yearly_means()
    assert set(means) <= set(COUNTRIES)
    assert {mean.year for mean in means.values()} == {2022, 2023, 2024}
    assert all(10 < mean.g_per_kwh < 1400 for mean in means.values())
