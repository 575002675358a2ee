"""Zones are known by form, and countries by name."""

import pytest

from greenrun.core.reference.countries import COUNTRIES
from greenrun.core.reference.zones import is_zone, nearest_zone
from greenrun.providers import find_kind
from greenrun.providers.kinds import BUILT_IN


def test_every_country_is_a_zone_with_a_name_of_its_own() -> None:
    assert [code for code in COUNTRIES if not is_zone(code)] == []
    assert len(set(COUNTRIES.values())) == len(COUNTRIES)
    assert [name for name in COUNTRIES.values() if name != name.strip() or not name.isprintable() or not name] == []


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_zones_of_a_kind_are_zones_that_the_settings_accept(kind: str) -> None:
    assert [zone for zone in find_kind(kind).zones if not is_zone(zone)] == []


@pytest.mark.parametrize(("said", "meant"), [("UK", "GB"), ("gb", "GB"), ("germany", "DE"), ("DK1", "DK-DK1")])
def test_what_people_write_is_understood(said: str, meant: str) -> None:
    assert nearest_zone(said) == meant
