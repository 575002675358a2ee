"""Say what the daemon refused in its user's words: the option, or the key in a job file, not the API's field."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from greenrun.cli.jobs.job_options import OPTIONS
from greenrun.client import RequestRefused
from greenrun.core.errors import InputProblem

_FIELD = re.compile(r"(?:\[(?P<job>\d+)\]\.?)?(?P<name>[a-z_0-9]*)(?P<inner>.*)")


@contextmanager
def in_words_of(*, file: bool) -> Iterator[None]:
    """Raise a refusal of what is submitted within again, with fields as the command line, or a job file, names them."""
    try:
        yield
    except RequestRefused as exc:
        errors = [InputProblem(field=_place(row.field, file=file), message=row.message) for row in exc.errors]
        detail = "; ".join(map(str, errors)) if exc.detail == "; ".join(map(str, exc.errors)) else exc.detail
        raise RequestRefused(detail, type=exc.type, title=exc.title, status=exc.status, errors=errors) from exc


def _place(field: str, *, file: bool) -> str:
    found = _FIELD.fullmatch(field)
    if found is None:
        return field
    names = {option.field: name for name, option in OPTIONS.items()}
    name = names.get(found["name"], found["name"])
    own = f"--{name}" if not file and found["name"] in names else name
    where = f"job {int(found['job'] or 0) + 1}: " if file else ""
    return f"{where}{own}{found['inner']}".removesuffix(": ")
