"""The Prometheus metrics, computed at each scrape from the store and the daemon's memory."""

from greenrun.metrics.collector import LINGER, MAX_PROJECTS, MAX_RUNNING_JOBS, TOTALS, MetricsCollector, registry_of
from greenrun.metrics.state import DiskUsage, Health, LiveState

__all__ = [
    "LINGER",
    "MAX_PROJECTS",
    "MAX_RUNNING_JOBS",
    "TOTALS",
    "DiskUsage",
    "Health",
    "LiveState",
    "MetricsCollector",
    "registry_of",
]
