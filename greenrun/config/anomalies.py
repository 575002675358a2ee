"""[anomalies]: when a run deviates from what is expected of it."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from greenrun.core.formatting import exact_duration_text
from greenrun.core.jobs.runs.anomalies import Limits
from greenrun.core.parsing import parse_duration
from greenrun.providers.settings import Section

NEVER = "never"
LONGEST = timedelta(days=7)  # evidence of so long is kept in memory


def _parsed(value: object) -> timedelta | None:
    if value is None or value == NEVER:
        return None
    duration = parse_duration(value)
    if duration > LONGEST:
        raise ValueError(f'must be at most {exact_duration_text(LONGEST)}; "never" turns the rule off')
    return duration or None


def _written(duration: timedelta | None) -> str:
    return NEVER if duration is None else exact_duration_text(duration)


# A duration that may be "never" or 0, which turns the rule off.
OptionalDuration = Annotated[
    timedelta | None, BeforeValidator(_parsed), PlainSerializer(_written, return_type=str, when_used="always")
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Times = Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]


class AnomalySettings(Section):
    """[anomalies]; their defaults are those of the rules."""

    gpu_idle: OptionalDuration = Limits().gpu_idle
    gpu_idle_below: Share = Limits().gpu_idle_below
    power_off: OptionalDuration = Limits().power_off
    power_off_below: Share = Limits().power_off_below
    power_off_above: Times = Limits().power_off_above
    stuck: OptionalDuration = Limits().stuck
    stuck_intervals: Times = Limits().stuck_intervals

    @property
    def limits(self) -> Limits:
        """The limits as the rules take them."""
        return Limits(**{name: getattr(self, name) for name in type(self).model_fields})
