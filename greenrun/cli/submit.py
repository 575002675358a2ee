"""`greenrun submit`: state a job (or many) from options, a script's own lines or a file, and hand it over."""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenrun.cli.clock import local_zone
from greenrun.cli.options import AsJson, Config, Socket, config_path, connect, print_json
from greenrun.cli.statement import OPTIONS, Here, Value, state_job
from greenrun.cli.text import array_text, reason_text, submitted_text, summed
from greenrun.cli.verb import USAGE, LocalError
from greenrun.clock import utc_now
from greenrun.core.formatting import mass_text
from greenrun.paths import find_job_environment

if TYPE_CHECKING:
    from greenrun.client import Answer

Text = str | None
Texts = list[str] | None
_PARAMETER_OF = {"now": "start_now", "label": "labels", "env": "variables"}


def _option(flags: str, metavar: str, text: str) -> Any:
    return typer.Option(*flags.split(), metavar=metavar, help=text, show_default=False)


def _flag(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text)


def submit(
    ctx: typer.Context,
    command: Annotated[Texts, typer.Argument(metavar="[--] COMMAND", hidden=True)] = None,
    gpus: Annotated[Text, _option("--gpus -g", "N", "GPUs it needs; 0 for a CPU job. [default: 1]")] = None,
    gpu_model: Annotated[Text, _option("--gpu-model", "MODEL", "The model of GPU it needs, like A100.")] = None,
    gpu_memory: Annotated[Text, _option("--gpu-memory", "GIB", "The memory each GPU must have: 40, 40GiB.")] = None,
    duration: Annotated[Text, _option("--duration", "D", "How long it is expected to run, like 6h or 1h30m.")] = None,
    time_limit: Annotated[Text, _option("--time-limit", "D", "Stop it after this long, whatever happens.")] = None,
    finish_by: Annotated[Text, _option("--finish-by", "T", "It must end by then: 18:00, 'tomorrow 9am', 36h.")] = None,
    max_delay: Annotated[Text, _option("--max-delay", "D", "Start at the latest this long after now.")] = None,
    start_after: Annotated[Text, _option("--start-after", "T", "Do not start before then.")] = None,
    start_now: Annotated[bool, _flag("--now", "Start as soon as GPUs are free; still measured.")] = False,
    expire: Annotated[bool, _flag("--expire", "Do not start it at all when its latest start is missed.")] = False,
    project: Annotated[Text, _option("--project", "NAME", "The project that its energy is booked to.")] = None,
    name: Annotated[Text, _option("--name", "NAME", "What to call it; else its command.")] = None,
    labels: Annotated[Texts, _option("--label", "K=V", "A label; may be repeated.")] = None,
    priority: Annotated[Text, _option("--priority", "N", "Higher goes first among equals. [default: 0]")] = None,
    unique: Annotated[Text, _option("--unique", "KEY", "Submit it once only, however often this is repeated.")] = None,
    power: Annotated[Text, _option("--power", "W", "The power it is expected to draw, in watts.")] = None,
    min_saving: Annotated[Text, _option("--min-saving", "5%", "Do not wait for a smaller saving.")] = None,
    run_below: Annotated[Text, _option("--run-below", "G", "Start at once when the grid is below G g/kWh.")] = None,
    retries: Annotated[Text, _option("--retries", "N", "Run it again after a failure, up to N times.")] = None,
    grace: Annotated[Text, _option("--grace", "D", "Time from TERM to KILL when it is stopped.")] = None,
    interruptible: Annotated[bool, _flag("--interruptible", "It can be checkpointed and continued later.")] = False,
    min_run: Annotated[
        Text, _option("--min-run", "D", "Do not interrupt it sooner after a start. [default: 30m]")
    ] = None,
    restart_cost: Annotated[Text, _option("--restart-cost", "D", "What continuing costs it. [default: 5m]")] = None,
    checkpoint_signal: Annotated[
        Text, _option("--checkpoint-signal", "NAME", "What tells it to checkpoint. [default: USR1]")
    ] = None,
    checkpoint_exit_code: Annotated[
        Text, _option("--checkpoint-exit-code", "N", "What it ends with when it has checkpointed. [default: 85]")
    ] = None,
    after: Annotated[
        Texts, _option("--after", "ID[:ok|any]", "Start once that job succeeded (any: ended); may be repeated.")
    ] = None,
    array: Annotated[
        Text, _option("--array", "0-9%4", "One job per index, here 4 at once; also 1,3,5 and 0-20:5.")
    ] = None,
    grid: Annotated[Texts, _option("--grid", "K=V,V", "One job per value; repeated: per combination.")] = None,
    workdir: Annotated[Text, _option("--workdir", "DIR", "The folder it runs in. [default: this one]")] = None,
    variables: Annotated[Texts, _option("--env", "NAME[=V]", "A variable it gets; may be repeated.")] = None,
    env_file: Annotated[Text, _option("--env-file", "FILE", "A file of NAME=value lines, read when it starts.")] = None,
    log: Annotated[Text, _option("--log", "FILE", "Where its output goes; else the run's own log.")] = None,
    stop_on: Annotated[
        Texts, _option("--stop-on", "A,B", "Stop it when it is noticed to be gpu_idle, stuck or power_off.")
    ] = None,
    file: Annotated[Text, _option("--file", "FILE", "Submit all jobs of a TOML file ([[job]]), or none.")] = None,
    dry_run: Annotated[bool, _flag("--dry-run", "Say when it would run and why; submit nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the job's number alone.")] = False,
    as_json: AsJson = False,
    socket: Socket = None,
    config: Config = None,
) -> None:
    """Submit a job that starts when the grid is cleanest within its limits.

    Everything from the first word that is not an option (or after --) is the job's command. A script with a #! line may
    hold options itself, in lines like '#GREENRUN --gpus 2'; #SBATCH lines with a counterpart are understood too.
    Options given here win. The job gets PATH, HOME, the locale and the Python and Conda variables of this shell, and
    what --env and --env-file name.

    \b
    greenrun submit --duration 6h --finish-by "tomorrow 9am" -- python train.py --epochs 90
    greenrun submit --gpus 2 --max-delay 12h --project vision ./train.sh
    greenrun submit --grid lr=1e-3,1e-4 --grid seed=1,2,3 --array %2 -- ./train.sh
    greenrun submit --after 12 --interruptible --min-run 1h -- python train.py --resume
    greenrun submit --file sweep.toml --dry-run
    """
    names = find_job_environment(config_path(ctx, config))
    here = Here(now=utc_now(), zone=local_zone, folder=Path.cwd(), environ=os.environ, variables=names)
    given, words = _given(ctx.params), command or []
    if file is not None:
        jobs = _from_file(Path(file).expanduser(), words, given, here)
        _print(connect(ctx, socket, config).submit_many(jobs, dry_run), as_json=as_json, quiet=quiet, many=True)
        return
    job = _from_words(words, given, here)
    client = connect(ctx, socket, config)
    if "array" in job or "grid" in job:
        answers, new = client.offer_sweep(job, dry_run)
        _print(answers, as_json=as_json, quiet=quiet, many=True, new=new)
        return
    answer, new = client.offer(job, dry_run)
    _print([answer], as_json=as_json, quiet=quiet, new=new)


