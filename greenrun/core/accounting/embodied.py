"""What the making of GPUs emitted, told by the hour in which one is held."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embodied:
    """Embodied g CO2e per GPU and hour: of models by (a part of) their name, and of all others; None is unknown.

    Where it `is_whole`, the machine around the GPUs is in it.
    """

    source: str
    g_per_gpu_hour: float | None = None
    by_model: Mapping[str, float] = field(default_factory=dict)
    is_whole: bool = False

    def factor(self, model: str | None) -> float | None:
        """Return the g per hour of a GPU of this model, by the longest name in it; None when nothing tells."""
        told = (model or "").lower()
        names = [name for name in self.by_model if name.lower() in told]
        return self.by_model[max(names, key=len)] if names else self.g_per_gpu_hour


def g_per_gpu_hour(total_kg: float, lifetime: timedelta, gpus: int = 1) -> float:
    """Return SCI's M for one GPU and hour: TE x (TiR / EL) x (RR / ToR), for TE = `total_kg` of a machine of `gpus`."""
    return total_kg * 1000 * (HOUR / lifetime) / gpus
