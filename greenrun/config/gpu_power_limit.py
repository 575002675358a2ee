"""[gpu_power_limit]: whether and when the power limits of GPUs are lowered for jobs that allow it."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from greenrun.core.energy.power_limit import PowerCap, parse_power_cap, parse_threshold
from greenrun.providers.settings import Duration, Section

if TYPE_CHECKING:
    from greenrun.engine.power_limits import PowerLimitSettings


def _cap(text: str) -> str:
    return str(parse_power_cap(text)) if text else ""


def _threshold(text: str) -> str:
    return str(parse_threshold(text))


class GpuPowerLimitSettings(Section):
    """[gpu_power_limit]; `default` is for jobs that do not say, and "" or "none" leaves theirs alone."""

    enabled: bool = True
    default: Annotated[str, AfterValidator(_cap)] = ""
    dirty_above: Annotated[str, AfterValidator(_threshold)] = "mean"
    change_every: Duration = timedelta(minutes=15)

    @property
    def default_cap(self) -> PowerCap | None:
        """What jobs that do not say allow; None where that is nothing."""
        cap = parse_power_cap(self.default) if self.default and self.enabled else None
        return None if cap is None or cap.is_none else cap

    @property
    def in_effect(self) -> "PowerLimitSettings":
        """What the engine goes by; it is loaded here, since who made a mistake in the settings is told without it."""
        from greenrun.engine.power_limits import PowerLimitSettings

        return PowerLimitSettings(
            is_on=self.enabled, above=parse_threshold(self.dirty_above), change_every=self.change_every
        )
