"""What a site's power cap leaves when a plan is carried out: more may be drawn by then than it was made with."""

from datetime import datetime

from greenrun.core.jobs.reasons import Reason
from greenrun.core.planning.capacity import home_of, pools_of, timelines
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.model import Placement, Plan, Running, Situation
from greenrun.core.planning.power_cap.site_power import MW, SitePower, power_reason

JUST_THEN_S = 0.5


class PowerRoom:
    """The power that is left beside what runs, as long as the plan lets it run, and beside what was taken since."""

    def __init__(self, power: Timeline, site: SitePower, situation: Situation, plan: Plan) -> None:
        self._power, self._site, self._situation = power, site, situation
        self._pools = {pool.name: pool for pool in pools_of(situation)}
        self._jobs = {job.id: job for job in situation.jobs}
        homes = home_of(pools_of(situation))
        for run in situation.running:
            place = plan.placement(run.job.id) if run.devices and run.devices[0] in homes else None
            for begin, end in place.intervals if place else ():
                self._power.reserve(begin.timestamp(), end.timestamp(), site.need_mw(run.job, run.devices))

    @classmethod
    def of(cls, situation: Situation, plan: Plan) -> "PowerRoom | None":
        """Return what is left now; None without a cap."""
        power = timelines(situation, pools_of(situation))[0].power if situation.power else None
        return None if power is None or situation.power is None else cls(power, situation.power, situation, plan)

    def take(self, place: Placement) -> bool:
        """Take what a queued job needs from now until the end of its first interval; False where there is not so much.

        What it may do after that, later plans decide.
        """
        job, pool = self._jobs.get(place.job_id), self._pools.get(place.pool)
        mw = self._site.need_mw(job, pool.devices) if job and pool else 0
        now_s, end_s = self._situation.now.timestamp(), place.intervals[0][1].timestamp()
        if not mw or end_s <= now_s:
            return True
        if not self._power.is_free(now_s, end_s, mw):
            return False
        self._power.reserve(now_s, end_s, mw)
        return True

    def why_short(self, run: Running, at: datetime, until: datetime) -> Reason | None:
        """Return why a job that runs is suspended until an instant, where there is not enough power at `at`; else None.

        The plan does not let it run then.
        """
        mw, at_s = self._site.need_mw(run.job, run.devices), at.timestamp()
        if not mw or self._power.is_free(at_s, at_s + JUST_THEN_S, mw):
            return None
        left_mw = min((free for _, _, free in self._power.free_between(at_s, at_s + JUST_THEN_S)), default=0)
        return power_reason(self._site, needs_w=mw / MW, left_w=left_mw / MW, at=at, until=until, runs=True)
