"""The table of commands; each is imported only when it is called, so that `--help` and `submit` start fast."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

import greenrun
from greenrun.cli.options import Config, Socket
from greenrun.cli.verb import INTERRUPTED, PIPE_CLOSED, Group, load

# name: (where it is, one line of help)
VERBS = {
    "serve": ("greenrun.cli.serve:serve", "Run the daemon in the foreground."),
    "submit": ("greenrun.cli.submit:submit", "Submit a job that starts when the grid is clean."),
    "list": ("greenrun.cli.jobs:list_jobs", "List jobs: what waits, runs and has finished."),
    "show": ("greenrun.cli.jobs:show", "Show everything about one job."),
    "explain": ("greenrun.cli.jobs:explain", "Say why a job waits, runs or ended."),
    "logs": ("greenrun.cli.logs:logs", "Print what a job has written."),
    "wait": ("greenrun.cli.control:wait", "Wait until jobs are finished; exit with their exit code."),
    "cancel": ("greenrun.cli.control:cancel", "Cancel jobs, waiting or running."),
    "hold": ("greenrun.cli.control:hold", "Keep waiting jobs from starting."),
    "release": ("greenrun.cli.control:release", "Let held jobs go."),
    "start-now": ("greenrun.cli.control:start_now", "Start waiting jobs as soon as GPUs are free."),
    "plan": ("greenrun.cli.grid:plan", "Show what starts when, and why."),
    "forecast": ("greenrun.cli.grid:forecast", "Show the carbon intensity of the hours to come."),
    "providers": ("greenrun.cli.providers:app", "Show and check the sources of carbon intensity."),
    "zones": ("greenrun.cli.zones:zones", "List the zones that sources serve."),
    "history": ("greenrun.cli.history:app", "Add to what is known of the past."),
    "report": ("greenrun.cli.report:report", "Report energy and emissions of a period."),
    "estimate": ("greenrun.cli.estimate:estimate", "Estimate a job's energy and emissions before it runs."),
    "measure": ("greenrun.cli.measure:measure", "Measure what a command, or a while, uses."),
    "simulate": ("greenrun.cli.simulate:simulate", "Compare policies on recorded jobs and a recorded grid."),
    "demo": ("greenrun.cli.demo:demo", "Watch it all work in a minute, on a made-up grid."),
    "config": ("greenrun.cli.config:app", "Check, show and find the settings."),
}
# What follows the command's first word is the job's own, options included.
_SETTINGS = {name: {"allow_interspersed_args": False} for name in ("submit", "measure")}


class Verbs(Group):
    """A group that knows its commands' names and one line of each, and loads one when it is called."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in VERBS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the named command, imported now, and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(VERBS[name][0], name, _SETTINGS.get(name)) if name else None, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a reader that went away (`| head`) ends it quietly."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            raise typer.Exit(PIPE_CLOSED) from None


app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"greenrun {greenrun.__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 failed, 2 usage or refused, 3 not found, 4 not permitted, "
    "5 daemon not reachable, 6 timed out waiting, 7 storage full, 78 bad settings."
)
def root(
    socket: Socket = None,
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run machine-learning jobs when the electricity is clean, and account for what they used.

    \b
    greenrun serve &                                    start the daemon
    greenrun submit --duration 6h -- python train.py    hand it a job
    greenrun list                                       see when it will run
    """


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; the arguments are sys.argv's when None."""
    try:
        get_command(app).main(args=argv, prog_name="greenrun")
    except SystemExit as exit_:
        return _flushed(exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code)))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    return code


def _drop_output() -> None:
    """Point stdout at nothing, so that Python's own flush at exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
