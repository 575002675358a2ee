"""What a store in memory says of watched runs: nothing, for a simulated one tells no work and no meter tells of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from greenrun.core.jobs.anomalies import Sign, Spell
from greenrun.core.jobs.job import Anomaly


class UnwatchedRuns:
    """The part of `greenrun.engine.ports.Store` under what is watched in runs."""

    def keep_work(self, run_id: int, *, work: float, unit: str, at: datetime) -> bool:
        """Keep nothing."""
        return False

    def note_ignored_work(self, run_id: int, why: str, *, now: datetime) -> bool:
        """Note nothing."""
        return False

    def note_anomaly(self, run_id: int, sign: Sign, anomaly: Anomaly, *, stop: bool, now: datetime) -> bool:
        """Note nothing."""
        return False

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Spell]]:
        """Return none."""
        return {}
