"""Submits functions as jobs; its parameters are the options of `greenrun submit`."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from greenrun.client import ApiClient
from greenrun.client.job_statement import text_of
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.paths import find_socket
from greenrun.submission.job_options import OPTIONS, Value, state_job
from greenrun.submission.present_context import present_context
from greenrun.submitit.function_job import FunctionJob
from greenrun.submitit.own_pickles import CALL, CAN_PICKLE_ALL, ONLY, dumps, make_folder, write_pickle

_AT_ONCE = "array_parallelism"
_THEIRS: dict[str, tuple[str, str]] = {  # submitit's own names: what they are here, and the unit behind their number
    "timeout_min": ("time-limit", "m"),
    "mem_gb": ("mem", "GiB"),
    "gpus_per_node": ("gpus", ""),
    "cpus_per_task": ("cpus", ""),
    "slurm_array_parallelism": (_AT_ONCE, ""),
}
_NOT_HERE = {"array", "grid", "workdir", "container"}  # what the executor decides, or cannot do


class Executor:
    """Submits functions to the daemon of this machine.

    What is submitted and what comes back is kept in `folder`, as pickles that only this user may read or write.
    """

    def __init__(self, folder: str | os.PathLike[str], socket: str | None = None) -> None:
        self.folder = Path(folder)
        self._socket = find_socket(socket)
        self._given: dict[str, Value] = {}
        self._at_once: int | None = None

    def update_parameters(self, **parameters: Any) -> None:
        """Set options of the jobs that are submitted from now on, by the names of `greenrun submit` with underscores.

        `array_parallelism` is how many jobs of a `map_array` may run at once. Some of submitit's names are understood
        as well. None takes a parameter back. Raise InvalidJob, and change nothing, where any is unknown.
        """
        given, problems, at_once = dict(self._given), [], self._at_once
        for name, value in parameters.items():
            option, unit = _THEIRS.get(name, (name.replace("_", "-"), ""))
            if option in (_AT_ONCE, _AT_ONCE.replace("_", "-")):
                at_once = None if value is None else int(value)
            elif option not in OPTIONS or option in _NOT_HERE:
                problems.append(InputProblem(field=name, message=_unknown(name)))
            elif value is None or value is False:
                given.pop(option, None)
            else:
                given[option] = Value([f"{text}{unit}" for text in _texts(value)], name)
        if problems:
            raise _refused(problems, "changed")
        self._given, self._at_once = given, at_once

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> FunctionJob:
        """Submit one call; raise a ClientError or InvalidJob where the job is refused."""
        return self._submit([(function, args, kwargs)], is_array=False)[0]

    def map_array(self, function: Callable[..., Any], /, *arguments: Iterable[Any]) -> list[FunctionJob]:
        """Submit one call for each position in these arguments, as an array: all or none. Return them in order."""
        return self.submit_array([(function, args, {}) for args in zip(*arguments, strict=True)])

    def submit_array(
        self, calls: Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]]
    ) -> list[FunctionJob]:
        """Submit calls (function, arguments, named arguments) as an array: all or none. Return them in order."""
        return self._submit(calls, is_array=True) if calls else []

    def _submit(
        self, calls: Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]], *, is_array: bool
    ) -> list[FunctionJob]:
        pickled = [_pickled(function, args, kwargs) for function, args, kwargs in calls]
        folder = make_folder(self.folder)
        given = dict(self._given)
        given.setdefault("name", Value([getattr(calls[0][0], "__qualname__", "function")], "name"))
        if is_array:
            at_once = "" if self._at_once is None else f"%{self._at_once}"
            given["array"] = Value([f"0-{len(calls) - 1}{at_once}"], _AT_ONCE)
        job = self._stated(given, [sys.executable, "-m", "greenrun.submitit.run_function", str(folder)])
        for index, call in enumerate(pickled):
            write_pickle(folder, CALL.format(index), dumps({"path": sys.path, "call": call}))
        client = ApiClient(self._socket)
        answers = client.offer_sweep(job)[0] if is_array else [client.submit(job)]
        indices = map(str, range(len(calls))) if is_array else [ONLY]
        rows = zip(indices, answers, strict=True)
        return [FunctionJob(self._socket, folder, index, int(answer["id"])) for index, answer in rows]

    def _stated(self, given: Mapping[str, Value], command: Sequence[str]) -> dict[str, Any]:
        stated = state_job(given, command, present_context())
        if stated.problems:
            raise _refused(stated.problems, "submitted")
        return stated.fields


def _texts(value: object) -> list[str]:
    """Return a parameter's value as the texts that the option of that name takes."""
    if isinstance(value, Mapping):
        return [f"{name}={text}" for name, text in value.items()]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return [text_of(value)]


def _refused(problems: Sequence[InputProblem], done: str) -> InvalidJob:
    """Return the error that says all that is wrong in one line: where Python shows it, nothing else is shown."""
    return InvalidJob(f"nothing was {done}: {'; '.join(map(str, problems))}", problems)


def _unknown(name: str) -> str:
    known = sorted({option.replace("-", "_") for option in OPTIONS} - _NOT_HERE | {_AT_ONCE} | set(_THEIRS))
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else "; `greenrun submit --help` lists them, with - for _"
    return f"{name} is no parameter of jobs{hint}"


def _pickled(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    if not CAN_PICKLE_ALL and getattr(function, "__module__", None) == "__main__":
        name = getattr(function, "__qualname__", repr(function))
        raise ValueError(
            f"{name} is defined in the main program, which a job cannot import, so nothing was submitted; install "
            "cloudpickle, or put the function into a module"
        )
    return dumps((function, tuple(args), dict(kwargs)))
