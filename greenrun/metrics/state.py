"""What the metrics are told of the running daemon, which is not in the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenrun import __version__
from greenrun.core.energy import Device
from greenrun.core.intensity import Forecast
from greenrun.core.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When the daemon's parts last did something; None: not yet, or there is no such part."""

    started_at: datetime
    last_tick_at: datetime | None = None
    last_sample_at: datetime | None = None
    forecast_fetched_at: datetime | None = None
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What only the running daemon knows, as functions that answer from memory.

    `requests` counts what each provider was asked, `failures` by (provider, cause) what had no usable answer;
    `plan_changes` how often a new plan moved a waiting job, `put_offs` how often past its first promise.
    """

    now: Callable[[], datetime]
    plan: Callable[[], Plan]
    health: Callable[[], Health]
    forecast: Callable[[], Forecast | None]
    devices: Callable[[], Sequence[Device]]
    requests: Callable[[], Mapping[str, int]] = dict
    failures: Callable[[], Mapping[tuple[str, str], int]] = dict
    plan_changes: Callable[[], int] = int
    put_offs: Callable[[], int] = int
    pue: float = 1.0
    version: str = __version__
    revision: str = "unknown"
