"""[site_power]: the most that all GPUs of the site may draw together, for all time or by the clock."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from greenrun.config.electricity import Clock, Days, Zone
from greenrun.core.accounting.weekly import DAY_MIN, Rule, Weekly, overlaps, parse_clock, parse_days
from greenrun.core.errors import InputProblem
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.providers.settings import Section

_UNITS_W = {"": 1.0, "W": 1.0, "KW": 1e3, "MW": 1e6}


def parse_watts(value: object) -> float:
    """Return the watts that a number, or text like "3 kW", states; raise ValueError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([A-Za-z]*)", str(value).strip(), re.ASCII)
    if isinstance(value, bool) or match is None or match[2].upper() not in _UNITS_W:
        raise ValueError(f'{value!r} is no power; write it like "3 kW", "2500 W" or a number of watts')
    return float(match[1]) * _UNITS_W[match[2].upper()]


Watts = Annotated[float, BeforeValidator(parse_watts), Field(ge=0, le=1e8, allow_inf_nan=False)]


class HoursSettings(Section):
    """One row of `hours`: a cap between two times of the day, which may be the next day's, on some days."""

    model_config = ConfigDict(serialize_by_alias=True)

    start: Clock = Field(default="00:00", alias="from")
    end: Clock = Field(default="24:00", alias="to")
    days: Days = "mon-sun"
    cap: Watts

    @model_validator(mode="after")
    def _begins_within_its_day(self) -> Self:
        if parse_clock(self.start) == DAY_MIN:
            raise ValueError('a cap begins before 24:00; write from = "00:00" and name the day after')
        return self

    @property
    def rule(self) -> Rule:
        """The same as a value of the core."""
        return Rule(
            days=parse_days(self.days), start_min=parse_clock(self.start), end_min=parse_clock(self.end), value=self.cap
        )


class SitePowerSettings(Section):
    """[site_power]; `cap` holds where none of the `hours` does, and nothing is capped where neither is set."""

    cap: Watts | None = None
    hours: tuple[HoursSettings, ...] = ()
    timezone: Zone | None = None
    host: Watts = 0.0

    @model_validator(mode="after")
    def _has_one_cap_at_a_time(self) -> Self:
        if found := overlaps([row.rule for row in self.hours], "cap"):
            raise ValueError("; ".join(found))
        return self

    @property
    def by_the_clock(self) -> Weekly | None:
        """The cap in watts (one for all time is one, too); None without any."""
        if self.cap is None and not self.hours:
            return None
        return Weekly.of([row.rule for row in self.hours], self.cap, ZoneInfo(self.timezone or "UTC"))

    @property
    def in_effect(self) -> SitePower | None:
        """What the planner goes by; None without a cap."""
        cap = self.by_the_clock
        return None if cap is None else SitePower(cap=cap, host_w=self.host)


def site_power_problems(section: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield contradictions in the table [site_power], whose values need not be valid otherwise."""
    if section.get("hours") and section.get("timezone") is None:
        yield _problem("timezone", 'is required here; write it like "Europe/Berlin"')
    if section.get("host") and section.get("cap") is None and not section.get("hours"):
        yield _problem("host", "means something under a cap only; set cap, or hours")


def _problem(name: str, message: str) -> InputProblem:
    return InputProblem(field=f"site_power.{name}", message=message)
