"""The power limits of GPUs that are lowered for runs in dirty hours, and always restored.

What a limit was is durable before it is changed. A limit is changed only where it still is what greenrun thinks, and
read back. Whatever happens in between, the next tick finds it in the store, compares it with the device, and goes on.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from greenrun.core.carbon.intensity import Series
from greenrun.core.energy.gpu_parts import is_part
from greenrun.core.energy.model import Device
from greenrun.core.energy.power_limit import (
    DirtyThreshold,
    LimitAnswer,
    LimitChange,
    LimitEnd,
    LimitFault,
    LimitFaultKind,
    LimitPeriod,
    LimitReading,
    PowerCap,
    is_same,
)
from greenrun.core.jobs.job import Job, Run, State
from greenrun.core.planning.model import Plan
from greenrun.core.planning.power_capping.capping_rule import Capping, CappingCode, capping
from greenrun.core.planning.power_capping.dirty_hours import DirtyHours, dirty_hours
from greenrun.core.planning.power_capping.slowdown import slowdown_at_worst
from greenrun.engine.ports import PowerLimits, PowerLimitStore

log = structlog.get_logger("greenrun.engine.power_limits")

FIRST_RETRY, LAST_RETRY = timedelta(seconds=30), timedelta(minutes=15)

Live = Sequence[tuple[Run, Job]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLimitSettings:
    """Whether power limits are set at all, when hours are dirty where a job does not say, and how often one changes."""

    is_on: bool = True
    above: DirtyThreshold = field(default_factory=DirtyThreshold)
    change_every: timedelta = timedelta(minutes=15)


@dataclass(slots=True)
class _BackOff:
    """When a device that could not be changed is tried again, and why that failed."""

    until: datetime
    pause: timedelta
    why: str


class PowerLimitController:
    """Lowers and restores power limits as the rule says. `failures` counts, by cause, what could not be done."""

    def __init__(
        self,
        store: PowerLimitStore,
        limits: PowerLimits | None,
        devices: Callable[[], Sequence[Device]],
        settings: PowerLimitSettings,
    ) -> None:
        self._store, self._limits, self._devices, self.settings = store, limits, devices, settings
        self._open: tuple[LimitPeriod, ...] | None = None  # not read yet
        self._periods: dict[int, tuple[LimitPeriod, ...]] = {}  # of each live run that may have some
        self._changed_at: dict[str, datetime] = {}
        self._checked_at: dict[str, datetime] = {}
        self._back_off: dict[str, _BackOff] = {}
        self._is_whole = True  # whether the last call came to its end: if not, the store is asked anew
        self.wanted: Mapping[int, Capping] = {}
        self.changes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def in_force(self) -> Sequence[LimitPeriod]:
        """The limits that are set, or about to be."""
        return self._open or ()

    def trouble(self, device: str) -> str | None:
        """Return why the limit of a device could not be changed last; None if it could, or was not to be."""
        found = self._back_off.get(device)
        return found.why if found else None

    def act(self, live: Live, queued: Mapping[int, Job], outlook: Series | None, plan: Plan, now: datetime) -> None:
        """Restore what is to be restored and lower what is to be lowered, at `now`."""
        if self._open is None or not self._is_whole:
            self._open, self._periods = tuple(self._store.in_force()), {}
        allowing = [(run, job) for run, job in live if job.spec.allowed_cap and not any(map(is_part, run.devices))]
        if self._limits is None or not (self._open or allowing):
            self.wanted, self._periods = {}, {}
            return
        self._is_whole = False
        self._read_periods([run.id for run, _ in allowing])
        self.wanted = {run.id: self._wanted(run, job, queued, outlook, plan, now) for run, job in allowing}
        works, users = {run.id: run.work for run, _ in live}, self._at_work_on(live)
        caps = {run.id: job.spec.allowed_cap or PowerCap() for run, job in allowing}
        self._undo(self._to_undo({run.id for run, _ in live}, users, caps, now), works, now)
        self._check(works, now)
        self._lower(allowing, users, now)
        self._is_whole = True

    def next_look(self, now: datetime) -> datetime | None:
        """Return when a limit may have to be changed even if nothing happens meanwhile; None while none can be."""
        return now + max(self.settings.change_every, FIRST_RETRY) if self._open or self.wanted else None

    def release(self, now: datetime) -> None:
        """Restore all that is set, as nobody is there to do it from now on; what fails is left for the next start."""
        if self._limits is not None:
            self._open = tuple(self._store.in_force())
            self._undo(self._open, {}, now)

    # what is wanted

    def _read_periods(self, run_ids: Sequence[int]) -> None:
        """Read the periods of runs that were not looked at before; those of others are forgotten."""
        new = [run_id for run_id in run_ids if run_id not in self._periods]
        found = self._store.of_runs(new) if new else {}
        self._periods = {run_id: self._periods.get(run_id, tuple(found.get(run_id, ()))) for run_id in run_ids}

    def _wanted(
        self, run: Run, job: Job, queued: Mapping[int, Job], outlook: Series | None, plan: Plan, now: datetime
    ) -> Capping:
        cap = job.spec.allowed_cap or PowerCap()
        if not self.settings.is_on:
            return Capping(is_on=False, code=CappingCode.ENDING, why="the settings turn it off", is_urgent=True)
        return capping(
            job,
            run,
            self.hours(cap, outlook, now),
            self._periods.get(run.id, ()),
            slowdown=slowdown_at_worst(cap, self._share(cap, run.devices), job.spec.power_cap_note),
            plan=plan,
            queued=queued,
            now=now,
        )

    def hours(self, cap: PowerCap, outlook: Series | None, now: datetime) -> DirtyHours | None:
        """Return which hours are dirty for a job that allows this."""
        return dirty_hours(outlook, cap.above or self.settings.above, now)

    def _share(self, cap: PowerCap, devices: Collection[str]) -> float | None:
        """Return the least that the limit is of what one of these devices may draw; None where that is not known."""
        if cap.share is not None:
            return cap.share
        powers_w = [device.power_w for device in self._devices() if device.id in devices]
        known = [power_w for power_w in powers_w if power_w]
        return min(1.0, (cap.watts or 0.0) / max(known)) if known and len(known) == len(powers_w) else None

    def _at_work_on(self, live: Live) -> Mapping[str, Sequence[int]]:
        """Return the runs on each device, which may be shared."""
        found: dict[str, list[int]] = {}
        for run, _ in live:
            for device in run.devices:
                found.setdefault(device, []).append(run.id)
        return found

    # restoring

    def _to_undo(
        self, live: Collection[int], users: Mapping[str, Sequence[int]], caps: Mapping[int, PowerCap], now: datetime
    ) -> Sequence[LimitPeriod]:
        """Return what is to be restored: of runs that are gone, what is not wanted any more, what a crash has left.

        Not wanted is also what is lower than some run allows that has come to share the GPU.
        """
        found = []
        for period in self._open or ():
            wanted = self.wanted.get(period.run_id)
            is_gone = period.run_id not in live
            is_due = self._may_change(period.device, now) or bool(wanted and wanted.is_urgent)
            if self._is_put_off(period.device, now):
                continue
            is_wanted = wanted is not None and wanted.is_on and self._is_agreed(period, users[period.device], caps)
            if is_gone or period.kept_at is None or (is_due and not is_wanted):
                found.append(period)
        return found

    def _is_agreed(self, period: LimitPeriod, users: Sequence[int], caps: Mapping[int, PowerCap]) -> bool:
        """Whether all runs on a GPU want its limit lowered, and none of them allows less than the one it is set for."""
        others = [run_id for run_id in users if run_id != period.run_id]
        if not all(map(self._wants, others)):
            return False
        own = self._share(caps[period.run_id], [period.device])
        shares = [self._share(caps[run_id], [period.device]) for run_id in others]
        return own is None or all(share is None or share <= own for share in shares)

    def _undo(self, periods: Sequence[LimitPeriod], works: Mapping[int, float | None], now: datetime) -> None:
        if not periods:
            return
        answers = self._ask(
            [
                LimitChange(device=row.device, source=row.source, limit_w=row.found_w, expected_w=row.set_w)
                for row in periods
            ]
        )
        for period in periods:
            self._take_undone(period, answers[period.device], works.get(period.run_id), now)

    def _take_undone(self, period: LimitPeriod, answer: LimitAnswer, work: float | None, now: datetime) -> None:
        if isinstance(answer, LimitReading):
            self._end(period, LimitEnd.RESTORED, answer.limit_w, work, now)
        elif answer.kind is not LimitFaultKind.CHANGED or answer.limit_w is None:
            self._fail(period.device, "restore", answer, now)
        elif is_same(answer.limit_w, period.found_w):  # as before: it never was set, or a crash came after restoring it
            end = LimitEnd.NOT_SET if period.kept_at is None else LimitEnd.RESTORED
            self._end(period, end, answer.limit_w, work, now)
        else:
            self._leave(period, answer.limit_w, work, now)

    def _leave(self, period: LimitPeriod, limit_w: float, work: float | None, now: datetime) -> None:
        why = f"somebody else has set it to {limit_w:g} W, which is left as it is"
        log.warning("a power limit was changed by others", device=period.device, set_w=period.set_w, now_w=limit_w)
        self._end(period, LimitEnd.LEFT, limit_w, work, now, why)

    def _end(
        self,
        period: LimitPeriod,
        end: LimitEnd,
        limit_w: float | None,
        work: float | None,
        now: datetime,
        why: str = "",
    ) -> None:
        self._store.end(period.id, end, now=now, limit_w=limit_w, work=work, why=why)
        self._changed_at[period.device] = now
        self._back_off.pop(period.device, None)
        self.changes[end.value] += 1
        self._open = tuple(row for row in self._open or () if row.id != period.id)
        ended = replace(period, until=max(now, period.since), end=end, work_after=work)
        self._note(ended)
        if end is not LimitEnd.LEFT:
            log.info("power limit restored", device=period.device, from_w=period.set_w, to_w=limit_w, how=end.value)

    # somebody else

    def _check(self, works: Mapping[int, float | None], now: datetime) -> None:
        """Look now and then whether what was set still holds, and leave what somebody else has changed."""
        every = self.settings.change_every
        due = [
            period
            for period in self._open or ()
            if period.kept_at is not None
            and not self._is_put_off(period.device, now)
            and now - max(self._checked_at.get(period.device, period.kept_at), period.kept_at) >= every
        ]
        answers = self._ask([LimitChange(device=row.device, source=row.source) for row in due])
        for period in due:
            answer = answers[period.device]
            self._checked_at[period.device] = now
            if isinstance(answer, LimitFault):
                self._fail(period.device, "read", answer, now)
            elif not is_same(answer.limit_w, period.set_w):
                self._leave(period, answer.limit_w, works.get(period.run_id), now)

    # lowering

    def _lower(self, allowing: Live, users: Mapping[str, Sequence[int]], now: datetime) -> None:
        held = {period.device for period in self._open or ()}
        sources = {device.id: device.source for device in self._devices()}
        wanted: dict[str, list[tuple[Run, Job]]] = {}
        for run, job in allowing:
            if job.state is not State.RUNNING or not self.wanted[run.id].is_on:
                continue
            for device in run.devices:
                is_agreed = all(self._wants(user) for user in users[device])  # a GPU may be shared
                is_free = device in sources and device not in held and self._may_change(device, now)
                if is_agreed and is_free and not self._is_put_off(device, now):
                    wanted.setdefault(device, []).append((run, job))
        if not wanted:
            return
        found = self._ask([LimitChange(device=device, source=sources[device]) for device in wanted])
        new = [
            period
            for device, sharing in wanted.items()
            if (period := self._new_period(sharing, device, sources[device], found[device], now))
        ]
        if new:
            self._set(self._store.begin(new), now)

    def _wants(self, run_id: int) -> bool:
        found = self.wanted.get(run_id)
        return found is not None and found.is_on

    def _new_period(
        self, sharing: Live, device: str, source: str, found: LimitAnswer, now: datetime
    ) -> LimitPeriod | None:
        """Return the limit to set for the runs on a GPU, the highest that they allow; None if none is lower."""
        if isinstance(found, LimitFault):
            self._fail(device, "read", found, now)
            return None
        limits_w = [(job.spec.allowed_cap or PowerCap()).limit_w(found) for _, job in sharing]
        limit_w = None if None in limits_w else max(filter(None, limits_w), default=None)
        run, _ = sharing[limits_w.index(limit_w)]
        wanted = self.wanted[run.id]
        if limit_w is None or wanted.intensity_g_per_kwh is None or wanted.threshold_g_per_kwh is None:
            self._changed_at[device] = now  # it is as low already: look again when it may change next
            return None
        return LimitPeriod(
            device=device,
            source=source,
            run_id=run.id,
            found_w=found.limit_w,
            set_w=limit_w,
            since=now,
            intensity_g_per_kwh=wanted.intensity_g_per_kwh,
            threshold_g_per_kwh=wanted.threshold_g_per_kwh,
            work_before=run.work,
        )

    def _set(self, periods: Sequence[LimitPeriod], now: datetime) -> None:
        """Set limits that are durable by now, and note those that hold."""
        self._open = (*(self._open or ()), *periods)
        answers = self._ask(
            [
                LimitChange(device=row.device, source=row.source, limit_w=row.set_w, expected_w=row.found_w)
                for row in periods
            ]
        )
        kept: dict[int, float] = {}
        for period in periods:
            answer = answers[period.device]
            if isinstance(answer, LimitReading):
                kept[period.id] = answer.limit_w
            else:
                self._take_unset(period, answer, now)
        if kept:
            self._store.keep(kept, now=now)
        for period in periods:
            if period.id in kept:
                self._take_set(replace(period, set_w=kept[period.id], kept_at=now), now)

    def _take_set(self, period: LimitPeriod, now: datetime) -> None:
        self._open = (*(row for row in self._open or () if row.id != period.id), period)
        self._note(period)
        self._changed_at[period.device] = now
        self._back_off.pop(period.device, None)
        self.changes["set"] += 1
        log.info(
            "power limit lowered", device=period.device, run_id=period.run_id, from_w=period.found_w, to_w=period.set_w,
            g_per_kwh=period.intensity_g_per_kwh, above=period.threshold_g_per_kwh,
        )  # fmt: skip

    def _take_unset(self, period: LimitPeriod, fault: LimitFault, now: datetime) -> None:
        """Close what was certainly not set; what may have been, or to another value, is undone first."""
        self._fail(period.device, "set", fault, now)
        if fault.kind in (LimitFaultKind.NO_RIGHTS, LimitFaultKind.UNSUPPORTED, LimitFaultKind.CHANGED):
            why, back_off = fault.why, self._back_off[period.device]
            self._end(period, LimitEnd.NOT_SET, fault.limit_w or period.found_w, None, now, why)
            self._back_off[period.device] = back_off
        elif fault.kind is LimitFaultKind.NOT_KEPT and fault.limit_w is not None:
            self._store.keep({period.id: fault.limit_w}, now=now)
            is_it = replace(period, set_w=fault.limit_w, kept_at=now)
            self._open = (*(row for row in self._open or () if row.id != period.id), is_it)
            self._undo([is_it], {}, now)

    # what both go by

    def _ask(self, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        if not changes or self._limits is None:
            return {}
        return self._limits.change(changes)

    def _may_change(self, device: str, now: datetime) -> bool:
        """Whether its last change is long enough ago; also once the clock was set back to before it."""
        at = self._changed_at.get(device)
        return at is None or not now - self.settings.change_every < at <= now

    def _is_put_off(self, device: str, now: datetime) -> bool:
        found = self._back_off.get(device)
        return found is not None and found.until - found.pause <= now < found.until

    def _fail(self, device: str, doing: str, fault: LimitFault, now: datetime) -> None:
        """Try this device again later, and say so once for each cause."""
        before = self._back_off.get(device)
        pause = min(LAST_RETRY, 2 * before.pause) if before else FIRST_RETRY
        if before is None or before.why != fault.why:
            log.warning("power limit", doing=doing, device=device, why=fault.why, again_in_s=pause.total_seconds())
        self._back_off[device] = _BackOff(now + pause, pause, fault.why)
        self.failures[doing] += 1

    def _note(self, period: LimitPeriod) -> None:
        """Keep what is known of a live run's periods up to date."""
        if period.run_id in self._periods:
            others = (row for row in self._periods[period.run_id] if row.id != period.id)
            self._periods[period.run_id] = tuple(sorted((*others, period), key=lambda row: row.id))
