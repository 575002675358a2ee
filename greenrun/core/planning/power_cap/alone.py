"""Jobs that a site's power cap leaves no place even if they were alone: never, or not within their own limits."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from greenrun.core.formatting import count_text, instant_text, power_text
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.capacity import Pool, power_line
from greenrun.core.planning.model import Situation
from greenrun.core.planning.power_cap.site_power import MW, UNCAPPED_MW, SitePower
from greenrun.core.planning.preemption.placing import SHORTEST_S, Terms, spans_around

SLACK = timedelta(seconds=1)


class Alone:
    """A site with nothing in use: when jobs could run there."""

    def __init__(self, situation: Situation, site: SitePower, pools: Sequence[Pool]) -> None:
        self._situation, self._site = situation, site
        self._pools = [pool for pool in pools if pool.devices]
        self._line, self._until_s = power_line(situation, site)
        self._ends: dict[tuple[int, Terms, bool], float | None] = {}

    def never_fits(self, job: Job) -> Reason | None:
        """Return why a job can run at no time, on no pool that suits it; None where it can, or draws nothing."""
        if not job.spec.gpus:
            return None
        if any(self._end_s(job, pool) is not None for pool in self._suiting(job)) or not self._suiting(job):
            return None
        return because(ReasonCode.TOO_MUCH_POWER, needs=self._needs(job), cap=self._most(job))

    def why_late(self, job: Job) -> str | None:
        """Return why a job cannot end within its own limit although GPUs would let it; None where it can."""
        limit = job.own_limit
        ready = max(job.earliest_start, self._situation.now)
        if not job.spec.gpus or limit is None or ready + job.remaining > limit + SLACK:
            return None
        ends_s = [end_s for pool in self._suiting(job) if (end_s := self._end_s(job, pool)) is not None]
        end = datetime.fromtimestamp(min(ends_s), UTC) if ends_s else None
        if end is None or end <= limit + SLACK:
            return None
        return (
            f"the job cannot end by {instant_text(limit)}: it {self._needs(job)}, which the site's power cap does not"
            f" leave it for long enough before that, so that it ends at {instant_text(end)} at the soonest"
        )

    def _suiting(self, job: Job) -> list[Pool]:
        return [pool for pool in self._pools if pool.suits(job)]

    def _end_s(self, job: Job, pool: Pool) -> float | None:
        """Return when a job alone could end on a pool at the soonest; None where it never can."""
        spec = job.spec
        begins_s = max(job.earliest_start, self._situation.now).timestamp()
        length_s = job.remaining.total_seconds()
        min_run_s, restart_s = min(spec.min_run.total_seconds(), length_s), spec.restart_cost.total_seconds()
        terms = Terms(length_s, min_run_s, restart_s, False, 0.0, begins_s)
        key = self._site.need_mw(job, pool.devices), terms, spec.interruptible and not spec.start_now
        if key not in self._ends:
            self._ends[key] = self._soonest_end_s(*key)
        return self._ends[key]

    def _soonest_end_s(self, mw: int, terms: Terms, is_divisible: bool) -> float | None:
        begins, ends = self._line.blocked(mw)
        beyond = (np.append(begins, self._until_s), np.append(ends, np.inf))
        end_s = (self._line.first_fit(terms.begins_s, terms.length_s, mw) or np.inf) + terms.length_s
        if is_divisible and (spans := spans_around(beyond, terms)):
            end_s = min(end_s, spans[-1][1])
        is_cut = is_divisible and any(
            until_s - from_s >= terms.min_run_s + terms.restart_s + SHORTEST_S
            for from_s, until_s in zip(ends[:-1].tolist(), begins[1:].tolist(), strict=True)
        )
        return float(end_s) if end_s <= self._until_s or is_cut else None

    def _needs(self, job: Job) -> str:
        """Say what a job draws and why that is thought."""
        needs_w = min(self._site.watts_of(job, pool.devices) for pool in self._suiting(job))
        known = "" if job.spec.power_w is not None else ", the limit of its GPUs, as nothing else is known of it"
        return f"is expected to draw {power_text(needs_w)} with {count_text(job.spec.gpus, 'GPU')}{known}"

    def _most(self, job: Job) -> str:
        """Say what is left for one job at the most."""
        starts_s, left_mw = self._line.free_steps()
        most = max((mw for at_s, mw in zip(starts_s, left_mw, strict=True) if at_s < self._until_s), default=0)
        idle = min((min(map(self._site.idle_of, pool.devices)) for pool in self._suiting(job)), default=0.0)
        left = "any power" if most >= UNCAPPED_MW else power_text(most / MW + idle * job.spec.gpus)
        return f"the site's power cap leaves at most {left} for one job, beside its host and idle GPUs"
