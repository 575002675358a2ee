"""Expand one submission into many jobs: an array of indices, or the product of a sweep's values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod

from greenrun.core.jobs.log_names import filled
from greenrun.core.jobs.spec import ArrayPlace, JobSpec


def variable_of(axis: str) -> str:
    """Return the environment variable that carries a sweep's value: `GREENRUN_GRID_LR` for `lr`."""
    return f"GREENRUN_GRID_{re.sub('[^A-Z0-9]', '_', axis.upper())}"


def size_of(sweep: Mapping[str, Sequence[str]]) -> int:
    """Return how many jobs a sweep has."""
    return prod(len(values) for values in sweep.values())


def jobs_of_array(spec: JobSpec, key: str, indices: Sequence[int], at_once: int | None) -> list[JobSpec]:
    """Return a job for each index; all of them have the array's `key`, and `at_once` of them may run together."""
    places = [ArrayPlace(key=key, index=index, size=len(indices), at_once=at_once) for index in indices]
    return [_at(spec, place, {}) for place in places]


def jobs_of_sweep(spec: JobSpec, key: str, sweep: Mapping[str, Sequence[str]], at_once: int | None) -> list[JobSpec]:
    """Return a job for each combination of values, the last name's changing fastest, counted from 0."""
    points = [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]
    places = [ArrayPlace(key=key, index=index, size=len(points), at_once=at_once) for index in range(len(points))]
    return [_at(spec, place, point) for place, point in zip(places, points, strict=True)]


def _at(spec: JobSpec, place: ArrayPlace, point: Mapping[str, str]) -> JobSpec:
    which = ",".join(f"{axis}={value}" for axis, value in point.items()) or str(place.index)
    own = {"GREENRUN_ARRAY_INDEX": str(place.index), "GREENRUN_ARRAY_SIZE": str(place.size)}
    return replace(
        spec,
        array=place,
        env={**spec.env, **own, **{variable_of(axis): value for axis, value in point.items()}},
        labels={**spec.labels, **point},
        log=spec.log and filled(spec.log, {"a": place.index, "b": place.index % 10}),
        unique_key=f"{spec.unique_key}[{which}]" if spec.unique_key else None,
    )
