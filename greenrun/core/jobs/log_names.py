"""The patterns in a log's name, such as `%j` for the job's id: those of sbatch(1), and what they stand for here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from greenrun.core.jobs.job import Job
from greenrun.core.jobs.spec import JobSpec

PATTERNS = "%j %x %A %a %b %u %N %J %s %t %n %%"
ID_LETTERS = frozenset("jJ")  # of patterns that differ from job to job
INDEX_LETTERS = frozenset("ab")  # of patterns that only a job of an array has
_LETTERS = frozenset("jxAabuNJstn%")
_NUMBERS = frozenset("jAab")  # which a width pads with zeros: %4j is 0012
_PATTERN = re.compile(r"%(\d{0,2})(.?)", re.DOTALL)


def letters_of(name: str) -> frozenset[str]:
    """Return the letters of all patterns in a log's name; "" for a sign at its end."""
    return frozenset(found[2] for found in _PATTERN.finditer(name))


def unknown_patterns(name: str) -> list[str]:
    """Return the patterns in a log's name that stand for nothing."""
    return [found[0] for found in _PATTERN.finditer(name) if found[2] not in _LETTERS]


def literal(path: str) -> str:
    """Return the name of a log that means exactly this path."""
    return path.replace("%", "%%")


def filled(name: str, values: Mapping[str, object]) -> str:
    """Return a log's name with the patterns of these letters filled in; the others stay as they are."""

    def text(found: re.Match[str]) -> str:
        width, letter = found[1], found[2]
        if letter not in values:
            return found[0]
        return str(values[letter]).zfill(int(width)) if width and letter in _NUMBERS else str(values[letter])

    return _PATTERN.sub(text, name)


def numbered(jobs: Sequence[Job], first_id: int) -> list[Job]:
    """Return new jobs with ids from `first_id` up, and with all patterns in the names of their logs filled in.

    `%A` is the id of the first of them in the same array. In other respects the jobs stay as they are.
    """
    firsts: dict[str, int] = {}
    result = []
    for job_id, job in enumerate(jobs, start=first_id):
        first = job_id if job.spec.array is None else firsts.setdefault(job.spec.array.key, job_id)
        log = job.spec.log and log_of(job.spec, job.user, job_id, first)
        result.append(replace(job, id=job_id, spec=job.spec if log == job.spec.log else replace(job.spec, log=log)))
    return result


def log_of(spec: JobSpec, user: str, job_id: int = 0, first: int = 0) -> str:
    """Return the path of the log of a job that has one, with this id, `first` being that of its array."""
    name = (spec.name or spec.command[0].rpartition("/")[2]).replace("/", "_")
    step = {"J": f"{job_id}.0", "s": 0, "t": 0, "n": 0}  # a run is one step of one task on one node
    index = {} if spec.array is None else {"a": spec.array.index, "b": spec.array.index % 10}
    values = {"j": job_id, "A": first, "x": name, "u": user.replace("/", "_"), "%": "%", **step, **index}
    return filled(spec.log or "", values)
