"""The base of all commands: greenrun's errors become a sentence, or JSON, and an exit code."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from greenrun.cli.option_headings import Headings, by_heading
from greenrun.core.errors import ConfigError, GreenrunError, InputProblem, InvalidInput, InvalidJob

OK, FAILED, USAGE, NOT_FOUND, NOT_PERMITTED, NOT_REACHABLE, TIMED_OUT, STORAGE_FULL = range(8)
CONFIG, INTERRUPTED, PIPE_CLOSED = 78, 130, 141


class WaitTimedOut(GreenrunError):
    """The waiting time is over and a job is not finished."""


class LocalError(GreenrunError):
    """The command line itself cannot do what was asked; `exit_code` says which kind of failure."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Command(click.Command):
    """A command whose errors are printed on stderr, never as a traceback; as problem+json with --json.

    The help of one with many options lists them under `headings`.
    """

    def __init__(self, *args: Any, headings: Headings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headings = headings or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all options, under their headings where there are any."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        told = {_long_name(param): record for param in options if (record := param.get_help_record(ctx))}
        for heading, names in by_heading(list(told), self.headings):
            with formatter.section(heading):
                formatter.write_dl([told[name] for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; leave with the documented exit code."""
        as_json = bool(ctx.params.get("as_json"))
        if os.environ.get("TZ"):
            from greenrun.submission.local_zone import settle_zone

            settle_zone()
        try:
            return super().invoke(ctx)
        except GreenrunError as error:
            raise click.exceptions.Exit(print_error(error, as_json=as_json)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except UnicodeError as error:  # a name of bytes that are no text where only text can go
            failure = LocalError(f"something that was named is not UTF-8 ({error}); nothing more was done", USAGE)
            raise click.exceptions.Exit(print_error(failure, as_json=as_json)) from error
        except OSError as error:  # the folder we are in is gone, the disk that the output goes to is full...
            about = f"{error.filename}: " if error.filename else ""
            why = f"{about}{error.strerror or error}"
            failure = LocalError(f"the system refused: {why}; nothing more was done")
            raise click.exceptions.Exit(print_error(failure, as_json=as_json)) from error


def _long_name(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


class Group(click.Group):
    """A group of commands, listed in the order in which they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


def print_error(error: GreenrunError, *, as_json: bool) -> int:
    """Write the error to stderr, one sentence and its problems (or problem+json); return the exit code."""
    problems = list(_problems(error))
    if as_json:
        print(json.dumps(_document(error, problems)), file=sys.stderr)
        return exit_code(error)
    from greenrun.cli.text import printable

    said = str(error)
    if hasattr(error, "status"):  # it is the API's, which speaks of its fields and in UTC
        from greenrun.cli.terminal.error_words import in_words

        said, problems = in_words(said, problems)
        if len(problems) > 1 and said == "; ".join(map(str, problems)):
            said = "these are wrong"  # each on a line of its own, as where the command line itself finds them
    print("error: " + "\n".join(map(printable, said.split("\n"))), file=sys.stderr)
    for problem in problems:
        if problem.message not in said:
            print(f"  {printable(str(problem))}", file=sys.stderr)
    return exit_code(error)


def exit_code(error: GreenrunError) -> int:
    """Return the documented exit code that an error stands for."""
    if isinstance(error, LocalError):
        return error.exit_code
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return next((_CODES[kind] for kind in kinds if kind in _CODES), FAILED)


_TITLES = {
    FAILED: "failed",
    USAGE: "usage",
    NOT_FOUND: "not found",
    NOT_PERMITTED: "not permitted",
    NOT_REACHABLE: "not reachable",
    TIMED_OUT: "timed out",
    STORAGE_FULL: "storage full",
    CONFIG: "settings",
}

# By name, so that telling a local error does not load the HTTP client.
_CODES = {
    ConfigError.__name__: CONFIG,
    InvalidJob.__name__: USAGE,
    InvalidInput.__name__: USAGE,
    WaitTimedOut.__name__: TIMED_OUT,
    "NotReachable": NOT_REACHABLE,
    "RequestRefused": USAGE,
    "Forbidden": NOT_PERMITTED,
    "NotFound": NOT_FOUND,
    "OutOfStorage": STORAGE_FULL,
}


def _problems(error: GreenrunError) -> Iterable[InputProblem]:
    return [*getattr(error, "problems", ()), *getattr(error, "errors", ())]


def _document(error: GreenrunError, problems: Iterable[InputProblem]) -> dict[str, object]:
    """Return the API's problem document of its own errors; of others one of the same form, by exit code."""
    local = _TITLES.get(exit_code(error), _TITLES[FAILED])
    status = getattr(error, "status", None)
    return {
        "type": getattr(error, "type", "") or f"urn:greenrun:problem:{local.replace(' ', '-')}",
        "title": getattr(error, "title", "") or local,
        **({} if status is None else {"status": status}),
        "detail": str(error),
        "errors": [{"field": row.field, "message": row.message} for row in problems],
    }
