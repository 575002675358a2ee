"""What each account has used of the GPUs, as fair share counts it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from greenrun.core.energy.gpu_parts import weight_of
from greenrun.core.jobs.job import Job, Run
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.engine.ports import RunStore

_COUNTED = 6  # half-lives: what lies further back counts for less than 2 %


class PastUse:
    """Counts decayed GPU-seconds by account. It is asked only while several accounts wait, and reads runs only then."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._used_s: dict[str, float] = {}  # as it counts at `_at`, of runs that have ended
        self._at: datetime | None = None
        self._last_id = 0  # of the runs that are counted, or were live at the last look
        self._live: frozenset[int] = frozenset()
        self._shares: Shares | None = None

    def used_s(
        self,
        queued: Iterable[Job],
        live: Collection[tuple[Run, Job]],
        shares: Shares,
        now: datetime,
        expected_end: Callable[[Run, Job], datetime],
    ) -> Mapping[str, float]:
        """Return it by account, with what is still expected of live runs; nothing unless several accounts wait."""
        accounts = {shares.account(job.user, job.spec.project) for job in queued}
        if len(accounts) < 2:
            return {}
        self._look(live, shares, now)
        found = dict(self._used_s)
        for run, job in live:
            account = shares.account(job.user, job.spec.project)
            begun = shares.decayed_s(run.started_at or run.claimed_at, now, now)
            left_s = max(0.0, (expected_end(run, job) - now).total_seconds())
            found[account] = found.get(account, 0.0) + weight_of(run.devices) * (begun + left_s)
        return found

    def _look(self, live: Collection[tuple[Run, Job]], shares: Shares, now: datetime) -> None:
        """Count the runs that have ended since the last look."""
        if self._at is None or shares != self._shares or now < self._at:
            self._used_s, self._last_id, self._live, self._shares = {}, 0, frozenset(), shares
        elif self._used_s:
            factor = shares.decay(now - self._at)
            self._used_s = {account: used_s * factor for account, used_s in self._used_s.items()}
        self._at = now
        alive = frozenset(run.id for run, _ in live)
        gone = self._live - alive
        ended = self._runs.gpu_time(after=self._last_id, among=gone, since=now - _COUNTED * shares.half_life)
        for row in ended:
            account = shares.account(row.user, row.project)
            used_s = row.gpus * shares.decayed_s(row.start, row.end, now)
            self._used_s[account] = self._used_s.get(account, 0.0) + used_s
        self._live = alive
        self._last_id = max((self._last_id, *alive, *(row.run_id for row in ended)))
