"""Identify jobs in a report: their owner, their times, and the hardware they ran on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from greenrun.core.accounting.grouping import Grouping
from greenrun.core.accounting.parts import Integers
from greenrun.core.accounting.period import NEVER, NO_OUTCOME, OUTCOMES, STATES, JobDetails, Period, RunTable
from greenrun.core.energy.model import Component, Device
from greenrun.core.reference.countries import ALPHA_3, COUNTRIES, country_of
from greenrun.reports.rows.groups import Figures
from greenrun.reports.uncertainty import sampled_sparsely

MICROS = 1_000_000
STATE_TEXTS, OUTCOME_TEXTS = [state.value for state in STATES], [outcome.value for outcome in OUTCOMES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where jobs run, and for whom: the host's name, what its owner calls the site, the CPU; None where not known.

    `boundary` is how the organisation consolidates its emissions (GHG Protocol).
    """

    host: str | None = None
    site: str | None = None
    organisation: str | None = None
    boundary: str | None = None
    cpu_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The devices of this host as they are now, and their power according to the books.

    `idle_w` are the GPUs' idle powers by id; `told` keeps what rows tell of the GPUs that jobs held together.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)
    told: dict[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def sparse(self) -> frozenset[str]:
        """The GPUs whose power sensors see a part of the time only."""
        return frozenset(key for key, device in self.devices.items() if sampled_sparsely(device))

    def sources(self, kind: Component) -> str | None:
        """Return which meters read a kind of device."""
        return "; ".join(sorted({row.source for row in self.devices.values() if row.kind is kind})) or None


def identity(
    period: Period,
    first: int,
    last: int,
    own: Integers,
    details: JobDetails,
    hardware: Hardware,
    place: Place,
    zone: str | None,
) -> Figures:
    """Return the identity of the jobs at some positions of a period, as columns.

    Their times are of all their runs (`own`, by job, then by id), including those outside the period.
    """
    jobs, runs, country = period.jobs, period.runs, country_of(zone)
    own = own[runs.has_started[own]]
    begins = np.searchsorted(runs.job[own], np.arange(first, last + 1))
    counts = np.diff(begins)
    has_run, code = counts > 0, runs.job[own] - first
    by = Grouping(code, last - first)
    started, ended = np.full((2, last - first), NEVER)
    started[has_run] = np.minimum.reduceat(runs.started[own], begins[:-1][has_run]) if len(own) else []
    ended[has_run] = np.maximum.reduceat(runs.ended[own], begins[:-1][has_run]) if len(own) else []
    ended[details.finished == NEVER] = NEVER
    by_clock = np.where(runs.has_ended[own], (runs.ended[own] - runs.started[own]) / MICROS, 0.0)
    run_s = by.sums(np.where(runs.has_ended[own] & ~np.isnan(runs.ran_s[own]), runs.ran_s[own], by_clock))
    wall_s = np.where((started != NEVER) & (ended != NEVER), (ended - started) / MICROS, np.nan)
    each_job = [own[begin:end].tolist() for begin, end in pairwise(begins.tolist())]
    states = [STATE_TEXTS[state] for state in jobs.state[first:last].tolist()]
    held = [_held_by([runs.devices[run] for run in mine], hardware) for mine in each_job]
    made: Figures = {
        "job_id": jobs.id[first:last],
        "job_name": list(details.name),
        "project": list(jobs.project[first:last]),
        "user": list(jobs.user[first:last]),
        "tags": list(details.labels),
        "git_commit": list(details.git_commit),
        "host": place.host,
        "site": place.site,
        "country_iso3": ALPHA_3[country] if country else None,
        "country_name": COUNTRIES[country] if country else None,
        "submitted_at": instant_texts(details.submitted),
        "eligible_at": instant_texts(details.earliest_start),
        "deadline_at": instant_texts(details.finish_by),
        "started_at": instant_texts(started),
        "ended_at": instant_texts(ended),
        "wall_seconds": wall_s,
        "paused_seconds": wall_s - run_s,
        "deferral_seconds": np.where(has_run, (started - details.earliest_start) / MICROS, np.nan),
        "attempts": counts,
        "outcome": [_outcome(runs, mine) or state for mine, state in zip(each_job, states, strict=True)],
        "exit_code": [runs.exit_code[mine[-1]] if mine else None for mine in each_job],
        "gpu_count": list(details.gpus),
        "cpu_source": hardware.sources(Component.CPU),
        "cpu_model": place.cpu_model,
        "peak_power_w": by.highest(runs.peak_w[own], ~np.isnan(runs.peak_w[own])),
    }
    return made | {name: [each[name] for each in held] for name in held[0]} if held else made


def instant_texts(instants: Integers) -> list[str | None]:
    """Return instants as JSON has them; None for NEVER."""
    is_known = instants != NEVER
    texts = np.datetime_as_string(np.where(is_known, instants, 0).astype("datetime64[us]")).tolist()
    whole = (instants % MICROS == 0).tolist()
    return [
        None if not known else f"{text[:19]}Z" if is_whole else f"{text}Z"
        for text, is_whole, known in zip(texts, whole, is_known.tolist(), strict=True)
    ]


def _outcome(runs: RunTable, mine: Sequence[int]) -> str | None:
    """Return how the last of these runs ended; None where it goes on, or there is none."""
    code = int(runs.outcome[mine[-1]]) if mine else NO_OUTCOME
    return None if code == NO_OUTCOME else OUTCOME_TEXTS[code]


def _held_by(of_runs: Sequence[tuple[str, ...]], hardware: Hardware) -> Mapping[str, Any]:
    """Return what is told of the GPUs that the runs of a job held; once for all jobs that held the same."""
    ids = of_runs[0] if len(of_runs) == 1 else tuple(sorted({device for devices in of_runs for device in devices}))
    if (known := hardware.told.get(ids)) is not None:
        return known
    found = [hardware.devices[each] for each in sorted(ids) if each in hardware.devices]
    told = {
        "gpu_share": 1.0 if ids else None,
        "gpu_model": sorted({device.model for device in found}),
        "gpu_models": dict(sorted(Counter(device.model for device in found).items())),
        "gpu_uuid": sorted(ids),
        "gpu_source": "; ".join(sorted({device.source for device in found})) or None,
        "power_limit_watts": _power_limit_w(found),
    }
    return hardware.told.setdefault(ids, told)


def _power_limit_w(devices: Sequence[Device]) -> float | None:
    """Return the power limits of these devices together; None where one is not known."""
    limits = [device.power_w for device in devices]
    return sum(each for each in limits if each) if limits and None not in limits else None
