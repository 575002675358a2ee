"""Let each counter be scraped at 0 before its first value, so that `increase()` loses nothing of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from prometheus_client.metrics_core import Metric

HELD = timedelta(seconds=15)  # how long a new series is shown as 0: until each of two scrapers has seen it

_Key = tuple[str, tuple[tuple[str, str], ...]]


class FromZero:
    """Holds new series of counters and histograms at 0 for a moment. Those of the first call were there before."""

    def __init__(self) -> None:
        self._shown: set[_Key] | None = None
        self._held: dict[_Key, datetime] = {}  # since when

    def __call__(self, families: Iterable[Metric], now: datetime) -> list[Metric]:
        """Return the families with the samples of new series at 0; what is new now gets its values later."""
        counted = list(families)
        keys = {
            _key(family, row.labels) for family in counted if family.type in ("counter", "histogram")
            for row in family.samples
        }  # fmt: skip
        if self._shown is None:
            self._shown = keys
        self._held = {key: self._held.get(key, now) for key in keys - self._shown}
        over = {key for key, since in self._held.items() if abs(now - since) >= HELD}
        self._shown |= over
        for key in over:
            del self._held[key]
        if self._held:
            for family in counted:
                self._hold(family)
        return counted

    def _hold(self, family: Metric) -> None:
        if family.type in ("counter", "histogram"):
            family.samples = [
                row._replace(value=0.0, exemplar=None) if _key(family, row.labels) in self._held else row
                for row in family.samples
            ]


def _key(family: Metric, labels: dict[str, str]) -> _Key:
    return family.name, tuple(sorted((name, value) for name, value in labels.items() if name != "le"))
