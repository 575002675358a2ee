"""What jobs are limited to is the site's to say, never more than there is, and never given twice."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import JobSpec
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.runs.resource_limits import ResourceRules, lacking

THERE = {"memory_gib": 64.0, "cpus": 8.0}


def spec(**fields: Any) -> JobSpec:
    return JobSpec(command=("true",), workdir="/", duration=timedelta(hours=1), **fields)


def limits(of: JobSpec) -> tuple[float | None, float | None, int | None]:
    return of.memory_gib, of.cpus, of.io_weight


@pytest.mark.parametrize(
    ("rules", "asked", "expected"),
    [
        (ResourceRules(), {}, (None, None, None)),
        (ResourceRules(usual={"memory_gib": 8.0, "io_weight": 50.0}), {}, (8.0, None, 50)),
        (ResourceRules(usual={"memory_gib": 8.0}), {"memory_gib": 2.0, "cpus": 3.0}, (2.0, 3.0, None)),
        (ResourceRules(most={"cpus": 4.0}), {}, (None, 4.0, None)),  # no job is without a limit
        (ResourceRules(usual={"cpus": 6.0}, most={"cpus": 4.0}), {}, (None, 4.0, None)),
    ],
)
def test_a_job_that_asks_for_nothing_gets_what_is_usual_and_never_more_than_the_most(
    rules: ResourceRules, asked: dict[str, Any], expected: tuple[float | None, float | None, int | None]
) -> None:
    assert limits(rules.with_usual(spec(**asked))) == expected


def test_each_limit_that_cannot_be_had_is_told_with_its_rule() -> None:
    rules = ResourceRules(most={"memory_gib": 32.0, "io_weight": 200.0}, there=THERE, why_not={"io_weight": "no disk"})
    found = {row.field: row.message for row in rules.problems(spec(memory_gib=33.0, cpus=9.0, io_weight=100))}
    assert found == {
        "memory_gib": "asks for 33 GiB of memory, more than the 32 GiB of memory that a job may have here "
        "([limits] memory_max): ask for less",
        "cpus": "asks for 9 CPUs, and this machine has 8 CPUs: ask for less",
        "io_weight": "no disk: leave --io-weight out",
    }
    assert not list(rules.problems(spec(memory_gib=32.0, cpus=8.0)))


def test_what_those_that_run_were_given_is_waited_for() -> None:
    running = [spec(memory_gib=40.0), spec(cpus=7.5), spec()]
    reasons = [
        lacking(spec(**each), running, THERE) for each in ({"memory_gib": 24.0}, {"memory_gib": 25.0}, {"cpus": 1.0})
    ]
    assert reasons[0] is None
    assert [(row.code, row.text) for row in reasons[1:] if row] == [
        (ReasonCode.RESOURCES_BUSY, "waits for 25 GiB of memory: jobs that run have been given 40 GiB of memory of the "
         "64 GiB of memory that this machine has"),
        (ReasonCode.RESOURCES_BUSY, "waits for 1 CPU: jobs that run have been given 7.5 CPUs of the 8 CPUs that this "
         "machine has"),
    ]  # fmt: skip
    assert lacking(spec(memory_gib=64.0), [spec()], THERE) is None


@given(st.lists(st.floats(0.1, 64), max_size=30))
def test_never_more_memory_is_given_than_there_is_and_a_job_that_fits_alone_starts_alone(asked: list[float]) -> None:
    running: list[JobSpec] = []
    for amount in asked:
        job = spec(memory_gib=amount)
        if lacking(job, running, THERE) is None:
            running.append(job)
        else:
            assert running
    assert sum(row.memory_gib or 0 for row in running) <= 64.0 * (1 + 1e-6)
