"""What the CPU uses is divided among runs by their CPU time: of the runs' doing alone, and nothing is lost."""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import fsum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.ledger import Entry
from greenrun.core.energy.model import Component, Device, Quality, Reading
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.store import Store
from tests.engine.day import BEATS, DAY, END, STARTS, Beat, counted, day_spec, tick_through
from tests.engine.trouble import HOUR, MINUTE, POWER_W, Hardware
from tests.sampling import examples
from tests.world import T0, WATTS, Process, World, WorldMeter, open_store

CPU_W = {"cpu-0": 90.0, "cpu-0-dram": 12.5}
STEP = timedelta(seconds=9)  # the sampler of the CPU reads at these instants, whoever asks when
OTHERS = 0.1  # CPU seconds a second that no run uses

JOBS = st.lists(
    st.tuples(STARTS, st.integers(30, 600), st.integers(0, 1), st.integers(0, 1500)), min_size=1, max_size=3
).map(lambda rows: [day_spec(*row) for row in rows])


def overlap_s(process: Process, start: datetime, end: datetime) -> float:
    return max(0.0, (min(end, process.ends_at) - max(start, process.started_at)).total_seconds())


class SharedWorld(World):
    """The world, with a CPU that its runs share: every third of them sleeps."""

    def meter(self) -> "SharedMeter":
        return SharedMeter(self)

    def shares(self, start: datetime, end: datetime) -> dict[str, float]:
        """What part of the CPU time of a step each run used, by the physics alone."""
        runs = {f"{one.job_id}.1": one for one in self.processes.values()}
        used_s = {
            label: one.job_id % 3 * 0.3 * overlap_s(one, start, end)
            for label, one in runs.items()
            if overlap_s(one, start, end) > 0
        }
        whole_s = fsum(used_s.values()) + OTHERS * (end - start).total_seconds()
        return {label: each_s / whole_s for label, each_s in used_s.items()}

    def true_cpu_j(self, job_id: int) -> float:
        """What a job's part is when every step is divided by CPU time, and used evenly over the step."""
        (process,) = [one for one in self.processes.values() if one.job_id == job_id]
        steps = pairwise(T0 + index * STEP for index in range((END - T0) // STEP + 1))
        parts = (self.shares(*step).get(f"{job_id}.1", 0.0) * overlap_s(process, *step) for step in steps)
        return fsum(CPU_W.values()) * fsum(parts)


class SharedMeter(WorldMeter):
    """The world's GPUs and a CPU; each meter is a sampler session of its own, which knows nothing of before."""

    def __init__(self, world: SharedWorld) -> None:
        super().__init__(world)
        self._shared, self._since, self._session = world, world.now, f"from {world.now}"

    def devices(self) -> Sequence[Device]:
        kinds = {"cpu-0": Component.CPU, "cpu-0-dram": Component.DRAM}
        cpu = [Device(id=name, index=0, model="", source="rapl", kind=kind) for name, kind in kinds.items()]
        return [*super().devices(), *cpu]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        if since and CPU_W.keys().isdisjoint(since):  # only a look at the GPUs
            return super().read(since)
        first, last = -((T0 - self._since) // STEP), (self._shared.now - T0) // STEP
        after = max(first, (min((since.get(name, T0) for name in CPU_W), default=T0) - T0) // STEP)
        readings = [
            Reading(
                device=name, at=at, energy_j=power_w * (at - T0).total_seconds(), quality=Quality.MEASURED,
                counter="boot", session=self._session, shares=self._shared.shares(at - STEP, at) if number else {},
            )
            for number, at in ((index - first, T0 + index * STEP) for index in range(after, last + 1))
            for name, power_w in CPU_W.items()
            if name not in since or at > since[name]
        ]  # fmt: skip
        return sorted([*super().read(since), *readings], key=lambda reading: reading.at)


def lived(store: Store, jobs: Sequence[JobSpec], beat: Beat) -> tuple[SharedWorld, list[int]]:
    """Live through the day; return the world and the jobs."""
    world = SharedWorld(DAY)
    ids = [store.jobs.add_job(one, user="ada", uid=1, now=T0)[0].id for one in jobs]
    tick_through(world, store, beat)
    return world, ids


def entries_of(store: Store, component: Component) -> list[Entry]:
    return [row for row in store.books.entries(limit=100_000) if row.slice.component is component]


@examples(6)
@given(jobs=JOBS, beat=BEATS)
def test_a_runs_part_depends_on_what_it_did_and_not_on_ticks_or_restarts_of_the_daemon(
    jobs: list[JobSpec], beat: Beat
) -> None:
    calm = Beat(tick=beat.tick, phase=beat.phase, restarts=tuple(one for one in beat.restarts if not one.new_sampler))
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        world, ids = lived(store, jobs, calm)
        for job_id in ids:
            (run,) = store.runs.of_jobs([job_id])[job_id]
            total = store.books.run_totals([run.id])[run.id]
            gpu_j = world.true_energy_j(job_id)
            assert (total.gpu_energy_j or 0.0) == pytest.approx(gpu_j, rel=1e-9)
            assert total.energy_j == pytest.approx(gpu_j + world.true_cpu_j(job_id), rel=1e-9)
            assert total.settled_g is not None


@examples(6)
@given(jobs=JOBS, beat=BEATS)
def test_runs_and_nobody_together_use_what_the_devices_use(jobs: list[JobSpec], beat: Beat) -> None:
    """Over ticks, restarts, and gaps of the sampler: whose the energy is may be lost, energy is not."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        world, ids = lived(store, jobs, beat)
        runs = [run.id for rows in store.runs.of_jobs(ids).values() for run in rows]
        slices = [entry.slice for entry in store.books.entries(limit=100_000)]
        of_runs = fsum(total.energy_j or 0.0 for total in store.books.run_totals(runs).values())
        of_nobody = fsum(piece.energy_j or 0.0 for piece in slices if piece.run_id is None)
        of_devices = fsum(mark.energy_j for mark in store.books.marks().values())
        assert of_runs + of_nobody == pytest.approx(of_devices, rel=1e-9)
        assert counted(store, "greenrun_job_energy_joules_total") == pytest.approx(of_runs, rel=1e-9)
        assert counted(store, "greenrun_unattributed_energy_joules_total") == pytest.approx(of_nobody, rel=1e-9)
        shares: defaultdict[tuple[str, datetime], list[float]] = defaultdict(list)
        for piece in slices:
            shares[piece.device, piece.start].append(piece.share)
        assert all(fsum(parts) == pytest.approx(1.0, abs=1e-9) for parts in shares.values())
        for job_id in ids:
            (run,) = store.runs.of_jobs([job_id])[job_id]
            cpu_j = fsum(piece.energy_j or 0.0 for piece in slices if piece.run_id == run.id and piece.device in CPU_W)
            assert cpu_j <= world.true_cpu_j(job_id) * (1 + 1e-9) + 1e-6


def test_a_job_without_gpus_is_told_what_it_used(tmp_path: Path) -> None:
    """The first sleeps not, the third does: what it used is nothing, and known to be so."""
    busy, _, idle = [day_spec("now", 600, gpus, 0) for gpus in (0, 1, 0)]
    with open_store(tmp_path) as store:
        world, ids = lived(store, [busy, day_spec("now", 600, 1, 0), idle], Beat())
        totals = [store.books.run_totals([run.id])[run.id] for job in ids for run in store.runs.of_jobs([job])[job]]
        assert [total.energy_j for total in totals] == [
            pytest.approx(world.true_cpu_j(ids[0]), rel=1e-9),
            pytest.approx(600 * WATTS.busy + world.true_cpu_j(ids[1]), rel=1e-9),
            0.0,
        ]
        assert {total.quality for total in totals} == {Quality.MEASURED}
        assert [total.utilization for total in totals] == [None, pytest.approx(1.0), None]
        assert [total.utilization_coverage for total in totals] == [None, pytest.approx(1.0), None]
        assert all(total.settled_g is not None for total in totals)
        assert fsum(CPU_W.values()) * 590 * 0.3 < (totals[0].energy_j or 0.0)
        spans = {job: store.runs.of_jobs([job])[job][0] for job in ids}
        for row in entries_of(store, Component.CPU):
            if row.job_id is not None:
                run = spans[row.job_id]
                assert run.started_at is not None
                assert run.ended_at is not None
                assert run.started_at <= row.slice.start < row.slice.end <= run.ended_at


class SharedHardware(Hardware):
    """A CPU whose clock may be set; half of what it does is the first run's."""

    def devices(self) -> Sequence[Device]:
        return [replace(self.device, kind=Component.CPU)]

    def reading(self) -> Reading:
        return replace(super().reading(), shares={"1.1": 0.5})


def test_a_clock_set_back_takes_nothing_from_a_run_that_goes_on_beside_one_that_has_ended(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        hardware = SharedHardware(store)
        hardware.pass_time(MINUTE)
        hardware.begin()
        (going_on,) = hardware.live
        with_no_gpu, _ = store.jobs.add_job(day_spec("now", 60, 0, 0), user="ada", uid=1, now=hardware.clock)
        short = store.runs.claim(with_no_gpu.id, [], reason=because(ReasonCode.ASKED_NOW), now=hardware.clock)
        assert short is not None
        hardware.pass_time(HOUR)
        store.runs.close_run(
            short.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=going_on.started_at, ended_at=hardware.clock,
            log=None, job_state=State.SUCCEEDED, reason=because(ReasonCode.SUCCEEDED), now=hardware.clock,
        )  # fmt: skip
        hardware.pass_time(MINUTE)
        before_j = hardware.total(going_on.id).energy_j or 0.0
        hardware.clock -= HOUR / 2
        hardware.pass_time(12 * MINUTE)
        more_j = (hardware.total(going_on.id).energy_j or 0.0) - before_j
        assert more_j == pytest.approx(0.5 * POWER_W * 12 * 60, rel=0.1)
