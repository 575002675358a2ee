"""What counts towards the site's power cap now, expected and measured; nothing is started while more is drawn."""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil, fsum

from greenrun.core.energy.gpu_parts import board_of, is_part, share_of, weight_of
from greenrun.core.energy.model import Component, Device, Slice, boards, gpus
from greenrun.core.formatting import power_text
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.power_cap.site_power import SitePower, SitePowerState

OVER = timedelta(seconds=30)  # what is measured is the mean over this long
LATEST = timedelta(minutes=2)  # what was booked longer ago is not what is drawn now
KNOWN_AFTER = timedelta(minutes=10)  # what a run has drawn for so long is known, where its watts were not
STEP_W = 25.0  # measured watts are rounded up to whole steps, so that not every watt takes another plan


class PowerWatch:
    """Watches one site; `state` is as of the last look."""

    def __init__(self, site: SitePower | None) -> None:
        self._site = site
        self._parts: defaultdict[str, deque[tuple[datetime, datetime, float, float]]] = defaultdict(deque)
        self._peaks: dict[int, float] = {}  # of jobs that run, or have run
        self._idle: dict[str, float] = {}
        self._others: dict[str, float] = {}
        self._looked_at: datetime | None = None
        self._drawn_w = 0.0
        self.state = SitePowerState(has_cap=site is not None)

    @property
    def is_above(self) -> bool:
        """Whether more is drawn than the cap allows, so that no job with GPUs is to be started."""
        return self.state.above_since is not None

    @property
    def reason(self) -> Reason:
        """Why a job that was to start waits; only while more is drawn than the cap."""
        return because(ReasonCode.POWER_CAP, what="waits for power", at="less is drawn", why=self.text)

    @property
    def text(self) -> str:
        """Say that more is drawn than the cap; only while that is so."""
        drawn, cap = power_text(self._drawn_w), power_text(self.state.cap_w)
        return f"{drawn} was drawn in the mean over half a minute, more than the site's power cap of {cap}"

    def look(
        self, slices: Sequence[Slice], idle_w: Mapping[str, float], devices: Sequence[Device], now: datetime
    ) -> None:
        """Take in what was booked last, and compare what is drawn with the cap; a device not measured counts as 0."""
        if self._site is None:
            return
        for piece in slices:
            if piece.component is Component.GPU and piece.energy_j is not None:
                self._parts[piece.device].append((piece.start, piece.end, piece.share, piece.energy_j))
        for device, parts in self._parts.items():
            while parts and not parts[-1][1] - OVER < parts[0][1] <= now + OVER:
                parts.popleft()  # what is booked lags behind, by a minute at the most
            if idle_w.get(device) is not None:
                self._idle[device] = _steady(idle_w[device], self._idle.get(device))
        known = {device.id for device in boards(devices)}
        found = [power_w for device in known if (power_w := self.measured_w(device, now)) is not None]
        drawn_w, cap_w = self._site.host_w + fsum(found), self._site.cap.at(now)
        before, is_above = self.state, cap_w is not None and drawn_w > cap_w
        passed_s = (now - self._looked_at).total_seconds() if before.above_since and self._looked_at else 0.0
        self._looked_at, self._drawn_w = now, drawn_w
        self.state = replace(
            before,
            cap_w=cap_w,
            measured_w=drawn_w if len(found) == len(known) else None,
            above_since=(before.above_since or now) if is_above else None,
            above_s=before.above_s + max(0.0, passed_s),
        )

    def measured_w(self, device: str, now: datetime, since: datetime | None = None) -> float | None:
        """Return what a GPU drew in the mean over the last half minute that is booked, in watts.

        A part of a board drew its share of what that did. None where that is not known, is long ago, or began before
        `since`.
        """
        if is_part(device):
            board_w = self.measured_w(board_of(device), now, since)
            return None if board_w is None else board_w * share_of(device)
        parts = self._parts.get(device)
        if not parts or now - parts[-1][1] > LATEST or (since is not None and parts[0][0] < since):
            return None
        seconds = fsum((end - start).total_seconds() * share for start, end, share, _ in parts)
        return fsum(energy_j for *_, energy_j in parts) / seconds if seconds > 0 else None

    def site(
        self,
        devices: Sequence[Device],
        live: Sequence[tuple[Run, Job]],
        queued: Sequence[Job],
        taken_by_others: Collection[str],
        now: datetime,
    ) -> SitePower | None:
        """Return the cap with all that counts towards it; jobs that ran before are known for what they drew."""
        if self._site is None:
            return None
        limits = {device.id: device.power_w for device in devices if device.power_w}
        idle = {device.id: watts for device in devices if (watts := self._idle_of(device.id)) is not None}
        site = replace(self._site, idle_w=idle, limit_w=limits)
        excluded = [device.id for device in boards(devices) if device.excluded is not None]
        beside_w = fsum(self._others_w(device, site, now) for device in excluded) + _idle_beside(devices, site)
        site = replace(site, host_w=site.host_w + beside_w)
        devices = gpus(devices)
        seen = {job.id: self._known_w(job) for job in queued if job.id in self._peaks}
        drawn = dict[str, float]()
        for run, job in live:
            if not run.devices:
                continue
            expected_w = self._expected_w(run, job, site, now)
            seen[job.id] = expected_w
            drawn |= dict.fromkeys(run.devices, expected_w / len(run.devices))
        held = {device for run, _ in live for device in run.devices}
        for device in taken_by_others:
            if device not in held:
                drawn[device] = self._others_w(device, site, now)
        there = {job.id for job in queued} | {run.job_id for run, _ in live}
        self._peaks = {job_id: peak_w for job_id, peak_w in self._peaks.items() if job_id in there}
        idle_w = fsum(site.idle_of(device.id) for device in devices if device.id not in drawn)
        self.state = replace(self.state, expected_w=site.host_w + fsum(drawn.values()) + idle_w)
        return replace(site, drawn_w=drawn, seen_w=seen)

    def _idle_of(self, device: str) -> float | None:
        """Return what a device draws that nobody holds; a part, its share of what its board does."""
        board_w = self._idle.get(board_of(device))
        return None if board_w is None else board_w * share_of(device)

    def _others_w(self, device: str, site: SitePower, now: datetime) -> float:
        """Return what a GPU counts as that no job has but others may use: as it was measured, else its limit."""
        measured_w, before_w = self.measured_w(device, now), self._others.get(device)
        found_w = site.limit_of(device) if measured_w is None else _up(measured_w)
        is_kept = before_w is not None and before_w - 2 * STEP_W <= found_w <= before_w
        self._others[device] = before_w if before_w is not None and is_kept else found_w
        return self._others[device]

    def _expected_w(self, run: Run, job: Job, site: SitePower, now: datetime) -> float:
        """Return what a live run counts as: what was expected of it or, where it has drawn more, that.

        What was not known of it before is taken as measured once that is so for a while.
        """
        started = run.started_at or run.claimed_at
        measured, ran = [self.measured_w(device, now, started) for device in run.devices], now - started
        if ran >= OVER and None not in measured:
            power_w = fsum(power_w or 0.0 for power_w in measured)
            self._peaks[job.id] = max(self._peaks.get(job.id, 0.0), _up(power_w))
        peak_w = self._peaks.get(job.id)
        if peak_w is not None and job.spec.power_w is None and ran >= KNOWN_AFTER:
            return peak_w
        return max(site.watts_of(job, run.devices), peak_w or 0.0)

    def _known_w(self, job: Job) -> float:
        """Return what a queued job counts as that has run before: what it was seen to draw, or more."""
        return max(job.spec.power_w or 0.0, self._peaks[job.id])


def _idle_beside(devices: Sequence[Device], site: SitePower) -> float:
    """Return what boards draw that are leased in parts, beside the idle parts that jobs are given, in watts."""
    offered = gpus(devices)
    return fsum(
        site.idle_of(board.id) * (1.0 - weight_of(part.id for part in offered if part.within == board.id))
        for board in devices
        if board.is_divided and board.excluded is None
    )


def _up(power_w: float) -> float:
    return ceil(power_w / STEP_W - 1e-3) * STEP_W


def _steady(power_w: float, before_w: float | None) -> float:
    """Return idle watts rounded up, or what they were before as long as they are hardly less."""
    up_w = ceil(power_w / 5.0 - 1e-3) * 5.0
    return before_w if before_w is not None and before_w - 15.0 <= up_w <= before_w else up_w
