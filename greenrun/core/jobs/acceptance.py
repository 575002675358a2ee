"""Keep new jobs, each request's all or none, and those of a known unique key once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from greenrun.core.errors import JobError, KeyOfAnotherJob
from greenrun.core.jobs import transitions
from greenrun.core.jobs.job import Job, JobRequest
from greenrun.core.jobs.transitions import Change

_Name = tuple[str, str] | tuple[int, int]


class Accepting(Protocol):
    """As much of a transaction as it takes."""

    def find_unique(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""

    def keep_all(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Write changes, each of another job; return them with the ids that their jobs have been given."""


def keep_new(stored: Accepting, requests: Sequence[JobRequest]) -> list[list[tuple[Job, bool]] | KeyOfAnotherJob]:
    """Keep the queued jobs of requests, in this order, together.

    Return those of each, and whether each is new, which one of a known or repeated `unique_key` is not. Nothing is kept
    of a request one of whose keys is that of a job with another command, be it of a request before it.
    """
    keys: dict[str, set[str]] = {}
    for request in requests:
        keys.setdefault(request.user, set()).update(spec.unique_key for spec in request.specs if spec.unique_key)
    jobs: dict[_Name, Job] = {}
    for user, theirs in keys.items():
        jobs |= {(user, key): job for key, job in stored.find_unique(user, theirs).items()}
    commands = {name: job.spec.command for name, job in jobs.items()}
    names = [list(_names(request, number)) for number, request in enumerate(requests)]
    firsts: dict[_Name, tuple[int, int]] = {}
    refused: dict[int, KeyOfAnotherJob] = {}
    for number, row in enumerate(names):
        own: dict[_Name, tuple[str, ...]] = {}
        stated = list(zip(row, requests[number].specs, strict=True))
        for name, spec in stated:
            if commands.get(name, own.setdefault(name, spec.command)) != spec.command:
                refused[number] = KeyOfAnotherJob(f"the unique key '{name[1]}' is that of a job with another command")
        if number not in refused:
            commands |= own
            for place, (name, _) in enumerate(stated):
                if name not in jobs:
                    firsts.setdefault(name, (number, place))
    new = [_submitted(requests[number], place) for number, place in firsts.values()]
    jobs |= {name: row.job for name, row in zip(firsts, stored.keep_all(new), strict=True) if row.job}
    return [
        refused.get(number) or [(jobs[name], firsts.get(name) == (number, place)) for place, name in enumerate(row)]
        for number, row in enumerate(names)
    ]


def raised(added: list[tuple[Job, bool]] | JobError) -> list[tuple[Job, bool]]:
    """Return what was added; raise the error that stands in its place."""
    if isinstance(added, JobError):
        raise added
    return added


def _names(request: JobRequest, number: int) -> Iterator[_Name]:
    """Yield what tells each job of a request from all others: its user's key, or else its place."""
    for place, spec in enumerate(request.specs):
        yield (request.user, spec.unique_key) if spec.unique_key else (number, place)


def _submitted(request: JobRequest, place: int) -> Change:
    spec = request.specs[place]
    return transitions.submit(spec, user=request.user, uid=request.uid, now=request.now, origin=request.origin)
