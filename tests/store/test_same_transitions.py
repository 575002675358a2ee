"""The store on disk and the one in memory, fed the same steps, hold the same jobs, runs and events."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from greenrun.core.jobs.job import Event, Job, Run
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.simulation.memory import MemoryStore
from greenrun.store import Store
from tests.store.examples import NOW, after
from tests.store.steps import STEPS, Step, answer, claim, submit


def held(store: Any) -> tuple[list[Job], list[tuple[object, ...]], list[Event], dict[Any, float], object, object]:
    """Everything of jobs; tokens are each store's own."""
    jobs = list(store.jobs.jobs())
    runs: list[Run] = [run for rows in store.runs.of_jobs([job.id for job in jobs]).values() for run in rows]
    told = [(run.id, run.job_id, run.number, run.devices, run.claimed_at, run.started_at, run.ended_at, run.outcome,
             run.exit_code, run.log, run.work, run.work_unit, run.work_at) for run in runs]  # fmt: skip
    anomalies = store.runs.anomalies([job.id for job in jobs])
    ids = [run.id for run in runs]
    gpu_time = [
        list(store.runs.gpu_time(after=last, among=ids[:2], since=since))
        for last in (0, len(ids) // 2)
        for since in (NOW, after(20))
    ]
    return jobs, told, list(store.jobs.events()), dict(store.books.counters()), anomalies, gpu_time


@given(st.lists(STEPS, min_size=5, max_size=40))
@settings(deadline=None, max_examples=25)
def test_both_stores_hold_the_same_after_the_same_steps(steps: list[Step]) -> None:
    with TemporaryDirectory() as folder, Store(Path(folder) / "greenrun.db") as disk:
        memory = MemoryStore()
        first = [
            submit(0, 60, [None], "ada"),
            submit(0, None, [None], "ada"),
            claim(1, ["a"], Reason(ReasonCode.DUE, "x"), 1),
        ]
        for step in (*first, *steps):
            assert answer(step, disk) == answer(step, memory)
        assert held(disk) == held(memory)
