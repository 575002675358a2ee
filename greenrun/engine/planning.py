"""The plan in force: when it has to be made again, how jobs are put into it meanwhile, and where it is kept.

The longer the queue, the longer it takes to plan, so whoever drives the engine may do that beside ticks: take a
situation (`Engine.situation`), have `make` plan it, and `take_over` what came out. Jobs that were put in meanwhile are
put in again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from itertools import chain

from greenrun.clock import stopwatch
from greenrun.core.histogram import PLAN_DURATION, Histogram
from greenrun.core.jobs.job import Job, State
from greenrun.core.jobs.reasons import Reason
from greenrun.core.planning.admission import SHORT, admit_all, insert_each, insert_groups
from greenrun.core.planning.insertion import OpenPlan, Row, is_provisional, without_jobs
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.power_cap.planned_power import PlannedPower, planned_power
from greenrun.core.planning.precedence.fair_share import turn_text
from greenrun.core.planning.stability import has_run_since, needs_replanning, terms
from greenrun.engine.ports import PlanStore, ReasonStore


class Urgency(IntEnum):
    """Whether and how soon a plan has to be made.

    At LEISURE while the present one holds, SOON where others may have to move for what was put in, and PROMPT where it
    does not hold any more.
    """

    NONE = 0
    LEISURE = 1
    SOON = 2
    PROMPT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Jobs that can be accepted as they are, under the ids that they would be given, each with its place.

    `planned` is a plan of `situation`, which has the jobs; None where they were put into the plan in force. With
    `are_known` they replace jobs of the same ids.
    """

    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    situation: Situation
    planned: Plan | None = None
    are_known: bool = False


def together(admitted: Sequence[Admission]) -> Admission:
    """Return admissions of one `insert` (one at least) as a single one."""
    jobs = tuple(chain.from_iterable(each.jobs for each in admitted))
    rows = tuple(chain.from_iterable(each.rows for each in admitted))
    return Admission(jobs=jobs, rows=rows, situation=admitted[0].situation)


