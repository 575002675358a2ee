"""`greenrun edit` and `requeue`: change what jobs are while they wait, and let those that have ended run again."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from greenrun.cli.command import USAGE, Command, LocalError
from greenrun.cli.jobs.addressing import chosen, complete_jobs, complete_states, selected
from greenrun.cli.jobs.trial import changed
from greenrun.cli.option_headings import OF_JOBS
from greenrun.cli.options import config_path, connect, daemon_options, print_json
from greenrun.cli.text import submitted_text
from greenrun.clock import utc_now
from greenrun.core.errors import InputProblem
from greenrun.submission import environment
from greenrun.submission.job_options import OPTIONS, SubmissionContext, Value, state_changes
from greenrun.submission.present_context import present_context
from greenrun.submission.stated import Stated

if TYPE_CHECKING:
    from greenrun.client import Answer

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_FIXED = ("unique", "after", "array", "grid", "env")  # said once, at submission
_COMMAND = "greenrun.command"
_HELP = {"max-delay": "Start at the latest this long after its submission or last requeue."}  # not after now


class CommandAfterDashes(Command):
    """A command that takes the words behind `--` as a job's command, apart from its own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep them in the context."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


def change_options(command: Decorated) -> Decorated:
    """Give a command the options of a job that may change, and the jobs that are meant."""
    for name, option in reversed(OPTIONS.items()):
        if name in _FIXED:
            continue
        if option.is_flag:
            command = click.option(f"--{name}/--no-{name}", default=None, help=option.given.help)(command)
            continue
        flags = [f"--{name}", *([f"-{option.given.short}"] if option.given.short else [])]
        kind: dict[str, Any] = {"multiple": option.repeats, "metavar": option.given.form}
        command = click.option(*flags, help=_HELP.get(name, option.given.help), **kind)(command)
    states = click.option(
        "--state", "states", multiple=True, metavar="STATE", shell_complete=complete_states,
        help="Of these jobs only those in this state; may be repeated.",
    )  # fmt: skip
    everything = click.option("--all", "everything", is_flag=True, help="All of your jobs for which it is possible.")
    jobs = click.argument("jobs", metavar="JOB... [-- COMMAND]", nargs=-1, shell_complete=complete_jobs)
    return jobs(everything(states(command)))


@click.command("edit", cls=CommandAfterDashes, headings=OF_JOBS)
@change_options
@daemon_options
@click.pass_context
def edit(
    ctx: click.Context,
    /,
    jobs: tuple[str, ...],
    everything: bool,
    states: tuple[str, ...],
    as_json: bool,
    socket: str | None,
    config: str | None,
    **options: Any,
) -> None:
    """Change jobs while they wait, all of those named or none; what can be refused is refused, as at submission.

    'none' takes a limit away or back to its default. A label is added to those that a job has. What a running job has
    begun with stays; its name, priority, duration, retries and limits of its queueing may change. With --json, one
    object per line.

    \b
    greenrun edit 12 --priority 5 --finish-by "tomorrow 9am"
    greenrun edit sweep --duration 3h --max-delay none
    greenrun edit 12 -- python train.py --epochs 30
    """
    picked = chosen(jobs, everything, states)
    context = present_context(config_path(ctx, config), is_new=False)
    changes = _changes(ctx, options, context)
    if not changes.fields and not changes.problems:
        raise LocalError("nothing is to be changed: give an option, or a command after --", USAGE)
    client = connect(ctx, socket, config)

    def ask(fields: Mapping[str, Any], dry_run: bool) -> "list[Answer]":
        if not fields:  # all of them are wrong, so there is nothing to try
            return []
        return client.edit_many(fields, picked.ids or picked.words, dry_run=dry_run, **picked.filters)

    _tell(changed(ask, changes), as_json)


@click.command("requeue", cls=CommandAfterDashes, headings=OF_JOBS)
@change_options
@click.option("--env", multiple=True, metavar="NAME[=V]", help="The value of a variable that it had; may be repeated.")
@daemon_options
@click.pass_context
def requeue(
    ctx: click.Context,
    /,
    jobs: tuple[str, ...],
    everything: bool,
    states: tuple[str, ...],
    env: tuple[str, ...],
    as_json: bool,
    socket: str | None,
    config: str | None,
    **options: Any,
) -> None:
    """Let jobs that have ended run again: the same job with another run, all its retries, and changes if there are any.

    The values of its variables were deleted when it ended, so they are taken from this shell, or from --env. One that
    waits or runs is left alone. With --json, one object per line.

    \b
    greenrun requeue 12
    greenrun requeue 12 --time-limit 8h --finish-by none
    greenrun requeue --all --state failed
    """
    picked = chosen(jobs, everything, states)
    context = present_context(config_path(ctx, config), is_new=False)
    changes = _changes(ctx, options, context)
    client = connect(ctx, socket, config)
    found = selected(client, picked, "requeue")
    values, problems = _values(found, env, context)
    told = changes.told | ({"env"} if problems else set())
    stated = changes._replace(problems=[*changes.problems, *problems], told=told)

    def ask(fields: Mapping[str, Any], dry_run: bool) -> "list[Answer]":
        return client.requeue_many(values, fields, [job["id"] for job in found], dry_run=dry_run)

    _tell(changed(ask, stated), as_json)


def _changes(ctx: click.Context, options: Mapping[str, Any], context: SubmissionContext) -> Stated:
    given: dict[str, Value] = {}
    for name in OPTIONS:
        value = options.get(name.replace("-", "_"))
        if value not in (None, ()):
            given[name] = Value(value if isinstance(value, tuple) else (str(value),), f"--{name}")
    command = ctx.meta.get(_COMMAND, ())
    stated = state_changes(given, context)
    return stated._replace(fields={**stated.fields, "command": list(command)}) if command else stated


def _values(
    jobs: "Sequence[Answer]", given: Sequence[str], context: SubmissionContext
) -> tuple[dict[str, str], list[InputProblem]]:
    """Return the values of the variables of these jobs, as this shell has them or as given, and what is wrong."""
    problems = []
    named = {name for job in jobs for name in job["env_names"] or ()}
    kept = environment.kept(context.environ, context.variables)
    values = {name: context.environ[name] for name in named if name in context.environ} | {
        name: value for name, value in kept.items() if name in named
    }
    for text in given:
        name, equals, value = text.partition("=")
        if not name or (not equals and name not in context.environ):
            problems.append(
                InputProblem(field="--env", message=f"'{text}' has no value here; write it like NAME=value")
            )
        else:
            values[name] = value if equals else context.environ[name]
    return values, problems


def _tell(jobs: "Sequence[Answer]", as_json: bool) -> None:
    for job in jobs:
        print_json(job) if as_json else print(submitted_text(job, utc_now()))
