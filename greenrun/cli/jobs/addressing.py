"""How commands name jobs: words and filters, which the daemon resolves, and their completion in shells."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from greenrun.cli.command import USAGE, LocalError
from greenrun.cli.options import connect, job_id
from greenrun.core.jobs.job import FINISHED, State

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from greenrun.client import Answer, ApiClient

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FORMS = "a number, a range like 1-9,12, a name, or some of an array: sweep[3], sweep[1-5], 17[]"
_COMPLETION_S = 1.0  # how long a shell waits for the daemon when TAB is pressed
_RECENT = 50  # finished jobs that are offered
_UNFINISHED = tuple(state.value for state in State if state not in FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The words and filters that a command was given."""

    words: tuple[str, ...] = ()
    everything: bool = False
    states: tuple[str, ...] = ()
    project: str | None = None
    name: str | None = None

    @property
    def filters(self) -> dict[str, Any]:
        """What the client takes beside the words."""
        return {"everything": self.everything, "states": self.states, "project": self.project, "name": self.name}

    @property
    def ids(self) -> list[int] | None:
        """The numbers that were given, if nothing else was: they need nobody to find them."""
        is_plain = self.words and not self.states and self.project is None and self.name is None
        if not is_plain or not all(word.isascii() and word.isdigit() for word in self.words):
            return None
        return [job_id(word) for word in self.words]


def job_argument(command: Decorated) -> Decorated:
    """Give a command its argument JOB, which means one job."""
    return click.argument("job", metavar="JOB", shell_complete=complete_jobs)(command)


def job_filters(command: Decorated) -> Decorated:
    """Give a command its argument JOB... and the filters, which `chosen` reads."""
    options = (
        click.argument("jobs", metavar="JOB...", nargs=-1, shell_complete=complete_jobs),
        click.option("--all", "everything", is_flag=True, help="All of your jobs for which it is possible."),
        click.option(
            "--state", "states", multiple=True, metavar="STATE", shell_complete=complete_states,
            help="Only jobs in this state, or held; may be repeated.",
        ),
        click.option("--project", metavar="NAME", help="Only this project's."),
        click.option(
            "--name", metavar="NAME", shell_complete=complete_names, help="Only jobs of this name, with * and ?."
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def chosen(
    jobs: Sequence[str],
    everything: bool = False,
    states: Sequence[str] = (),
    project: str | None = None,
    name: str | None = None,
) -> Chosen:
    """Return what was chosen; raise LocalError when that is nothing, or all beside some."""
    found = Chosen(words=tuple(jobs), everything=everything, states=tuple(states), project=project, name=name)
    if found.words and everything:
        raise LocalError("--all and named jobs contradict each other: give one or the other", USAGE)
    if found == Chosen():
        raise LocalError(f"no job is named; give {FORMS}; or a filter, or --all", USAGE)
    if any(not word.strip() for word in found.words):
        raise LocalError(f"an empty word names no job; give {FORMS}", USAGE)
    known = (*(state.value for state in State), "held")
    unknown = next((state for state in states if state not in known), None)
    if unknown is not None:
        raise LocalError(f"--state: '{unknown}' is none of {', '.join(known)}", USAGE)
    return found


def selected(client: "ApiClient", picked: Chosen, purpose: str) -> "list[Answer]":
    """Return the jobs that are meant, to `read`, or to `wait` for; plain numbers are asked for one by one."""
    ids = picked.ids
    if ids is not None:
        return [client.job(number) for number in ids]
    return client.select(picked.words, purpose=purpose, **picked.filters)


def one(client: "ApiClient", word: str) -> int:
    """Return the number of the one job that a word means; raise LocalError when it means several."""
    if ids := chosen([word]).ids:
        return ids[0]
    found = selected(client, Chosen(words=(word,)), "read")
    if len(found) > 1:
        listed = ", ".join(str(job["id"]) for job in found[:10])
        raise LocalError(
            f"'{word}' means {len(found)} jobs: {listed}{', ...' if len(found) > 10 else ''}; name one", USAGE
        )
    return int(found[0]["id"])


def complete_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Offer the numbers and names of the user's jobs; nothing when the daemon does not answer within a second."""
    head, comma, last = incomplete.rpartition(",")
    rows = _known(ctx)
    named = {str(job["name"]): f"{job['state']}, job {job['id']}" for job in rows if last or comma}
    by_array = {name.rpartition("[")[0]: "array" for name in named if name.endswith("]") and "[" in name}
    offers = {str(job["id"]): f"{job['name']} ({job['state']})" for job in rows} | named | by_array
    return _items(offers, last, head + comma)


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Offer the names of the user's jobs, those of arrays without their index."""
    names = (str(job["name"]) if not job.get("array") else str(job["name"]).rpartition("[")[0] for job in _known(ctx))
    return _items(dict.fromkeys(names, ""), incomplete)


def complete_states(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Offer the states of jobs."""
    return _items(dict.fromkeys((*(state.value for state in State), "held"), ""), incomplete)


def _items(offers: Mapping[str, str], incomplete: str, head: str = "") -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    found = ((text, told) for text, told in offers.items() if text.startswith(incomplete))
    return [CompletionItem(head + text, help=" ".join(told.split())) for text, told in found if text.isprintable()]


def _known(ctx: click.Context) -> "list[Answer]":
    """Return the user's unfinished jobs and the last finished ones, newest first; nothing in case of any trouble."""
    from greenrun.cli.options import user_name
    from greenrun.core.errors import GreenrunError

    with suppress(GreenrunError, OSError, KeyError):
        client = connect(ctx, ctx.params.get("socket"), ctx.params.get("config"))
        client.timeout_s = _COMPLETION_S
        mine = user_name()
        unfinished = client.jobs(_UNFINISHED, user=mine, limit=1000)
        finished = client.jobs(sorted(FINISHED), user=mine, limit=_RECENT)
        return sorted((*unfinished, *finished), key=lambda job: -int(job["id"]))
    return []
