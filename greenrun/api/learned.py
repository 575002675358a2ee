"""Fill in what a job does not say of itself with what its user's finished jobs like it have taken."""

from collections.abc import Sequence
from dataclasses import replace

from greenrun.api.identity import Identity
from greenrun.api.service import Service
from greenrun.core.jobs.history import FinishedJob, learn_duration, learn_power
from greenrun.core.jobs.job import DurationSource, JobSpec


def with_experience(daemon: Service, caller: Identity, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Return the jobs with a learned duration and power where they state none and enough is known; raise StoreError."""
    known: dict[tuple[str, str], Sequence[FinishedJob]] = {}
    return [_with_experience(daemon, caller, spec, known) for spec in specs]


def _with_experience(
    daemon: Service, caller: Identity, spec: JobSpec, known: dict[tuple[str, str], Sequence[FinishedJob]]
) -> JobSpec:
    if spec.duration_source is DurationSource.GIVEN and spec.power_w is not None:
        return spec
    key = (spec.name, spec.project)
    if key not in known:
        known[key] = daemon.store.finished_jobs(caller.name, name=spec.name, project=spec.project)
    return _with_power(_with_duration(spec, known[key], daemon.settings.duration_quantile), known[key])


def _with_duration(spec: JobSpec, past: Sequence[FinishedJob], quantile: float) -> JobSpec:
    if spec.duration_source is DurationSource.GIVEN:
        return spec
    found = learn_duration(past, name=spec.title, project=spec.project, gpus=spec.gpus, quantile=quantile)
    if found is None:
        return spec
    duration = min(found.expected, spec.time_limit or found.expected)
    return replace(spec, duration=duration, duration_source=DurationSource.LEARNED, duration_note=found.note)


def _with_power(spec: JobSpec, past: Sequence[FinishedJob]) -> JobSpec:
    if spec.power_w is not None:
        return spec
    found = learn_power(past, name=spec.title, project=spec.project, gpus=spec.gpus)
    return spec if found is None else replace(spec, power_w=found.power_w, power_note=found.note)
