"""[accounting]: market-based contracts, embodied emissions, transmission losses and water."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from greenrun.core.accounting.embodied import Embodied, g_per_gpu_hour
from greenrun.core.accounting.market_based import Contract, sold_twice
from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.errors import InputProblem
from greenrun.core.formatting import exact_duration_text, iso_text
from greenrun.core.parsing import parse_duration, parse_instant
from greenrun.providers.settings import ExpandedPath, Section

YEAR = timedelta(days=365)
HIGHEST_G_PER_HOUR = 5_000.0

Grams = Annotated[float, Field(ge=0, le=5_000, allow_inf_nan=False)]
Source = Annotated[str, Field(min_length=1, max_length=200)]
Instrument = Annotated[str, Field(min_length=1, max_length=100)]


def _day(value: object) -> datetime:
    """Return the instant that ISO 8601 text states; a day alone begins at midnight UTC."""
    if isinstance(value, str) and len(value.strip()) == 10:
        try:
            value = date.fromisoformat(value.strip())
        except ValueError as exc:
            raise ValueError(f"{value!r} is no day; write it like 2026-01-01") from exc
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return parse_instant(value)


def _lifetime(value: object) -> timedelta:
    """Return a duration, which may be in years of 365 days: "4y"."""
    years = str(value).strip().removesuffix("y")
    if str(value).strip().endswith("y") and years.replace(".", "", 1).isdecimal():
        value = float(years) * YEAR.total_seconds()
    lifetime = parse_duration(value)
    if not lifetime:
        raise ValueError("must be longer than zero")
    return lifetime


def _factors(value: object) -> object:
    """Return a number, or one for each model, all of them 0 or more."""
    given = list(value.values()) if isinstance(value, dict) else [value]
    if not given or not all(row is None or _is_amount(row) for row in given):
        raise ValueError(f'{value!r} is not grams per hour; write 27.0, or by model {{ "H100" = 35.0 }}')
    return value


def _is_amount(value: object) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= float(str(value)) <= HIGHEST_G_PER_HOUR
    except ValueError:
        return False


Day = Annotated[
    datetime,
    BeforeValidator(_day),
    PlainSerializer(iso_text, return_type=str),
]
Factors = Annotated[float | dict[str, float] | None, BeforeValidator(_factors)]
Lifetime = Annotated[timedelta, BeforeValidator(_lifetime), PlainSerializer(exact_duration_text, return_type=str)]


class ContractSettings(Section):
    """One row of `market`: the g/kWh of a contract, its period, and the share of the energy that it covers."""

    model_config = ConfigDict(serialize_by_alias=True)

    start: Day = Field(alias="from")
    end: Day = Field(alias="to")
    g_per_kwh: Grams
    source: Source
    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    instrument: Instrument | None = None

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.end <= self.start:
            raise ValueError("`to` must be later than `from`")
        return self

    @property
    def contract(self) -> Contract:
        """The same as a value of the core."""
        factors = Steps.of([Span(self.start, self.end, self.g_per_kwh)])
        return Contract(source=self.source, factors=factors, share=self.share, instrument=self.instrument)


class EmbodiedSettings(Section):
    """[accounting.embodied]: grams per GPU and hour, for all or by model; or a total for so many GPUs' lifetime."""

    source: Source
    g_per_gpu_hour: Factors = None
    total_kg: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    lifetime: Lifetime | None = None
    gpus: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _is_given_in_one_way(self) -> Self:
        is_whole = self.total_kg is not None or self.lifetime is not None
        if is_whole == (self.g_per_gpu_hour is not None):
            raise ValueError("set either g_per_gpu_hour, or total_kg and lifetime")
        if is_whole and (self.total_kg is None or self.lifetime is None):
            raise ValueError("total_kg and lifetime belong together; set both")
        return self

    @property
    def embodied(self) -> Embodied:
        """The same as a value of the core."""
        if self.total_kg is not None and self.lifetime is not None:
            per_hour = g_per_gpu_hour(self.total_kg, self.lifetime, self.gpus)
            return Embodied(source=self.source, g_per_gpu_hour=per_hour, is_whole=True)
        if isinstance(self.g_per_gpu_hour, dict):
            return Embodied(source=self.source, by_model=self.g_per_gpu_hour)
        return Embodied(source=self.source, g_per_gpu_hour=self.g_per_gpu_hour)


class AccountingSettings(Section):
    """[accounting]; what is not set is not in any report."""

    market: tuple[ContractSettings, ...] = ()
    market_file: ExpandedPath | None = None
    market_source: Source | None = None
    market_instrument: Instrument | None = None
    residual_g_per_kwh: Grams | None = None
    embodied: EmbodiedSettings | None = None
    td_loss_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    water_l_per_kwh: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _sells_nothing_twice(self) -> Self:
        at = sold_twice([row.contract for row in self.market])
        if at is not None:
            raise ValueError(f"at {at.isoformat()} the contracts of `market` cover more than all energy; lower a share")
        return self


def accounting_problems(section: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield contradictions in the table [accounting], whose values need not be valid otherwise."""
    has_file, has_source = (section.get(name) is not None for name in ("market_file", "market_source"))
    if has_file and section.get("market"):
        yield _problem("market_file", "market and market_file are both set; use one of them")
    if has_file and not has_source:
        yield _problem("market_source", 'is required with market_file; say what contract it is, like "PPA Windpark X"')
    if section.get("market_instrument") is not None and not has_file:
        yield _problem("market_instrument", "means something with market_file only; each row of market has its own")
    if has_source and not has_file:
        yield _problem("market_source", "means something with market_file only; each row of market has its own source")


def _problem(name: str, message: str) -> InputProblem:
    return InputProblem(field=f"accounting.{name}", message=message)
