"""Say what the daemon refused in its user's words: the option, or the key in a job file, not the API's field."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from greenrun.cli.jobs.job_options import OPTIONS
from greenrun.client import Client, ClientError, RequestRefused
from greenrun.core.errors import InputProblem

_FIELD = re.compile(r"(?:\[(?P<job>\d+)\]\.?)?(?P<name>[a-z_0-9]*)(?P<inner>.*)")


@contextmanager
def in_words_of(*, numbers: Sequence[int] = ()) -> Iterator[None]:
    """Raise a refusal of what is submitted within again, with its fields as options, or as keys of a file's jobs.

    `numbers` are those of the jobs in their file, in order; none for a job of the command line.
    """
    try:
        yield
    except RequestRefused as exc:
        errors = [InputProblem(field=_place(row.field, numbers), message=row.message) for row in exc.errors]
        detail = "; ".join(map(str, errors)) if exc.detail == "; ".join(map(str, exc.errors)) else exc.detail
        raise RequestRefused(detail, type=exc.type, title=exc.title, status=exc.status, errors=errors) from exc


def also_refused(client: Client, jobs: Mapping[int, Mapping[str, object]]) -> list[InputProblem]:
    """Return what the daemon would refuse of the well-stated jobs of a file in which others are wrong; submit nothing.

    Nothing where there is no daemon to ask: what is known already is told without it.
    """
    if not jobs:
        return []
    try:
        with in_words_of(numbers=list(jobs)):
            client.submit_many(list(jobs.values()), dry_run=True)
    except ClientError as exc:
        return list(exc.errors) if isinstance(exc, RequestRefused) else []
    return []


def _place(field: str, numbers: Sequence[int]) -> str:
    found = _FIELD.fullmatch(field)
    if found is None:
        return field
    names = {option.field: name for name, option in OPTIONS.items()}
    name = names.get(found["name"], found["name"])
    if not numbers:
        return f"{f'--{name}' if found['name'] in names else name}{found['inner']}"
    return f"job {numbers[int(found['job'] or 0)]}: {name}{found['inner']}".removesuffix(": ")