class PlanInForce:
    """The last plan, the situation that it was made for, and the jobs that were put in since.

    `wanted` is how urgent a new plan is because of what was put in or taken out. `changes` counts the jobs that a new
    plan has moved, `put_offs` how often one was put off, and `durations` is how long it took to plan.
    """

    def __init__(self, jobs: ReasonStore, plans: PlanStore, *, is_watched: bool) -> None:
        self._jobs, self._plans, self._is_watched = jobs, plans, is_watched
        self._open: OpenPlan | None = None  # made when it is needed
        self._plan = plans.last_plan() or Plan(made_at=datetime.min.replace(tzinfo=UTC))
        self._made_for: Situation | None = None
        self._made = self._saved = self._published = self._plan  # the one made: without what was put in since
        self.wanted = Urgency.NONE
        self.withheld: Mapping[int, Reason] = {}  # as a `Situation` has them
        self.considered: Mapping[int, Reason] | None = None  # ... with those of jobs put in since the last tick, if any
        self.thrifty: frozenset[int] = frozenset()
        self._shown: Plan | None = None
        self._is_provisional = False  # whether a place was found since for a job that others may have to move for
        self.changes = self.put_offs = 0
        self.durations = Histogram(PLAN_DURATION)

    @property
    def plan(self) -> Plan:
        """The plan, with all that was put in since it was made."""
        return self._plan

    def turn_text(self, job_id: int) -> str | None:
        """Say when a queued job has its turn by fair share; None where that makes no difference."""
        asked = self._made_for
        if asked is None:
            return None
        return turn_text(job_id, asked.jobs, asked.options.shares, asked.used_s, len(asked.devices))

    def planned_power(self) -> Sequence[PlannedPower]:
        """Return what is planned under the caps on the site's power; nothing without any, or before there is a plan."""
        asked = self._made_for
        return planned_power(self.shown, asked) if asked is not None else ()

    @property
    def shown(self) -> Plan:
        """The plan for whoever looks from another thread: while a place is being settled, the one before."""
        before = self._shown
        return self._plan if before is None else before

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Show nothing of what changes within, until it is settled."""
        self._shown = self._plan
        try:
            yield
        finally:
            self._shown = None

    @property
    def is_made(self) -> bool:
        """Whether it was planned by this process: one from before a restart knows nothing of the time between."""
        return self._made_for is not None

    def urgency(self, situation: Situation) -> Urgency:
        """Tell whether to plan again, now that the situation is this."""
        if needs_replanning(self._made_for, self._plan, situation):
            return Urgency.PROMPT
        if self._made_for and len(self._made_for.jobs) == len(situation.jobs):
            self._made_for = replace(self._made_for, jobs=situation.jobs)  # the same ones: then they compare at once
        if self._is_watched and self._shows_started(situation):
            return max(self.wanted, Urgency.LEISURE)
        return self.wanted

    def replan(self, situation: Situation) -> None:
        """Make a new plan and let it take over."""
        self.take_over(self.make(situation), situation)

    def make(self, situation: Situation) -> Plan:
        """Plan, and work out the reasons where somebody may look at them; changes nothing but `durations`."""
        took_s = stopwatch()
        made = plan(situation)
        if self._is_watched:
            for row in made.placements:
                _ = row.reason.text
        self.durations.add(took_s())
        return made

    def take_over(self, made: Plan, situation: Situation, present: Situation | None = None) -> bool:
        """Let a plan of a situation take over; `present` is the one now, where time has passed since.

        Jobs that were put in since then are put in again, and so are those of which their users now want something
        else. False when it leaves no room to keep what one of the former was promised, or when what was started since
        has taken the room of a promise that the plan in force keeps: then that one stays, and another one is urgent.
        """
        queued = {job.id: job for job in present.jobs} if present else {}
        known = {job.id: job for job in situation.jobs}
        later = [queued[job.id] for job in self._jobs_planned() if job.id not in known and job.id in queued]
        states = present.states if present else {}
        opened, amended, rows = OpenPlan(made, situation) if later else None, made, list[Row]()
        if opened:
            opened.withhold(self._withheld, self.thrifty)
            rows = opened.find(later, states, situation.now)
            if any(self._breaks(job, row) for job, row in zip(later, rows, strict=True)):
                self.wanted = Urgency.PROMPT
                return False
            opened.add(later, rows, states)
            amended = opened.plan
        if present and self._loses_room(amended, situation, present):
            self.wanted = Urgency.PROMPT
            return False
        self._made, self._plan, self._open = made, amended, opened
        self._is_provisional = any(map(is_provisional, rows))
        self._made_for = opened.situation if opened else situation
        self.wanted = Urgency.LEISURE if later else Urgency.NONE
        if present and (changed := [job for job in known.values() if _differs(job, queued.get(job.id))]):
            self.revise([queued[job.id] for job in changed], states, present.now)
        return True

    def admit(
        self,
        jobs: Sequence[Job],
        states: Mapping[int, State],
        now: datetime,
        ask: Callable[[], Situation],
        *,
        are_known: bool = False,
    ) -> Admission:
        """Find places for new jobs, changing nothing; raise InvalidJob when one cannot be accepted.

        `states` are those of the jobs that these wait for. Where others may have to move for them all is planned again,
        for the present situation, which `ask` gives. What may be promised depends on it as well: GPUs may be back late.
        With `are_known` they stand in place of the jobs of the same ids, as their users want them now.
        """
        known = {job.id for job in jobs} if are_known else frozenset[int]()
        opened = OpenPlan(self._plan, self._made_for) if known and self._made_for else self._opened()
        opened = self._opened_for(jobs, ask, opened)
        if opened:
            opened.withhold(self._withheld, self.thrifty)
        if opened and known:
            opened.remove(known)
        rows = insert_each(opened, jobs, states, now) if opened else None
        if opened and rows is not None:
            situation = replace(opened.situation, states={**opened.situation.states, **states})
            return Admission(jobs=tuple(jobs), rows=tuple(rows), situation=situation, are_known=are_known)
        situation = _without(ask(), known)
        situation = replace(situation, states={**situation.states, **states}, withheld=self._withheld)
        planned = admit_all(situation, jobs)
        asked = replace(situation, jobs=(*situation.jobs, *jobs))
        found = tuple(row for job in jobs if (row := planned.row(job.id)))
        return Admission(jobs=tuple(jobs), rows=found, situation=asked, planned=planned)

    def insert(
        self,
        groups: Sequence[Sequence[Job]],
        states: Mapping[int, State],
        now: datetime,
        ask: Callable[[], Situation],
    ) -> list[Admission | None]:
        """Find places for groups of new jobs beside the plan in force and each other, changing nothing.

        None for a group that has to be asked alone (`admit`): others may have to move for it, or it is refused.
        """
        opened = self._opened_for(list(chain.from_iterable(groups)), ask, self._opened())
        if opened is None:
            return [None] * len(groups)
        opened.withhold(self._withheld, self.thrifty)
        situation = replace(opened.situation, states={**opened.situation.states, **states})
        found = insert_groups(opened, groups, states, now)
        return [
            None if rows is None else Admission(jobs=tuple(jobs), rows=tuple(rows), situation=situation)
            for jobs, rows in zip(groups, found, strict=True)
        ]

    def keep(self, admitted: Admission, stored: Mapping[int, Job]) -> None:
        """Take in admitted jobs, now that they are stored; `stored` has the new ones, by the id of their admission."""
        if admitted.planned is None:
            if admitted.are_known and (opened := self._opened()):
                opened.remove(stored)
            rows = [replace(row, job_id=stored[row.job_id].id) for row in admitted.rows if row.job_id in stored]
            self._put_in(list(stored.values()), rows, admitted.situation.states)
        elif all(job_id == job.id for job_id, job in stored.items()) and len(stored) == len(admitted.jobs):
            others = (job for job in admitted.situation.jobs if job.id not in stored)
            self._made = self._plan = admitted.planned
            self._open, self._is_provisional = None, False
            self._made_for = replace(admitted.situation, jobs=(*others, *stored.values()))
            self.wanted = Urgency.NONE
        else:
            self.wanted = Urgency.PROMPT

    def revise(self, changed: Sequence[Job], states: Mapping[int, State], now: datetime) -> None:
        """Put queued jobs of which their users want something else elsewhere; another plan follows."""
        opened = self._opened()
        known = {job.id for job in opened.situation.jobs} if opened else frozenset[int]()
        mine = [job for job in changed if job.state is State.QUEUED and job.id in known]
        if opened and mine:
            opened.remove({job.id for job in mine})
            self._put_in(mine, opened.find(mine, states, now), states)
        self.wanted = Urgency.PROMPT

    def settle(self, ask: Callable[[], Situation]) -> None:
        """Plan a short queue, that `ask` gives, at once where a place is provisional: so it is told with its reason."""
        if self._is_provisional and len(self._jobs_planned()) <= SHORT:
            self.replan(ask())

    def publish(self, situation: Situation, kept_back: Collection[int] = ()) -> None:
        """Store each plan that was made, once; a job whose reason has another code than before gets it written down.

        What was put in since is stored with it, so that it is known after a restart, but for the reasons: a plan of all
        of them follows. Where nobody looks, only a reason that plans go by is replaced, since reasons take long to work
        out. The jobs that are `kept_back` by something else than the plan were told so, and keep that reason.
        """
        made, in_force = self._made, self._plan
        if made is self._published:
            return
        if not in_force.decides_as(self._saved):
            changes = in_force.moves_from(self._saved, {job.id for job in situation.jobs})
            put_offs = in_force.put_offs_since(self._saved)
            self._plans.save_plan(in_force, now=made.made_at)
            self._saved = in_force
            self.changes += changes
            self.put_offs += put_offs
        told = situation.jobs if self._is_watched else [job for job in situation.jobs if has_run_since(job)]
        changed = {
            job.id: reason
            for job in told
            if job.id not in kept_back
            and in_force.row(job.id) is made.row(job.id)
            and (reason := made.reason(job.id))
            and (job.reason is None or job.reason.code is not reason.code)
        }
        if changed:
            self._jobs.set_reason(changed, now=made.made_at)
        self._published = made

    @property
    def _withheld(self) -> Mapping[int, Reason]:
        return self.withheld if self.considered is None else self.considered

    def _jobs_planned(self) -> Sequence[Job]:
        return self._made_for.jobs if self._made_for else ()

    def _opened(self) -> OpenPlan | None:
        if self._open is None and self._made_for is not None:
            self._open = OpenPlan(self._plan, self._made_for)
        if self._open is not None:
            self._open.withhold(self._withheld, self.thrifty)
        return self._open

    def _opened_for(
        self, jobs: Sequence[Job], ask: Callable[[], Situation], opened: OpenPlan | None
    ) -> OpenPlan | None:
        """Return the open plan into which to put new jobs.

        What may be promised to one depends on how it is at present, and so does whether one can start at once.
        """
        is_urgent = any(job.spec.finish_by or job.spec.start_now for job in jobs)
        if opened and is_urgent and needs_replanning(self._made_for, self._plan, present := ask()):
            return OpenPlan(self._plan, present)
        return opened

    def _put_in(self, jobs: Sequence[Job], rows: Sequence[Row], states: Mapping[int, State]) -> None:
        opened = self._opened()
        if opened:
            opened.add(jobs, rows, states)
            self._plan, self._made_for = opened.plan, opened.situation
        is_open = any(map(is_provisional, rows))
        self._is_provisional |= is_open
        self.wanted = max(self.wanted, Urgency.SOON if is_open else Urgency.LEISURE)

    def _breaks(self, job: Job, row: Row) -> bool:
        """Whether a place misses the finish-by that the plan in force keeps."""
        before = self._plan.row(job.id)
        is_late = isinstance(row, Placement) and row.late
        return is_late and job.spec.finish_by is not None and not (isinstance(before, Placement) and before.late)

    def _loses_room(self, made: Plan, situation: Situation, present: Situation) -> bool:
        """Whether what was started since the situation has taken the room of a promise that the plan in force keeps."""
        if not any(job.spec.finish_by for job in present.jobs):
            return False
        jobs = {job.id: job for job in (*self._jobs_planned(), *situation.jobs)}
        for job_id in (*situation.ends, *(run.job.id for run in situation.running)):
            jobs.pop(job_id, None)  # it ran already
        asked = _with_begun(situation, present, jobs)
        if asked is None:
            return False
        lost = OpenPlan(made, asked).overbooked()
        return bool(lost) and not lost <= OpenPlan(self._plan, asked).overbooked()

    def _shows_started(self, situation: Situation) -> bool:
        """Whether the plan still has jobs that have started, which somebody may look at."""
        begun = [row.job_id for row in self._plan.started_by(situation.now)]
        if not begun:
            return False
        there = {job.id for job in situation.jobs} | {row.job.id for row in situation.running}
        return not there.issuperset(begun)


def _without(situation: Situation, job_ids: Collection[int]) -> Situation:
    """Return a situation without these queued jobs, of which the last plan knows nothing either."""
    if not job_ids:
        return situation
    rest = tuple(job for job in situation.jobs if job.id not in job_ids)
    return replace(situation, jobs=rest, last=situation.last and without_jobs(situation.last, job_ids))


def _differs(job: Job, queued: Job | None) -> bool:
    """Whether a job is queued and its user wants something else than before."""
    return queued is not None and queued is not job and terms(queued) != terms(job)


def _with_begun(before: Situation, present: Situation, jobs: Mapping[int, Job]) -> Situation | None:
    """Return an earlier situation with those of the `jobs` that run by now, and the queued ones; None if none runs.

    Nothing else of the present counts: when others come back is told anew every time that one looks.
    """
    ends = {job_id: end for job_id, end in present.ends.items() if job_id in jobs}
    runs = [run for run in present.running if run.job.id in jobs]
    if not (ends or runs):
        return None
    theirs = set(ends.values())
    busy = {device: end for device, end in present.busy.items() if end in theirs and device not in present.elsewhere}
    until = [(run, run.since + run.job.remaining) for run in runs]
    cpu = [end for job_id, end in ends.items() if not jobs[job_id].spec.gpus]
    return replace(
        before,
        jobs=present.jobs,
        busy={**before.busy, **busy, **{device: end for run, end in until for device in run.devices}},
        cpu_busy=(*before.cpu_busy, *cpu, *(end for run, end in until if not run.devices)),
    )
