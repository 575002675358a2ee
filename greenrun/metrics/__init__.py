"""The Prometheus metrics, computed at each scrape from the store and the daemon's memory."""

from greenrun.metrics.collector import LINGER, MAX_PROJECTS, MAX_RUNNING_JOBS, TOTALS, MetricsCollector, registry_of
from greenrun.metrics.state import Health, LiveState, Room

__all__ = [
    "LINGER",
    "MAX_PROJECTS",
    "MAX_RUNNING_JOBS",
    "TOTALS",
    "Health",
    "LiveState",
    "MetricsCollector",
    "Room",
    "registry_of",
]
