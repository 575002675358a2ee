"""The devices of this host for the API: what there is, who uses it, and on which nothing is to be started."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device, gpus
from greenrun.core.energy.power_limit import LimitPeriod
from greenrun.core.errors import ReservationNotFound
from greenrun.core.jobs.availability import Drain, GpuState
from greenrun.core.jobs.job import Job, Origin, Run
from greenrun.core.planning.decisions import expected_end
from greenrun.core.planning.power_capping.capping_rule import Capping
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.engine.availability import Availability
from greenrun.engine.ports import Executor
from greenrun.engine.power_limits import PowerLimitController
from greenrun.meters import OpenMeter
from greenrun.meters.power_limits.rights import PowerLimitRights
from greenrun.reports.build import Reports
from greenrun.store import Store


class HostDevices:
    """`greenrun.api.service.Host`, over the parts of the daemon; `turn` is held by whoever calls the engine."""

    def __init__(
        self,
        *,
        meter: OpenMeter,
        executor: Executor,
        store: Store,
        reports: Reports,
        availability: Availability,
        power_limits: PowerLimitController,
        limit_rights: PowerLimitRights,
        turn: threading.RLock,
        wake: Callable[[Sequence[Job]], None],
    ) -> None:
        self._meter = meter
        self._executor = executor
        self._store = store
        self._reports = reports
        self._availability = availability
        self._power_limits, self._limit_rights = power_limits, limit_rights
        self._turn = turn
        self._wake = wake

    def devices(self) -> Sequence[Device]:
        """Return the devices of this host, GPUs and others, each kind in index order."""
        return self._meter.devices()

    def held_elsewhere(self) -> Mapping[str, str]:
        """Return the unleased GPUs that somebody outside this daemon holds, and who holds each."""
        leased = {device for run in self._store.runs.live_runs() for device in run.devices}
        return self._executor.held_elsewhere([row.id for row in gpus(self._meter.devices()) if row.id not in leased])

    def gpu_state(self, device: Device) -> GpuState:
        """Return whether jobs may be started on a GPU, and who else uses it, as of the last tick."""
        return self._availability.state(device, utc_now())

    def drains(self) -> Sequence[Drain]:
        """Return what is drained, by device."""
        with self._turn:
            return list(self._availability.drains.values())

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> Sequence[Drain]:
        """Start nothing there from now on; return all that is drained then; raise StoreError."""
        with self._turn:  # no start is under way when this is answered
            self._availability.drain(drains, origin)
        self._wake(())
        return self.drains()

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        """Let jobs be started there again (everywhere, without any); return what is drained then; raise StoreError."""
        with self._turn:
            self._availability.resume(devices, user=user, now=now, origin=origin)
        self._wake(())
        return self.drains()

    def reservations(self, now: datetime) -> Sequence[Reservation]:
        """Return the reservations that are not over, and those of the settings as they come next, by their names."""
        with self._turn:
            return self._availability.reserved.listed(gpus(self._meter.devices()), now)

    def reserve(
        self, asked: Reservation, *, names: Sequence[str], count: int | None, now: datetime, origin: Origin | None
    ) -> Reservation:
        """Reserve GPUs that are named, or so many; raise InvalidInput with all that is wrong, or StoreError."""
        with self._turn:
            busy = {device: at for run, at in self._expected_ends(now) for device in run.devices}
            kept = self._availability.reserved.reserve_checked(
                asked, self._meter.devices(), names=names, count=count, busy=busy, now=now, origin=origin
            )
        self._wake(())
        return kept

    def end_reservation(self, number: int, *, user: str, now: datetime, origin: Origin | None) -> Reservation:
        """End one; raise ReservationNotFound, or StoreError."""
        with self._turn:
            ended = self._availability.reserved.end(number, user=user, now=now, origin=origin)
        if ended is None:
            raise ReservationNotFound(
                f"there is no reservation {number}, or it is over; `greenrun reserve list` shows those that there are"
            )
        self._wake(())
        return ended

    def _expected_ends(self, now: datetime) -> list[tuple[Run, datetime]]:
        live = self._store.runs.live_runs()
        return [(run, expected_end(run, self._store.jobs.job(run.job_id), now)) for run in live]

    def powers_w(self) -> Mapping[str, float]:
        """Return what each GPU drew when it was last asked, in the last seconds."""
        asked = {row.device: row.telemetry.power_w for row in self._meter.health().devices}
        return {device: power_w for device, power_w in asked.items() if power_w is not None}

    def idle_powers_w(self) -> Mapping[str, float]:
        """Return the learned idle power of each GPU in W, as of the last housekeeping."""
        return self._reports.idle_w

    def power_limit_trouble(self, devices: Sequence[str] = ()) -> str | None:
        """Return why the power limit of none of these GPUs (of any) can be set, without a full stop; None if some can.

        May ask a driver.
        """
        known = [why for device in devices if (why := self._power_limits.trouble(device))]
        return known[0] if known and len(known) == len(devices) else self._limit_rights.trouble()

    def power_limits(self) -> Mapping[str, LimitPeriod]:
        """Return the power limits that are lowered now, by device, as of the last tick."""
        return {period.device: period for period in self._power_limits.in_force}

    def cappings(self) -> Mapping[int, Capping]:
        """Return what is wanted of the power limits of each live run that allows a lower one, as of the last tick."""
        return self._power_limits.wanted
