"""The list of jobs, as far as a visitor may see them, with filters, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from greenrun.api.identity import Visitor
from greenrun.api.job_models import JobOut, RunOut
from greenrun.api.service import Service, ServiceDep
from greenrun.api.visibility import hides_jobs, seen_jobs
from greenrun.core.energy.ledger import sum_of_known
from greenrun.core.energy.model import Quality, worst
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.job import FINISHED, State
from greenrun.web.overview_sections import reason_counts
from greenrun.web.page_route import PageRoute, page

ROWS = 50
MOST_PAGES = 40  # what is further back is found by filters

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are asked for; empty words let all through."""

    state: str
    user: str
    project: str

    def link(self, number: int) -> str:
        """Return the address of a page of these jobs."""
        words = {"state": self.state, "user": self.user, "project": self.project}
        said = {name: word for name, word in words.items() if word}
        return f"/jobs?{urlencode({**said, 'page': number})}"

    @property
    def states(self) -> tuple[State, ...]:
        """The states that are meant; all of those that end a job for `finished`."""
        if self.state == "finished":
            return tuple(FINISHED)
        return (State(self.state),) if self.state in set(State) else ()


@router.get("/jobs")
def get_job_list(
    request: Request,
    daemon: ServiceDep,
    visitor: Visitor,
    state: Word = "",
    user: Word = "",
    project: Word = "",
    number: Annotated[int, Query(alias="page", ge=1, le=MOST_PAGES)] = 1,
) -> Response:
    """Return the list of jobs, the newest first."""
    wanted = JobFilter(state=state.strip(), user=user.strip(), project=project.strip())
    rows, has_more = _found(daemon, visitor, wanted, number) if visitor else ([], False)
    values = {
        "rows": rows,
        "energies": {row.id: energy_of(row.runs) for row in rows},
        "wanted": wanted,
        "states": [*(each.value for each in State), "finished"],
        "before": wanted.link(number - 1) if number > 1 else None,
        "after": wanted.link(number + 1) if has_more and number < MOST_PAGES else None,
        "has_more": has_more,
        "number": number,
        "queued": daemon.store.jobs.count_queued(),
        "reasons": [] if visitor else reason_counts(daemon),
    }
    return page(request, "jobs.html", values, visitor=visitor)


def energy_of(runs: Sequence[RunOut]) -> tuple[float | None, Quality]:
    """Return the energy of all runs as far as it is known, and its worst grade: UNKNOWN if a part is missing."""
    return sum_of_known(run.energy_j for run in runs), worst(run.energy_quality or Quality.UNKNOWN for run in runs)


def _found(daemon: Service, visitor: Viewer, wanted: JobFilter, number: int) -> tuple[list[JobOut], bool]:
    """Return a page of jobs, and whether there are more behind it."""
    jobs = daemon.store.jobs.jobs(
        wanted.states,
        project=wanted.project or None,
        user=wanted.user or None,
        uid=visitor.uid if hides_jobs(daemon, visitor) else None,
        limit=number * ROWS + 1,
        newest_first=True,
    )
    newest = sorted(jobs, key=lambda job: -job.id)
    return seen_jobs(daemon, visitor, newest[(number - 1) * ROWS : number * ROWS]), len(newest) > number * ROWS
