"""Ask the daemon what else is wrong with what is not well stated, so that all problems of an input are told at once.

It is asked to try what is left without the fields that are wrong, and changes nothing. Of what it answers only that is
told which stays true whatever those fields will be.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.jobs.declaration import Trait, field_infos
from greenrun.core.jobs.spec import JobSpec
from greenrun.submission.stated import Stated

if TYPE_CHECKING:
    from greenrun.client import ApiClient, ClientError

ANY = "*"  # among the fields left out: one that is not known, of a line or key that could not be read
_MOST_ROUNDS = 3  # the daemon tells what cannot be at all before what cannot be here
_COMMAND = ("true",)  # of a job that names none, so that the rest of it can be tried
_GPUS = frozenset({"gpus", "gpu_model", "gpu_memory_gib", "shared"})
_TIMES = frozenset({"duration_s", "time_limit_s", "finish_by", "max_delay_s", "start_after", "start_now", "expire"})
_OF_PLANS = _GPUS | _TIMES | {"command", "after", "array", "grid", "interruptible", "name", "project"}
_OF_CHECKPOINTS = [row.json_name for row in field_infos(JobSpec) if row.has(Trait.INTERRUPTIBLE_ONLY)]
_RESTS_ON: dict[str, frozenset[str]] = {
    **dict.fromkeys(_TIMES, _OF_PLANS),
    **dict.fromkeys(_OF_CHECKPOINTS, frozenset({"interruptible"})),
    "retry_on": frozenset({"retries"}),
    "command": frozenset({"workdir", "env", "env_file"}),
    "env_file": frozenset({"workdir"}),
    "log": frozenset({"workdir", "array", "grid"}),
    "array": frozenset({"grid", "log"}),
    "unique_key": frozenset({"command", "array", "grid"}),
}


class NumberedProblem(NamedTuple):
    """A problem that the daemon tells, of the input with this number."""

    number: int
    problem: InputProblem


Ask = Callable[[Sequence[Mapping[str, Any]]], object]


def also_refused(ask: Ask, stated: Mapping[int, Stated], *, rounds: int = _MOST_ROUNDS) -> list[NumberedProblem]:
    """Return what else is wrong with inputs by number, for which `ask` asks; nothing where no daemon can be asked.

    Fields are as the API calls them.
    """
    from greenrun.client import ClientError

    found: list[NumberedProblem] = []
    rest = dict(stated)
    for _ in range(rounds):
        try:
            ask([row.fields for row in rest.values()])
        except ClientError as exc:
            told = _told(exc, list(rest))
        else:
            break
        found += [row for row in told if _is_true(row, rest[row.number])]
        wrong: dict[int, set[str]] = {}
        for row in told:
            wrong.setdefault(row.number, set()).add(_name(row.problem.field))
        if not any(names & rest[number].fields.keys() for number, names in wrong.items()):
            break
        rest = {number: row.without(wrong.get(number, ())) for number, row in rest.items()}
    return list(dict.fromkeys(found))


def submission(client: "ApiClient") -> Ask:
    """Return what asks the daemon to try jobs; one that names no command is tried with one."""
    return lambda jobs: client.submit_many([{"command": list(_COMMAND), **job} for job in jobs], dry_run=True)


def submitted(client: "ApiClient", jobs: Sequence[dict[str, Any]], send: Callable[[], Any], *, is_list: bool) -> Any:
    """Submit well stated jobs with `send`, as a list or the only one; raise what is wrong with them all at once."""
    from greenrun.client import RequestRefused

    try:
        return send()
    except RequestRefused as exc:
        rest = {number: Stated(job) for number, job in enumerate(jobs, start=1)}
        told = _told(exc, list(rest))
        for number, problem in told:
            rest[number] = rest[number].without([_name(problem.field)])
        others = also_refused(submission(client), rest, rounds=_MOST_ROUNDS - 1) if told else ()
        raise with_more(exc, [_placed(row) if is_list else row.problem for row in others]) from exc


def with_more(error: "ClientError", others: Sequence[InputProblem]) -> "ClientError":
    """Return a refusal with more problems than it told."""
    new = [row for row in others if row not in error.errors]
    if not new:
        return error
    problems = [*error.errors, *new]
    detail = "; ".join(map(str, problems))
    return type(error)(detail, type=error.type, title=error.title, status=error.status, errors=problems)


def changed(ask: Callable[[Mapping[str, Any], bool], Any], stated: Stated) -> Any:
    """Change jobs with `ask`, which only tries where its second argument is true; raise all that is wrong at once."""
    from greenrun.client import RequestRefused

    def attempt(changes: Sequence[Mapping[str, Any]]) -> object:
        return ask(changes[0], True)

    if stated.problems:
        raise all_refused(attempt, stated, "changed")
    try:
        return ask(stated.fields, False)
    except RequestRefused as exc:
        names = {_name(row.field) for row in exc.errors}
        rest = stated.without(names)
        if not exc.errors or not rest.fields or any(row.field.startswith("job ") for row in exc.errors):
            raise
        raise with_more(exc, [row.problem for row in also_refused(attempt, {1: rest}, rounds=1)]) from exc


def all_refused(ask: Ask, stated: Stated, done: str = "submitted") -> InvalidJob:
    """Return the error of an input that is not well stated, with what the daemon says of it too."""
    from greenrun.cli.terminal.error_words import in_words
    from greenrun.submission.job_options import refused

    others = [row.problem for row in also_refused(ask, {1: stated})]
    return refused([*stated.problems, *in_words("", others)[1]], done)


def _told(error: "ClientError", numbers: Sequence[int]) -> list[NumberedProblem]:
    """Return the problems of a refusal by input; a single one has no place in a list."""
    found = []
    for row in error.errors:
        place = re.match(r"\[(\d+)\]\.?", row.field)
        index, field = (int(place[1]), row.field[place.end() :]) if place else (0, row.field)
        if index < len(numbers):
            found.append(NumberedProblem(numbers[index], InputProblem(field=field, message=row.message)))
    return found


def _placed(found: NumberedProblem) -> InputProblem:
    return InputProblem(field=f"[{found.number - 1}].{found.problem.field}", message=found.problem.message)


def _is_true(found: NumberedProblem, stated: Stated) -> bool:
    """Whether it is neither told already, nor perhaps a consequence of what was left out."""
    name = _name(found.problem.field)
    rests_on = _RESTS_ON.get(name, frozenset())
    if name in stated.told or rests_on & stated.left_out:
        return False
    is_default = name not in stated.fields or (name == "gpus" and stated.fields[name] == 1)
    return ANY not in stated.told or not (rests_on or is_default)


def _name(field: str) -> str:
    """Return the field of a job that a path is in: `labels.team` is in `labels`."""
    return re.split(r"[.\[]", field, maxsplit=1)[0]
