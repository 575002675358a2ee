"""How a plain function becomes a fast command: typer parses, greenrun's errors become a sentence and an exit code."""

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from greenrun.core.errors import ConfigError, GreenrunError, InvalidInput, InvalidJob

OK, FAILED, USAGE, NOT_FOUND, NOT_PERMITTED, NOT_REACHABLE, TIMED_OUT, STORAGE_FULL = range(8)
CONFIG, INTERRUPTED, PIPE_CLOSED = 78, 130, 141


class WaitTimedOut(GreenrunError):
    """The time to wait is over and a job is not finished."""


class LocalError(GreenrunError):
    """The command line itself cannot do what was asked; `exit_code` says which kind of failure."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Verb(TyperCommand):
    """A command whose errors are told on stderr, never as a traceback; as problem+json when it is asked for --json."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's options, its own --help too."""
        return as_given(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; leave with the documented exit code."""
        try:
            return super().invoke(ctx)
        except GreenrunError as error:
            raise typer.Exit(tell(error, as_json=bool(ctx.params.get("as_json")))) from error
        except BrokenPipeError:
            raise
        except OSError as error:  # the folder we are in is gone, the disk that the output goes to is full...
            failure = LocalError(f"the system refused: {error}; nothing more was done")
            raise typer.Exit(tell(failure, as_json=bool(ctx.params.get("as_json")))) from error


class Group(TyperGroup):
    """A group of commands that is as quick as they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the group's options, its own --help too."""
        return as_given(super().get_params(ctx))


def load(target: str, name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Import `module:attribute` and return it as a command; a typer.Typer becomes a group."""
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    return get_command(found if isinstance(found, typer.Typer) else _alone(found, name, settings))


def _alone(function: Callable[..., Any], name: str, settings: Mapping[str, Any] | None) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=Verb, context_settings=dict(settings or {}))(function)
    return app


class _AsGiven:
    """Stands in for typer's coercion, which loads pydantic (0.2 s) even for strings; all our options are strings."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        if value is None and (param.multiple or param.nargs == -1):
            return ()
        return value


def as_given(params: Sequence[Any]) -> list[Any]:
    """Let options pass on as the strings and flags they are; return them.

    Should a later typer not know this attribute, commands work as before and a test tells that they became slow.
    """
    for param in params:
        param._runtime_param = _AsGiven()
    return list(params)


def tell(error: GreenrunError, *, as_json: bool) -> int:
    """Write the error to stderr, one sentence and its problems (or problem+json); return the exit code."""
    problems = [{"field": item.field, "message": item.message} for item in _problems(error)]
    if as_json:
        print(json.dumps(_document(error, problems)), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
        for line in _lines(problems, str(error)):
            print(f"  {line}", file=sys.stderr)
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


def _problems(error: GreenrunError) -> Iterable[Any]:
    return [*getattr(error, "problems", ()), *getattr(error, "errors", ())]


def _lines(problems: Iterable[Mapping[str, str]], told: str) -> Iterable[str]:
    for problem in problems:
        line = ": ".join(part for part in (problem["field"], problem["message"]) if part)
        if problem["message"] not in told:
            yield line


def _document(error: GreenrunError, problems: list[dict[str, str]]) -> dict[str, object]:
    """What the API said of its own refusal; of any other error its kind by exit code, with a type like the API's."""
    local = _TITLES.get(exit_code(error), _TITLES[FAILED])
    status = getattr(error, "status", None)
    return {
        "type": getattr(error, "type", "") or f"urn:greenrun:problem:{local.replace(' ', '-')}",
        "title": getattr(error, "title", "") or local,
        **({} if status is None else {"status": status}),
        "detail": str(error),
        "errors": problems,
    }
