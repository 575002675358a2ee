"""Which queued jobs may start as far as other jobs go: those they wait for, and those of their own array.

A job can only name jobs that exist when it is submitted, so what it waits for has a lower id: there are no cycles, and
in order of id every job comes after those that it waits for.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from greenrun.core.formatting import instant_text
from greenrun.core.jobs.job import FINISHED, After, Dependency, Job, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because

_ENDINGS = {After.OK: "to succeed", After.ANY: "to end"}


def blocked(job: Job, states: Mapping[int, State], planned: datetime | None = None) -> Reason | None:
    """Return what the job waits for: its first dependency that is not met; None when all are.

    `states` tells the state of each job that it names; one that is not in it is not known to have ended. `planned` is
    when it is to start if the others end as expected.
    """
    unmet = next((row for row in job.spec.after if not _is_met(row, states.get(row.job_id))), None)
    if unmet is None:
        return None
    then = "" if planned is None else f" and is planned for {instant_text(planned)}"
    return because(ReasonCode.WAITS_FOR, job=unmet.job_id, ending=_ENDINGS[unmet.on], planned=then)


def predecessors(job: Job, states: Mapping[int, State]) -> list[int]:
    """Return the ids of the jobs that this one still waits for, each once."""
    unmet = (row.job_id for row in job.spec.after if not _is_met(row, states.get(row.job_id)))
    return list(dict.fromkeys(unmet))


def in_order(rows: Iterable[int], after: Mapping[int, Sequence[int]]) -> list[int]:
    """Return the rows in this order, but each behind those of them that it comes `after`."""
    wanted = list(rows)
    if not after:
        return wanted
    among, put = set(wanted), dict[int, None]()
    for row in wanted:
        chain = [] if row in put else [row]  # a chain of jobs may be longer than calls can be nested
        while chain:
            first = next((other for other in after.get(chain[-1], ()) if other in among and other not in put), None)
            if first is None:
                put[chain.pop()] = None
            else:
                chain.append(first)
    return list(put)


def hopeless(job: Job, states: Mapping[int, State]) -> Reason | None:
    """Return why the job can never start: one that had to succeed has ended otherwise; None while there is hope."""
    lost = next((row for row in job.spec.after if is_in_vain(row, states.get(row.job_id))), None)
    if lost is None:
        return None
    return because(ReasonCode.DEPENDENCY_FAILED, job=lost.job_id, ended=ended_text(states[lost.job_id]))


def is_in_vain(dependency: Dependency, state: State | None) -> bool:
    """Whether a job in `state` (None: not known) can never satisfy the dependency on it."""
    return state in FINISHED and not _is_met(dependency, state)


def ended_text(state: State) -> str:
    """How a job ended, after the word "has": `failed`, `been cancelled`, `expired`."""
    return "been cancelled" if state is State.CANCELLED else state.value


def crowded_out(jobs: Iterable[Job], live: Mapping[str, int]) -> dict[int, Reason]:
    """Return, by id, why some of these queued `jobs` wait: enough of their array are live or come before them.

    `live` counts the live jobs of each array by its key. So many of an array are let through that, with the live ones,
    `at_once` of them run; the lowest ids go first.
    """
    taken = Counter(live)
    waiting = {}
    for job in sorted(jobs, key=lambda job: job.id):
        place = job.spec.array
        if place is None or place.at_once is None:
            continue
        if taken[place.key] >= place.at_once:
            waiting[job.id] = because(ReasonCode.ARRAY_FULL, limit=place.at_once)
        taken[place.key] += 1
    return waiting


def _is_met(dependency: Dependency, state: State | None) -> bool:
    return state is State.SUCCEEDED or (dependency.on is After.ANY and state in FINISHED)