def _given(params: Mapping[str, Any]) -> dict[str, Value]:
    """Return the job options that were given, by long name."""
    given = {}
    for name in OPTIONS:
        value = params.get(_PARAMETER_OF.get(name, name.replace("-", "_")))
        if value not in (None, False, [], ()):
            texts = tuple(value) if isinstance(value, (list, tuple)) else (str(value),)
            given[name] = Value(texts, f"--{name}")
    return given


def _from_words(words: Sequence[str], given: Mapping[str, Value], here: Here) -> dict[str, Any]:
    if not words or not (here.folder / words[0]).is_file():
        return state_job(given, words, here)
    from greenrun.cli.script import find_script, read_script

    path = find_script(words, here.folder, here.environ.get("PATH", ""))
    if path is None:
        return state_job(given, words, here)
    script = read_script(path, words)
    for note in script.notes:
        print(f"note: {note}", file=sys.stderr)
    return state_job({**script.values, **given}, script.command, here)


def _from_file(path: Path, words: Sequence[str], given: Mapping[str, Value], here: Here) -> list[dict[str, Any]]:
    from greenrun.cli.jobfile import read_jobs

    if words:
        raise LocalError(f"give a command or --file, not both ('{words[0]}' was given too)", USAGE)
    return read_jobs(path, given, here)


def _print(answers: Sequence["Answer"], *, as_json: bool, quiet: bool, many: bool = False, new: bool = True) -> None:
    if as_json:
        print_json(list(answers) if many else answers[0])
        return
    if quiet:
        for job in answers:
            print("" if job["id"] is None else job["id"])
        return
    for _, group in groupby(answers, key=_array_or_itself):
        jobs = list(group)
        print(submitted_text(jobs[0], utc_now(), new=new) if len(jobs) == 1 else array_text(jobs, utc_now(), new=new))
        if jobs[0]["id"] is None:
            _print_expectation(jobs)


def _array_or_itself(job: "Answer") -> object:
    array = job.get("array")
    return array["key"] if array else id(job)


def _print_expectation(jobs: "Sequence[Answer]") -> None:
    planned = [job.get("planned") or {} for job in jobs]
    now_g, then_g = (summed(row.get(name) for row in planned) for name in ("start_now_g", "expected_g"))
    print(f"  expected emissions: {mass_text(then_g)} CO2e; started now: {mass_text(now_g)} CO2e")
    if any(row.get("expected_g") is None and row.get("g_per_kwh") is not None for row in planned):
        print("  (its power is unknown; give it with --power)")
    if len(jobs) == 1 and reason_text(jobs[0]):
        print(f"  because: {reason_text(jobs[0])}")
