"""[electricity]: the price of a kWh: by the time of day, from a file, or from the day-ahead market."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from greenrun.core.accounting.weekly import DAY_MIN, Rule, Weekly, first_gap, overlaps, parse_clock, parse_days
from greenrun.core.errors import InputProblem
from greenrun.providers.settings import ExpandedPath, PositiveDuration, Section, Url

WAYS = "price (with or without tariff), file, or kind"

Price = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]


def _clock(text: str) -> str:
    parse_clock(text)
    return text


def _days(text: str) -> str:
    parse_days(text)
    return text


def _currency(code: str) -> str:
    if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        raise ValueError(f'{code!r} is no currency; write it like "EUR"')
    return code


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:  # a folder, a path, an unknown name
        raise ValueError(f'{name!r} is no time zone; write it like "Europe/Berlin"') from exc
    return name


Clock = Annotated[str, AfterValidator(_clock)]
Days = Annotated[str, AfterValidator(_days)]
Zone = Annotated[str, AfterValidator(_zone)]


class RuleSettings(Section):
    """One row of `tariff`: a price between two times of the day, which may be the next day's, on some days."""

    model_config = ConfigDict(serialize_by_alias=True)

    start: Clock = Field(default="00:00", alias="from")
    end: Clock = Field(default="24:00", alias="to")
    days: Days = "mon-sun"
    price: Price

    @model_validator(mode="after")
    def _begins_within_its_day(self) -> Self:
        if parse_clock(self.start) == DAY_MIN:
            raise ValueError('a price begins before 24:00; write from = "00:00" and name the day after')
        return self

    @property
    def rule(self) -> Rule:
        """The same as a value of the core."""
        return Rule(
            days=parse_days(self.days), start_min=parse_clock(self.start), end_min=parse_clock(self.end),
            value=self.price,
        )  # fmt: skip


class ElectricitySettings(Section):
    """[electricity]; prices are per kWh, in `currency`. Without any, costs are unknown."""

    currency: Annotated[str, AfterValidator(_currency)] | None = None
    price: Price | None = None
    tariff: tuple[RuleSettings, ...] = ()
    timezone: Zone | None = None
    file: ExpandedPath | None = None
    kind: Literal["energy_charts"] | None = None
    bidding_zone: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    url: Url = "https://api.energy-charts.info"
    timeout: PositiveDuration = timedelta(seconds=20)
    plus: Price = 0.0
    times: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _has_one_price_at_a_time(self) -> Self:
        rules = [row.rule for row in self.tariff]
        found = overlaps(rules)
        gap = first_gap(rules) if rules and self.price is None else None
        if gap:
            found.append(f"no rule sets the price for {gap}; set price for the rest of the week")
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def by_the_clock(self) -> Weekly | None:
        """The tariff (a fixed price is one, too); None where prices come from elsewhere or are not set."""
        if self.price is None and not self.tariff:
            return None
        zone = ZoneInfo(self.timezone or "UTC")
        return Weekly.of([row.rule for row in self.tariff], self.price, zone)


def electricity_problems(section: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield contradictions in the table [electricity], whose values need not be valid otherwise."""
    ways = [name for name in ("price", "file", "kind") if section.get(name) is not None]
    if section.get("tariff") and "price" not in ways:
        ways.insert(0, "tariff")
    if len(ways) > 1:
        yield _problem(ways[-1], f"{' and '.join(ways)} are set together; electricity has one price: {WAYS}")
    is_series = "file" in ways or "kind" in ways
    needs = {
        "currency": bool(ways) and "kind" not in ways,
        "timezone": bool(section.get("tariff")),
        "bidding_zone": "kind" in ways,
    }
    for name, is_needed in needs.items():
        if is_needed and section.get(name) is None:
            yield _problem(name, f"is required here; write it like {_EXAMPLES[name]}")
    for name in ("plus", "times"):
        if section.get(name) is not None and not is_series:
            yield _problem(name, "means something for a file or a kind only; leave it out, or put it into the price")
    if section.get("bidding_zone") is not None and "kind" not in ways:
        yield _problem("bidding_zone", 'means something for kind = "energy_charts" only')
    if "kind" in ways and section.get("currency") not in (None, "EUR"):
        yield _problem("currency", 'market prices are in EUR; set "EUR" or leave it out')
    if section.get("currency") is not None and not ways:
        yield _problem("currency", f"no price is set; set {WAYS}")


_EXAMPLES = {"currency": '"EUR"', "timezone": '"Europe/Berlin"', "bidding_zone": '"DE-LU"'}


def _problem(name: str, message: str) -> InputProblem:
    return InputProblem(field=f"electricity.{name}", message=message)
