"""A host's own finished jobs become a case: as long as they ran, at the power they drew, and nothing is made up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.errors import InvalidInput
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.simulation.case import JobOverrides
from greenrun.simulation.compare import compare
from greenrun.simulation.history import CaseQuery, history_case
from greenrun.simulation.memory import MemoryStore
from greenrun.simulation.policies import policies_of
from tests.simulation.build import HOUR, START, START_S, grid

NOW = START + timedelta(hours=60)
WHY = Reason(ReasonCode.SUCCEEDED, "finished")


class Metered(MemoryStore):
    """A store whose runs have energy in their books: `joules` by run, the others' is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.joules: dict[int, float] = {}
        self.books.run_totals = self.run_totals  # type: ignore[method-assign]

    def run_totals(self, run_ids: Sequence[int]) -> dict[int, Total]:
        known = {run_id: self.joules[run_id] for run_id in run_ids if run_id in self.joules}
        unknown = {run_id: Total(energy_j=1.0, quality=Quality.UNKNOWN) for run_id in run_ids}
        measured = {
            key: Total(energy_j=joules + 1.0, gpu_energy_j=joules, quality=Quality.MEASURED)
            for key, joules in known.items()
        }
        return unknown | measured


@pytest.fixture
def store() -> Metered:
    made = Metered()
    measured = grid([float(value) for value in range(100, 148)])
    series_id = SeriesId(provider="uk", zone="GB")
    own = Series(series_id, measured.starts_s, measured.ends_s, measured.values, (Kind.MEASURED,) * len(measured))
    made.grid.save_intensities(own, fetched_at=NOW)
    return made


def asked(**changes: Any) -> CaseQuery:
    given = {
        "zone": "GB", "span": timedelta(days=30), "gpus": 2, "horizon": timedelta(hours=48),
        "default_max_delay": timedelta(hours=6), "overrides": JobOverrides(),
    }  # fmt: skip
    return CaseQuery(**(given | changes))


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def ran(
    store: Metered, submitted: float, *spans: tuple[float, float], joules: float | None = 3.6e6, **spec: Any
) -> int:
    """A job that ran over these spans (hours), the last of which succeeded; each took `joules`."""
    given = {"command": ("true",), "workdir": "/", "duration": timedelta(hours=9), "interruptible": len(spans) > 1}
    ((job, _),) = store.jobs.add_jobs([JobSpec(**(given | spec))], user="ada", uid=1, now=at(submitted))
    for number, (start, end) in enumerate(spans):
        run = store.runs.claim(job.id, ["GPU-0"][: job.spec.gpus], reason=WHY, now=at(start))
        assert run is not None
        last = number == len(spans) - 1
        store.runs.close_run(
            run.id,
            outcome=Outcome.SUCCEEDED if last else Outcome.CHECKPOINTED,
            exit_code=0,
            started_at=at(start),
            ended_at=at(end),
            log=None,
            job_state=State.SUCCEEDED if last else State.QUEUED,
            reason=WHY,
            now=at(end),
        )
        if joules is not None:
            store.joules[run.id] = joules
    return job.id


def test_a_job_is_as_long_as_it_ran_and_draws_what_it_drew(store: Metered) -> None:
    ran(store, 1, (3, 5), max_delay=timedelta(hours=4))
    found, left_out = history_case(store, asked(), NOW)
    (job,) = found.jobs
    assert (job.submitted_s, job.duration_s, job.power_w) == (START_S + HOUR, 2 * HOUR, 500.0)
    assert (found.start, left_out) == (START, {})


def test_the_pieces_of_a_suspended_job_are_one_job(store: Metered) -> None:
    ran(store, 1, (3, 5), (8, 9))
    (job,) = history_case(store, asked(), NOW)[0].jobs
    assert (job.duration_s, job.interruptible, job.power_w) == (3 * HOUR, True, pytest.approx(2000 / 3))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ""), ({"power_cap": "70%"}, "70%"), ({"shared": True}, "none"), ({"gpu_model": "1g.10gb"}, "none"),
        ({"shared": True, "power_cap": "70%"}, "none"), ({"gpu_model": "A100"}, ""),
    ],
)  # fmt: skip
def test_a_job_on_a_part_of_a_board_gets_no_site_s_default_power_limit(
    store: Metered, spec: dict[str, Any], expected: str
) -> None:
    ran(store, 1, (3, 5), **spec)
    (job,) = history_case(store, asked(), NOW)[0].jobs
    assert job.power_limit == expected


def test_without_a_reading_the_stated_power_counts_and_without_that_the_job_is_left_out(store: Metered) -> None:
    ran(store, 1, (1, 2), joules=None, power_w=700.0)
    ran(store, 1, (2, 3), joules=None)
    found, left_out = history_case(store, asked(), NOW)
    assert [job.power_w for job in found.jobs] == [700.0]
    assert left_out == {"power unknown": 1}


def test_what_cannot_be_simulated_is_left_out_by_reason(store: Metered) -> None:
    ran(store, 1, (1, 2))
    ran(store, 1, (1, 2), gpus=0)
    ran(store, 45, (46, 47))
    _, left_out = history_case(store, asked(), NOW)
    assert left_out == {"no GPU": 1, "intensities not measured": 1}


def test_the_options_change_jobs_of_the_past_too(store: Metered) -> None:
    ran(store, 1, (1, 2))
    found, _ = history_case(store, asked(overrides=JobOverrides(max_delay=timedelta(hours=12))), NOW)
    assert found.jobs[0].max_delay_s == 12 * HOUR


def test_jobs_from_before_the_span_are_not_taken(store: Metered) -> None:
    ran(store, 1, (1, 2))
    ran(store, 20, (20, 21))
    found, _ = history_case(store, asked(span=timedelta(hours=50)), NOW)
    assert [job.submitted_s for job in found.jobs] == [START_S + 20 * HOUR]


@pytest.mark.parametrize(("zone", "said"), [("FR", "no intensities of FR are stored"), ("GB", "none succeeded")])
def test_a_past_that_holds_nothing_is_refused(zone: str, said: str, store: Metered) -> None:
    with pytest.raises(InvalidInput) as error:
        history_case(store, asked(zone=zone), NOW)
    assert said in str(error.value.problems[0])


def test_a_past_can_be_compared(store: Metered) -> None:
    for hour in range(5):
        ran(store, hour, (hour, hour + 1))
    found, _ = history_case(store, asked(), NOW)
    told = compare(found, policies_of([], []))
    assert told.saving_ratio("greenrun") == pytest.approx(0.0)  # it only ever got dirtier
