"""One statement, many jobs: an array of indices, or the product of a grid's values."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import prod
from typing import Annotated
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from greenrun.core.jobs.job import LARGEST_INDEX, MOST_TOGETHER, ArrayPlace, JobSpec

INDEX_IN_LOG = "%a"

_AXIS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def _printable_values(values: list[str]) -> list[str]:
    if not all(value.isprintable() for value in values):
        raise ValueError("must hold printable characters only")
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError("names an index twice")
    return sorted(values)


def _axes(axes: dict[str, list[str]]) -> dict[str, list[str]]:
    wrong = [name for name in axes if not _AXIS.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot name a variable: use letters, digits, '_', '-' and '.'")
    if len({variable_of(name) for name in axes}) < len(axes):
        raise ValueError("two of its names would become the same variable")
    return axes


Value = Annotated[str, Field(min_length=1, max_length=200)]
Values = Annotated[list[Value], Field(min_length=1, max_length=MOST_TOGETHER), AfterValidator(_printable_values)]
Axes = Annotated[dict[str, Values], Field(max_length=16), AfterValidator(_axes)]
Index = Annotated[int, Field(strict=True, ge=0, le=LARGEST_INDEX)]
Indices = Annotated[list[Index], Field(min_length=1, max_length=MOST_TOGETHER), AfterValidator(_distinct)]


class ArrayIn(BaseModel):
    """The indices of an array's jobs, and how many of them may run together. The jobs of a grid are counted from 0."""

    model_config = ConfigDict(extra="forbid")

    indices: Indices | None = None
    at_once: Annotated[int, Field(strict=True, ge=1, le=LARGEST_INDEX)] | None = None


def variable_of(axis: str) -> str:
    """Return the environment variable that carries a grid's value: `GREENRUN_GRID_LR` for `lr`."""
    return f"GREENRUN_GRID_{re.sub('[^A-Z0-9]', '_', axis.upper())}"


def wrong_in_array(array: ArrayIn, *, has_grid: bool, log: str | None) -> str | None:
    """Return what is wrong with an array beside the rest of its job, if anything is."""
    if not has_grid and array.indices is None:
        return "names no indices: write it like 0-9, or 0-9%4"
    if has_grid and array.indices is not None:
        return "numbers the jobs of a grid, which are counted by themselves: say %4 alone for 4 at once"
    return None if has_grid else _wrong_in_log(log)


def wrong_in_grid(grid: Mapping[str, list[str]], *, labels: Mapping[str, str], log: str | None) -> str | None:
    """Return what is wrong with a grid (of one name at least) beside the rest of its job, if anything is."""
    size = size_of(grid)
    if size > MOST_TOGETHER:
        return f"would be {size} jobs, more than the {MOST_TOGETHER} that one submission may be: submit it in parts"
    if grid.keys() & labels.keys():
        return f"'{min(grid.keys() & labels.keys())}' is a label of the job already: rename one of them"
    return _wrong_in_log(log)


def _wrong_in_log(log: str | None) -> str | None:
    if log is None or INDEX_IN_LOG in log:
        return None
    return f"its jobs would all write to one log: put {INDEX_IN_LOG}, the job's index, into the log's name"


def size_of(grid: Mapping[str, list[str]]) -> int:
    """Return how many jobs a grid means."""
    return prod(len(values) for values in grid.values())


def jobs_of(spec: JobSpec, array: ArrayIn | None, grid: Mapping[str, list[str]], uid: int) -> list[JobSpec]:
    """Return the jobs that a statement means: `spec` itself, or one per index or point of the grid.

    A unique key names the same array whenever it is submitted again, and each job by its index or its values.
    """
    if array is None and not grid:
        return [spec]
    at_once = array.at_once if array else None
    indices = (array.indices if array else None) or range(size_of(grid))
    points = _points(grid) if grid else [{} for _ in indices]
    key = f"{uid}:{spec.unique_key}" if spec.unique_key else uuid4().hex
    places = [ArrayPlace(key=key, index=index, size=len(indices), at_once=at_once) for index in indices]
    return [_at(spec, place, point) for place, point in zip(places, points, strict=True)]


def _points(grid: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """Every combination of values, the last name's changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _at(spec: JobSpec, place: ArrayPlace, point: Mapping[str, str]) -> JobSpec:
    which = ",".join(f"{axis}={value}" for axis, value in point.items()) or str(place.index)
    own = {"GREENRUN_ARRAY_INDEX": str(place.index), "GREENRUN_ARRAY_SIZE": str(place.size)}
    return replace(
        spec,
        array=place,
        env={**spec.env, **own, **{variable_of(axis): value for axis, value in point.items()}},
        labels={**spec.labels, **point},
        log=None if spec.log is None else spec.log.replace(INDEX_IN_LOG, str(place.index)),
        unique_key=f"{spec.unique_key}[{which}]" if spec.unique_key else None,
    )
