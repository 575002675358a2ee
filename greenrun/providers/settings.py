"""What the settings say of a provider, one model per kind; other sections share the types of its values."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from greenrun.core.durations import format_duration, parse_duration, parse_instant
from greenrun.core.intensity import Accounting, Basis, Signal
from greenrun.paths import expand


def _longer_than_zero(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must be longer than zero")
    return duration


def _written(form: Callable[..., str]) -> PlainSerializer:
    return PlainSerializer(form, return_type=str)


def _expanded(value: object) -> Path:
    path = expand(str(value))
    if "$" in str(path):
        raise ValueError(f"{str(value)!r} names a variable that is not set; set it or write the path out")
    return path.absolute()


Duration = Annotated[timedelta, BeforeValidator(parse_duration), _written(format_duration)]
PositiveDuration = Annotated[Duration, BeforeValidator(lambda value: _longer_than_zero(parse_duration(value)))]
Instant = Annotated[
    datetime, BeforeValidator(parse_instant), _written(lambda at: at.isoformat().replace("+00:00", "Z"))
]
ExpandedPath = Annotated[Path, BeforeValidator(_expanded), _written(str)]


class Section(BaseModel):
    """A table of the settings file: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, coerce_numbers_to_str=True)


class ProviderSettings(Section):
    """What every kind of provider can be told. `zone` is the only one it serves, `label` is shown with its numbers."""

    kind: str
    zone: Annotated[str, Field(min_length=1)] | None = None
    label: str = ""
    attribution: str = ""


class ReplaySettings(Section):
    """A trace on the wall clock: its instant `at` is now, it runs `speed` times as fast and shows `horizon` ahead."""

    at: Instant
    speed: Annotated[float, Field(ge=0.1, le=1_000_000, allow_inf_nan=False)] = 1.0
    horizon: PositiveDuration = timedelta(hours=48)


class FileSettings(ProviderSettings):
    """A CSV file: `start,g_per_kwh`, or `issued_at,start,g_per_kwh` for forecasts as they were issued."""

    kind: Literal["file"] = "file"
    path: ExpandedPath
    replay: ReplaySettings | None = None
    holes: Literal["refuse", "keep"] = "refuse"
    signal: Signal = Signal.AVERAGE
    accounting: Accounting | None = None
    basis: Basis | None = None
