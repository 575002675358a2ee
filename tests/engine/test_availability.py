"""Nothing is started on a GPU that others use, that is lost or drained; what runs goes on, and the GPU comes back."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.model import GpuProcess, GpuUse
from greenrun.core.jobs.availability import FREE_AFTER, MACHINE, USED_AFTER, Drain, ProcessOwner
from greenrun.core.jobs.job import State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.engine.engine import Engine
from greenrun.store import Store
from tests.world import T0, World, WorldMeter, new_engine, open_store, spec

SECOND, BOB = timedelta(seconds=1), ProcessOwner(user="bob")


class Host:
    """A world of two GPUs, whose driver says who uses them, and an engine on it."""

    def __init__(self, store: Store) -> None:
        self.store, self.world = store, World([100.0] * 96)
        self.ids = [device.id for device in self.world.devices]
        self.engine = self.restarted()

    def restarted(self) -> Engine:
        return new_engine(self.world, self.store, self.world.meter())

    def tell(self, gpu: int, *pids: int, fault: str | None = None) -> None:
        """Let the driver say this of a GPU from now on."""
        found = tuple(GpuProcess(pid=pid, memory_bytes=8 << 30) for pid in pids)
        self.world.gpu_uses[self.ids[gpu]] = GpuUse(at=self.world.now, processes=found, fault=fault)

    def submit(self, seconds: float = 3600, **more: object) -> int:
        asked = spec(seconds, **{"start_now": True, **more})
        return self.store.jobs.add_job(asked, user="ada", uid=1, now=self.world.now)[0].id

    def tick(self, after: timedelta = timedelta(0)) -> None:
        """Let time pass and the driver say the same once more, then tick."""
        self.world.now += after
        for device, use in self.world.gpu_uses.items():
            self.world.gpu_uses[device] = GpuUse(at=self.world.now, processes=use.processes, fault=use.fault)
        self.engine.refresh(self.world.now)
        self.engine.tick(self.world.now)

    def devices_of(self, job: int) -> list[int]:
        return [self.ids.index(device) for run in self.store.runs.of_jobs([job])[job] for device in run.devices]

    def why(self, job: int) -> tuple[ReasonCode, str]:
        reason = self.engine.plan.reason(job)
        assert reason is not None
        return reason.code, reason.text


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_store(tmp_path) as store:
        yield Host(store)


def test_no_job_is_started_on_a_gpu_that_somebody_else_uses(host: Host) -> None:
    host.world.process_owners = {42: BOB}
    host.tell(0, 42)
    large, small = host.submit(gpus=2), host.submit(60)
    host.tick()
    assert (host.devices_of(large), host.devices_of(small)) == ([], [1])
    code, text = host.why(large)
    assert (code, text) == (
        ReasonCode.GPUS_USED_BY_OTHERS,
        "needs 2 GPUs and 1 can be used now: GPU 0 is used by process 42 of bob",
    )


def test_it_is_used_again_some_time_after_they_have_gone(host: Host) -> None:
    host.tell(0, 42)
    job = host.submit(gpus=2)
    host.tick()
    host.tell(0)
    host.tick(SECOND)
    assert host.devices_of(job) == []
    host.tick(FREE_AFTER)
    assert host.devices_of(job) == [0, 1]


def test_a_short_visitor_is_seen_but_no_plan_goes_without_its_gpu(host: Host) -> None:
    host.tell(0)
    host.tick()
    for visitor in (42, 43):
        host.tell(0, visitor)
        host.tick(SECOND)
        state = host.engine.availability.state(host.world.devices[0], host.world.now)
        assert ([row.pid for row in state.occupants or ()], state.absences) == ([visitor], ())
        assert host.engine.situation(host.world.now).away == {}
        host.tell(0)
        host.tick(USED_AFTER)


def test_it_is_looked_often_however_seldom_the_daemon_ticks(host: Host) -> None:
    assert host.engine.tick(host.world.now) > host.world.now + timedelta(minutes=1)
    host.tell(0)
    assert host.engine.tick(host.world.now) <= host.world.now + timedelta(seconds=10)


def test_who_came_since_the_last_tick_is_found_just_before_a_start(host: Host) -> None:
    """The driver is asked once more; a process that can be seen makes the GPU theirs at once."""
    host.tell(0)
    host.tick()

    class Late(WorldMeter):
        def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
            if is_urgent:
                host.tell(0, 42)
            return super().gpu_uses(is_urgent=is_urgent)

    host.world.process_owners = {42: BOB}
    host.engine = new_engine(host.world, host.store, Late(host.world))
    large = host.submit(gpus=2)
    host.tick(SECOND)
    assert host.devices_of(large) == []
    host.tick(SECOND)
    assert host.why(large)[0] is ReasonCode.GPUS_USED_BY_OTHERS


def test_a_job_goes_on_when_others_come_to_its_gpu_and_those_of_its_own_are_none(host: Host) -> None:
    host.tell(0)
    job = host.submit(600)
    host.tick()
    (run,) = host.store.runs.of_jobs([job])[job]
    host.world.process_owners = {7: ProcessOwner(user="ada", run=run.label), 42: BOB}
    host.tell(0, 7)
    host.tick(2 * USED_AFTER)
    assert host.engine.availability.state(host.world.devices[0], host.world.now).absences == ()
    host.tell(0, 7, 42)
    host.tick(SECOND)
    host.tick(USED_AFTER)
    state = host.engine.availability.state(host.world.devices[0], host.world.now)
    assert [row.text for row in state.absences] == ["used by process 42 of bob"]
    assert host.store.jobs.job(job).state is State.RUNNING
    host.engine = host.restarted()
    host.tick(SECOND)
    assert [
        row.pid for row in host.engine.availability.state(host.world.devices[0], host.world.now).occupants or ()
    ] == [42]


@pytest.mark.parametrize("is_interruptible", [False, True])
def test_a_running_job_is_left_alone_on_a_drained_gpu(host: Host, is_interruptible: bool) -> None:
    job = host.submit(600, interruptible=is_interruptible)
    host.tick()
    host.engine.availability.drain([Drain(device=host.ids[0], user="ada", since=T0, reason="the fan")])
    follower, large = host.submit(60), host.submit(60, gpus=2)
    host.tick(SECOND)
    host.tick(timedelta(minutes=20))
    assert host.store.jobs.job(job).state is State.SUCCEEDED
    assert host.devices_of(follower) == [1]
    assert host.why(large)[1].endswith("GPU 0 is drained by ada since 2026-03-02 00:00:00Z: the fan")
    host.engine = host.restarted()
    host.tick(SECOND)
    assert host.devices_of(large) == []
    host.engine.availability.resume([], user="ada", now=host.world.now)
    host.tick(SECOND)
    assert host.devices_of(large) == [0, 1]


def test_nothing_is_started_on_a_drained_machine(host: Host) -> None:
    host.engine.availability.drain([Drain(device=MACHINE, user="ada", since=T0)])
    jobs = [host.submit(60), host.submit(60, gpus=0)]
    host.tick()
    assert [host.why(job)[0] for job in jobs] == [ReasonCode.DRAINED] * 2
    assert host.world.launches == []
    host.engine.availability.resume([], user="ada", now=T0)
    host.tick(SECOND)
    assert host.world.launches == jobs


def test_a_lost_gpu_gets_no_job_and_is_used_again_when_it_is_back(host: Host) -> None:
    host.tell(0)
    host.tick()
    host.tell(0, fault="it has to be reset")
    job = host.submit(gpus=2)
    host.tick(SECOND)
    assert host.devices_of(job) == []
    assert host.why(job) == (
        ReasonCode.GPUS_LOST,
        "needs 2 GPUs and 1 can be used now: GPU 0 is lost: it has to be reset",
    )
    host.tell(0)
    host.tick(SECOND)
    host.tick(FREE_AFTER)
    assert host.devices_of(job) == [0, 1]
