"""[site_power]: powers in the units that people write, hours by the clock, and contradictions, all at once."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from greenrun.config.site_power_cap import SitePowerSettings, parse_watts, site_power_problems


@pytest.mark.parametrize(
    ("text", "watts"), [("3 kW", 3000.0), ("2500W", 2500.0), (1800, 1800.0), ("0.2 MW", 200_000.0), ("3.5kw", 3500.0)]
)
def test_a_power_is_written_in_any_unit(text: object, watts: float) -> None:
    assert parse_watts(text) == watts


@pytest.mark.parametrize("text", ["3 kWh", "-3 kW", "much", "", True, None, "1e3", "nan"])
def test_what_is_no_power_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match='write it like "3 kW"'):
        parse_watts(text)


def test_hours_go_before_the_cap_for_all_time() -> None:
    hours = [{"from": "17:00", "to": "20:00", "days": "mon-fri", "cap": "3 kW"}]
    told = SitePowerSettings(cap="6 kW", timezone="Europe/Berlin", hours=hours, host="400 W").in_effect
    assert told is not None
    monday = [told.cap.at(datetime(2026, 3, 2, hour, tzinfo=UTC)) for hour in (15, 16, 18, 19)]
    assert (monday, told.host_w) == ([6000.0, 3000.0, 3000.0, 6000.0], 400.0)


def test_without_a_cap_nothing_is_in_effect_and_hours_alone_cap_nothing_else() -> None:
    assert SitePowerSettings().in_effect is None
    told = SitePowerSettings(timezone="UTC", hours=[{"from": "17:00", "to": "20:00", "cap": 1000}]).in_effect
    assert told is not None
    assert [told.cap.at(datetime(2026, 3, 2, hour, tzinfo=UTC)) for hour in (16, 17, 20)] == [None, 1000.0, None]


def test_two_rows_that_claim_a_time_are_refused() -> None:
    rows = [{"from": "17:00", "to": "20:00", "cap": 1000}, {"from": "19:00", "to": "21:00", "days": "tue", "cap": 900}]
    with pytest.raises(ValidationError, match="two rules claim tue 19:00 to tue 20:00; a time has one cap"):
        SitePowerSettings(timezone="UTC", hours=rows)


def test_contradictions_are_told_together() -> None:
    found = [*site_power_problems({"hours": [{"cap": 1}]}), *site_power_problems({"host": "1 kW"})]
    assert [row.field for row in found] == ["site_power.timezone", "site_power.host"]
