"""What lowered power limits of GPUs saved and cost in a period: a figure of its own, in no other sum."""

from collections.abc import Sequence
from math import sqrt

from greenrun.core.energy.capping_effect import CappingEffect
from greenrun.core.formatting import count_text, duration_text, mass_text
from greenrun.reports.period_models import PowerLimitEffect

HOUR_S = 3600.0


def power_limit_effect(effects: Sequence[CappingEffect]) -> PowerLimitEffect | None:
    """Return the sum of these effects; None where there are none. Of runs whose effect is unknown only the number."""
    if not effects:
        return None
    known = [effect for effect in effects if effect.saved_g is not None]
    measured = [effect.saved_g_uncertainty for effect in known if effect.saved_g_uncertainty is not None]
    is_measured = bool(known) and len(measured) == len(known)
    lost = [effect.time_lost for effect in known if effect.time_lost is not None]
    return PowerLimitEffect(
        runs=len(effects),
        lowered_hours=sum(effect.lowered.total_seconds() for effect in effects) / HOUR_S,
        saved_g=sum(effect.saved_g or 0.0 for effect in known) if known else None,
        saved_g_uncertainty=sqrt(sum(error**2 for error in measured)) if is_measured else None,
        saved_kwh=sum(effect.saved_kwh or 0.0 for effect in known) if known else None,
        time_lost_hours=sum(each.total_seconds() for each in lost) / HOUR_S if known else None,
        unknown_runs=len(effects) - len(known),
        unknown_hours=sum(effect.lowered.total_seconds() for effect in effects if effect.saved_g is None) / HOUR_S,
        why=next((effect.why for effect in effects if effect.why), None),
    )


def power_limit_note(told: PowerLimitEffect | None) -> str:
    """Say it in a sentence; nothing where no limit was lowered."""
    if told is None:
        return ""
    text = f"The power limits of GPUs were lowered in {count_text(told.runs, 'run')}"
    text += f", for {duration_text(told.lowered_hours * HOUR_S)} together"
    if told.saved_g is not None and told.time_lost_hours is not None:
        margin = "" if told.saved_g_uncertainty is None else f" ± {mass_text(told.saved_g_uncertainty)}"
        verb = "saved" if told.saved_g >= 0 else "cost"
        text += f": that {verb} {mass_text(abs(told.saved_g))}{margin} CO2e in these hours, and runs took "
        text += f"{duration_text(told.time_lost_hours * HOUR_S)} longer (in no other figure)"
    if told.unknown_runs:
        text += f"; of {count_text(told.unknown_runs, 'run')} the effect is unknown: {told.why}"
    return f"{text}."
