"""The table of commands; each is imported only when it is called, so that `--help` and `submit` start fast."""

import importlib
import os
import sys
from typing import Any

import click

import greenrun
from greenrun.cli.command import FAILED, INTERRUPTED, OK, PIPE_CLOSED, Group
from greenrun.cli.options import config_option, socket_option
from greenrun.cli.terminal.encoding import tolerate_any_encoding

# name: (where it is, one line of help)
COMMANDS = {
    "init": ("greenrun.cli.setup.init:init", "Write settings for this machine and its zone."),
    "doctor": ("greenrun.cli.setup.doctor:doctor", "Check this machine and say how to mend it."),
    "serve": ("greenrun.cli.serve:serve", "Run the daemon in the foreground."),
    "submit": ("greenrun.cli.jobs.submit:submit", "Submit a job that starts when the grid is clean."),
    "list": ("greenrun.cli.jobs.listing:list_jobs", "List jobs: what waits, runs and has finished."),
    "top": ("greenrun.cli.top.top:top", "Watch the grid, the plan, the jobs and the GPUs, live."),
    "show": ("greenrun.cli.jobs.show:show", "Show everything about one job."),
    "explain": ("greenrun.cli.jobs.show:explain", "Say why a job waits, runs or ended."),
    "logs": ("greenrun.cli.jobs.logs:logs", "Print what a job has written."),
    "wait": ("greenrun.cli.jobs.control:wait", "Wait until jobs are finished; exit with their exit code."),
    "cancel": ("greenrun.cli.jobs.control:cancel", "Cancel jobs, waiting or running."),
    "hold": ("greenrun.cli.jobs.control:hold", "Keep waiting jobs from starting."),
    "release": ("greenrun.cli.jobs.control:release", "Let held jobs go."),
    "start-now": ("greenrun.cli.jobs.control:start_now", "Start waiting jobs as soon as GPUs are free."),
    "approve": ("greenrun.cli.jobs.control:approve", "Let waiting jobs go over a budget, as an admin."),
    "edit": ("greenrun.cli.jobs.edit:edit", "Change jobs while they wait."),
    "requeue": ("greenrun.cli.jobs.edit:requeue", "Let jobs that have ended run again."),
    "events": ("greenrun.cli.jobs.events:events", "Tell what happened to jobs and to the daemon."),
    "plan": ("greenrun.cli.grid.plan:plan", "Show what starts when, and why."),
    "devices": ("greenrun.cli.devices.overview:devices", "Show the devices, who has them, and what keeps jobs away."),
    "drain": ("greenrun.cli.devices.drain:drain", "Start no more jobs on this machine, or on some GPUs."),
    "resume": ("greenrun.cli.devices.drain:resume", "Let jobs start again where it was drained."),
    "reserve": ("greenrun.cli.devices.reserve:app", "Keep GPUs from jobs for a while, for people who work on them."),
    "forecast": ("greenrun.cli.grid.forecast:forecast", "Show the carbon intensity of the hours to come."),
    "providers": ("greenrun.cli.grid.providers:app", "Show and check the sources of carbon intensity."),
    "zones": ("greenrun.cli.grid.zones:zones", "List the zones that sources serve."),
    "history": ("greenrun.cli.grid.history:app", "Add to what is known of the past."),
    "report": ("greenrun.cli.report:report", "Report energy and emissions of a period."),
    "budget": ("greenrun.cli.budgets.budget:budget", "Show what is left of budgets and quotas."),
    "estimate": ("greenrun.cli.estimate:estimate", "Estimate a job's energy and emissions before it runs."),
    "web": ("greenrun.cli.access.web:web", "Open the page in a browser, signed in as you."),
    "token": ("greenrun.cli.access.tokens:token", "Create and revoke tokens, for programs elsewhere."),
    "session": ("greenrun.cli.access.tokens:session", "List and end the sessions of browsers."),
    "measure": ("greenrun.cli.measure:measure", "Measure what a command, or a while, uses."),
    "simulate": ("greenrun.cli.simulate:simulate", "Compare policies on recorded jobs and a recorded grid."),
    "demo": ("greenrun.cli.demonstration.play:demo", "Watch it all work in a minute, on a made-up grid."),
    "stray-runs": (
        "greenrun.cli.jobs.stray_runs:stray_runs",
        "List and end runs that no database knows.",
    ),
    "config": ("greenrun.cli.config:app", "Check, show and find the settings."),
}


# What other schedulers, Docker and the shell call the same, for whoever types that: each name has its words.
_CALLED_ELSEWHERE = {
    "list": "ls ps jobs queue squeue qstat status stat sacct",
    "submit": "run sbatch srun qsub add exec enqueue",
    "cancel": "kill scancel qdel rm remove delete stop abort",
    "logs": "tail output attach",
    "show": "info inspect describe",
    "explain": "why",
    "top": "watch monitor htop",
    "hold": "pause",
    "requeue": "retry rerun restart",
    "edit": "update modify alter",
    "web": "ui dashboard browser open",
    "session": "sessions",
    "token": "tokens",
    "devices": "gpus nvidia-smi sinfo nodes",
    "serve": "daemon server",
    "--help": "help",
    "--version": "version",
}


class LazyGroup(Group):
    """A group that knows its commands' names and one-line help, and imports a command when it is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the named command, imported now, and its arguments."""
        meant = next((name for name, words in _CALLED_ELSEWHERE.items() if args[0] in words.split()), None)
        if meant and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{meant}'?")
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else found, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away (`| head`) ends it quietly."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            raise click.exceptions.Exit(PIPE_CLOSED) from None


def load(name: str) -> click.Command:
    """Import a command of the table."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, click.Command), f"{COMMANDS[name][0]} is no command"
    return found


def _show_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, f"click completes in no {shell}"
    print(kind(ctx.command, {}, "greenrun", "_GREENRUN_COMPLETE").source())
    ctx.exit()


@click.group(
    cls=LazyGroup,
    commands={name: click.Command(name, help=line) for name, (_, line) in COMMANDS.items()},
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or refused, 3 not found, 4 not permitted, "
    "5 daemon not reachable, 6 timed out waiting, 7 storage full, 78 bad settings.",
)
@socket_option
@config_option
@click.version_option(greenrun.__version__, message="greenrun %(version)s", help="Print the version and exit.")
@click.option(
    "--show-completion", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL", is_eager=True,
    expose_value=False, callback=_show_completion, help="Print what makes bash, zsh or fish complete commands.",
)  # fmt: skip
def app(socket: str | None, config: str | None) -> None:
    """Run machine-learning jobs when the electricity is clean, and account for what they used.

    \b
    greenrun init                                       write settings, once
    greenrun serve --detach                             start the daemon
    greenrun submit --duration 6h -- python train.py    hand it a job
    greenrun list                                       see when it will run
    """


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; the arguments are sys.argv's when None."""
    tolerate_any_encoding()
    try:
        code = app.main(args=argv, prog_name="greenrun", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        code = PIPE_CLOSED
    except OSError as error:
        code = _unwritten(error)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))
    return _flushed(code or OK)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        return _unwritten(error)
    return code


def _unwritten(error: OSError) -> int:
    """Tell that the output was not written, as on a disk that is full; return the exit code."""
    _drop_output()
    print(f"error: the output cannot be written: {error.strerror or error}", file=sys.stderr)
    return FAILED


def _drop_output() -> None:
    """Point stdout at nothing, so that Python's own flush at exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
