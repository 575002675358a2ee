"""`greenrun submit`: submit a job (or many) from options, a script's own lines or a file."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import click

from greenrun.cli.command import INTERRUPTED, USAGE, Command, LocalError
from greenrun.cli.jobs.trial import all_refused, submission, submitted
from greenrun.cli.option_headings import OF_JOBS
from greenrun.cli.options import config_path, connect, daemon_options, print_json
from greenrun.cli.text import array_text, instant, printable, reason_text, submitted_text, summed
from greenrun.clock import utc_now
from greenrun.core.formatting import mass_text, ranges_text
from greenrun.submission.job_options import OPTIONS, SubmissionContext, Value, state_job
from greenrun.submission.local_zone import zones_text
from greenrun.submission.present_context import present_context
from greenrun.submission.stated import Stated

if TYPE_CHECKING:
    from greenrun.cli.jobs.job_file import ReadJobs
    from greenrun.client import Answer, ApiClient

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def job_options(command: Decorated) -> Decorated:
    """Give a command all options of a job."""
    for name, option in reversed(OPTIONS.items()):
        flags = [f"--{name}", *([f"-{option.given.short}"] if option.given.short else [])]
        kind = {"is_flag": True} if option.is_flag else {"multiple": option.repeats, "metavar": option.given.form}
        default = f" [default: {option.default}]" if option.default else ""
        command = click.option(*flags, help=option.given.help + default, **kind)(command)
    return command


@click.command("submit", cls=Command, headings=OF_JOBS, context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="[--] COMMAND", nargs=-1, type=click.UNPROCESSED)
@job_options
@click.option("--file", metavar="FILE", help="Submit all jobs of a TOML or YAML file (-: standard input), or none.")
@click.option("--dry-run", is_flag=True, help="Say when it would run and why; submit nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is finished, and exit with its exit code, as `wait` does.")
@click.option("--quiet", "-q", is_flag=True, help="Print the job's number alone.")
@daemon_options
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    command: tuple[str, ...],
    file: str | None,
    dry_run: bool,
    wait: bool,
    quiet: bool,
    as_json: bool,
    socket: str | None,
    config: str | None,
    **options: Any,
) -> None:
    """Submit a job that starts when the grid is cleanest within its limits.

    Everything from the first word that is not an option (or after --) is the job's command. A script with a #! line may
    hold options itself, in lines like '#GREENRUN --gpus 2'; #SBATCH lines are kept, noted or refused (docs/sbatch.md).
    Options given here win. The job gets PATH, HOME, the locale and the Python and Conda variables of this shell, its
    umask and its limits (ulimit), and what --env and --env-file name.

    \b
    greenrun submit --duration 6h --finish-by "tomorrow 9am" -- python train.py
    greenrun submit --gpus 2 --max-delay 12h --project vision ./train.sh
    greenrun submit --grid lr=1e-3,1e-4 --grid seed=1,2,3 --array %2 -- ./train.sh
    greenrun submit --after 12 --interruptible --min-run 1h -- python train.py
    greenrun submit --file sweep.toml --dry-run
    greenrun submit --wait -- make evaluation && ./publish.sh
    """
    if wait and dry_run:
        raise LocalError("--dry-run submits nothing that could be waited for; leave out --wait", USAGE)
    context = present_context(config_path(ctx, config))
    given, words = _given(options), list(command)
    if file is not None:
        read = _from_file(file, words, given, context)
        _tell(context.notes)
        client = connect(ctx, socket, config)
        if read.problems:
            raise read.refused(client)
        answers = submitted(client, read.jobs, lambda: client.submit_many(read.jobs, dry_run), is_list=True)
        _print(answers, as_json=as_json, quiet=quiet, many=True)
        _wait(client, answers if wait else (), as_json=as_json, quiet=quiet)
        return
    stated = _from_words(words, given, context)
    _tell(context.notes)
    client = connect(ctx, socket, config)
    if stated.problems:
        raise all_refused(submission(client), stated)
    job = stated.fields
    if "array" in job or "grid" in job:
        answers, new = submitted(client, [job], lambda: client.offer_sweep(job, dry_run), is_list=False)
        _print(answers, as_json=as_json, quiet=quiet, many=True, new=new or "unique_key" not in job)
        _wait(client, answers if wait else (), as_json=as_json, quiet=quiet)
        return
    answer, new = submitted(client, [job], lambda: client.offer(job, dry_run), is_list=False)
    _print([answer], as_json=as_json, quiet=quiet, new=new or "unique_key" not in job)  # else it was asked for twice
    _wait(client, [answer] if wait else (), as_json=as_json, quiet=quiet)


def _wait(client: "ApiClient", jobs: "Sequence[Answer]", *, as_json: bool, quiet: bool) -> None:
    """Wait until these jobs are finished, and leave with their exit code; Ctrl-C ends the waiting alone."""
    if not jobs:
        return
    from greenrun.cli.jobs.control import wait_for

    ids = [int(job["id"]) for job in jobs]
    sys.stdout.flush()
    try:
        code = wait_for(client, ids, None, as_json, quiet=quiet)
    except KeyboardInterrupt:
        named = ranges_text(ids).replace(" ", "")
        which, go = (f"job {named}", "goes") if len(ids) == 1 else (f"jobs {named}", "go")
        print(f"{which} {go} on, only the waiting ended; `greenrun wait {named}` waits again", file=sys.stderr)
        code = INTERRUPTED
    raise click.exceptions.Exit(code)


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _given(options: Mapping[str, Any]) -> dict[str, Value]:
    """Return the job options that were given, by long name."""
    given = {}
    for name in OPTIONS:
        value = options[name.replace("-", "_")]
        if value not in (None, False, ()):
            given[name] = Value(value if isinstance(value, tuple) else (str(value),), f"--{name}")
    return given


def _from_words(words: Sequence[str], given: Mapping[str, Value], context: SubmissionContext) -> Stated:
    if not words or not (context.folder / words[0]).is_file():
        return state_job(given, words, context)
    from greenrun.cli.jobs.script import state_scripted

    return state_scripted(words, given, context)


def _from_file(name: str, words: Sequence[str], given: Mapping[str, Value], context: SubmissionContext) -> "ReadJobs":
    from greenrun.cli.jobs.job_file import read_jobs

    if words:
        raise LocalError(f"give a command or --file, not both ('{words[0]}' was given too)", USAGE)
    return read_jobs(name, given, context)


def _print(answers: Sequence["Answer"], *, as_json: bool, quiet: bool, many: bool = False, new: bool = True) -> None:
    _warn(answers)
    if as_json:
        print_json(list(answers) if many else answers[0])
        return
    if quiet:
        for job in answers:
            print("" if job["id"] is None else job["id"])
        return
    for _, group in groupby(answers, key=_array_or_itself):
        jobs = list(group)
        said = submitted_text(jobs[0], utc_now(), new=new) if len(jobs) == 1 else array_text(jobs, utc_now(), new=new)
        zones = f"times in {_zones(jobs)}" if re.search(r"\d\d:\d\d", said) else ""
        print(f"{said}{f' ({zones})' if ': ' in said else f', {zones}'}" if zones else said)
        if jobs[0]["id"] is None:
            _print_expectation(jobs)
        for line in _budget_lines(jobs):
            print(f"  {line}")


def _warn(answers: Sequence["Answer"]) -> None:
    warnings = dict.fromkeys(warning for job in answers for warning in job.get("warnings") or ())
    if warnings:
        from greenrun.cli.terminal.error_words import message_words

        for warning in warnings:
            print(f"warning: {printable(message_words(warning))}", file=sys.stderr)


def _budget_lines(jobs: "Sequence[Answer]") -> list[str]:
    """Say what jobs are expected to take of each budget, together."""
    if not any(job.get("budgets") for job in jobs):
        return []
    from greenrun.core.budgets.budget import Measure, amount_text

    found: dict[tuple[str, str], list[Answer]] = {}
    for job in jobs:
        for row in job.get("budgets") or ():
            found.setdefault((f"{row['kind']} {printable(row['name'])}", row["measure"]), []).append(row)
    said: dict[str, list[str]] = {}
    for (owner, name), rows in found.items():
        expected, measure, first = summed(row["expected"] for row in rows), Measure(name), rows[0]
        amounts = [amount_text(amount, measure, first["currency"]) for amount in (expected, first["left"])]
        takes = "an unknown share" if expected is None else amounts[0]
        said.setdefault(f"left in the budget of {owner} this {first['period']}", []).append(f"{takes} of {amounts[1]}")
    takes = "are expected to take" if len(jobs) > 1 else "is expected to take"
    return [f"{takes} {', '.join(parts)} {where}" for where, parts in said.items()]


def _zones(jobs: "Sequence[Answer]") -> str:
    planned = (job["planned"] for job in jobs if job.get("planned"))
    return zones_text(utc_now(), *(instant(row[edge]) for row in planned for edge in ("start", "end")))


def _array_or_itself(job: "Answer") -> object:
    array = job.get("array")
    return array["key"] if array else id(job)


def _emissions_text(mass_g: float | None, marginal: str) -> str:
    return mass_text(mass_g) if mass_g is None else f"{mass_text(mass_g)} CO2e{marginal}"


def _print_expectation(jobs: "Sequence[Answer]") -> None:
    planned = [job.get("planned") or {} for job in jobs]
    now_g, then_g = (summed(row.get(name) for row in planned) for name in ("start_now_g", "expected_g"))
    marginal = " marginal" if any(row.get("signal") == "marginal" for row in planned) else ""
    print(f"  expected emissions: {_emissions_text(then_g, marginal)}; started now: {_emissions_text(now_g, marginal)}")
    if any(row.get("expected_g") is None and row.get("g_per_kwh") is not None for row in planned):
        print("  (its power is unknown; give it with --power)")
    if len(jobs) == 1 and reason_text(jobs[0]):
        print(f"  because: {reason_text(jobs[0])}")
