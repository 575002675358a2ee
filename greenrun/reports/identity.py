"""Identify jobs in a report: their owner, their times, and the hardware they ran on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from greenrun.core.accounting.grouping import Grouping, grouped
from greenrun.core.accounting.parts import Integers
from greenrun.core.accounting.period import NEVER, NO_OUTCOME, OUTCOMES, STATES, JobDetails, Period, RunTable
from greenrun.core.energy.gpu_parts import weight_of
from greenrun.core.energy.model import Component, Device
from greenrun.core.reference.countries import ALPHA_3, COUNTRIES, country_of
from greenrun.reports.rows.groups import Figures
from greenrun.reports.uncertainty import sampled_sparsely

MICROS = 1_000_000
_ENDS = [each.value for each in (*OUTCOMES, *STATES)]


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

    `idle_w` are the GPUs' idle powers by id.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    idle_w: Mapping[str, float] = field(default_factory=dict)

    @property
    def sparse(self) -> frozenset[str]:
        """The GPUs whose power sensors see a part of the time only."""
        return frozenset(key for key, device in self.devices.items() if sampled_sparsely(device))

    def sources(self, kind: Component) -> str | None:
        """Return which meters read a kind of device."""
        return "; ".join(sorted({row.source for row in self.devices.values() if row.kind is kind})) or None


def identity(
    period: Period,
    jobs: Integers,
    own: Grouping,
    runs: Integers,
    details: JobDetails,
    hardware: Hardware,
    place: Place,
    zone: str | None,
) -> Figures:
    """Return the identity of the jobs at some positions of a period, as columns.

    Their times are of all of their `runs` (in the order of the jobs, then by id; `own` says whose each is), including
    those outside the period.
    """
    table, told, country = period.runs, period.jobs, country_of(zone)
    has_started = table.has_started[runs]
    runs, by = runs[has_started], Grouping(own.code[has_started], own.count)
    begins = np.searchsorted(by.code, np.arange(by.count + 1))
    counts = np.diff(begins)
    has_run = counts > 0
    started, ended = np.full((2, by.count), NEVER)
    started[has_run] = np.minimum.reduceat(table.started[runs], begins[:-1][has_run]) if len(runs) else []
    ended[has_run] = np.maximum.reduceat(table.ended[runs], begins[:-1][has_run]) if len(runs) else []
    ended[details.finished == NEVER] = NEVER
    by_clock = np.where(table.has_ended[runs], (table.ended[runs] - table.started[runs]) / MICROS, 0.0)
    run_s = by.sums(np.where(table.has_ended[runs] & ~np.isnan(table.ran_s[runs]), table.ran_s[runs], by_clock))
    wall_s = np.where((started != NEVER) & (ended != NEVER), (ended - started) / MICROS, np.nan)
    owners = list(map(told.owners.__getitem__, told.owner[jobs].tolist()))
    return {
        "job_id": told.id[jobs],
        "job_name": list(details.name),
        "project": list(map(told.projects.__getitem__, told.project[jobs].tolist())),
        "user": [owner.name for owner in owners],
        "uid": [owner.uid for owner in owners],
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
        "gpu_count": list(details.gpus),
        "cpu_source": hardware.sources(Component.CPU),
        "cpu_model": place.cpu_model,
        "peak_power_w": by.highest(table.peak_w[runs], ~np.isnan(table.peak_w[runs])),
        **_of_last(table, told.state[jobs], runs, begins),
        **_of_gpus(table, runs, begins, hardware),
    }


def instant_texts(instants: Integers) -> list[str | None]:
    """Return instants as JSON has them; None for NEVER."""
    is_known = instants != NEVER
    texts = np.datetime_as_string(np.where(is_known, instants, 0).astype("datetime64[us]")).tolist()
    whole = (instants % MICROS == 0).tolist()
    return [
        None if not known else f"{text[:19]}Z" if is_whole else f"{text}Z"
        for text, is_whole, known in zip(texts, whole, is_known.tolist(), strict=True)
    ]


def _of_last(table: RunTable, state: Integers, runs: Integers, begins: Integers) -> Figures:
    """Return how the last run of each job ended; the state of a job whose last goes on, or that had none."""
    has_run = np.diff(begins) > 0
    last = np.zeros(len(has_run), dtype=np.int64)
    last[has_run] = runs[begins[1:][has_run] - 1]
    outcome = np.full(len(has_run), NO_OUTCOME)
    outcome[has_run] = table.outcome[last[has_run]]
    word = np.where(outcome == NO_OUTCOME, len(OUTCOMES) + state, outcome)
    each = zip(has_run.tolist(), last.tolist(), strict=True)
    return {
        "outcome": list(map(_ENDS.__getitem__, word.tolist())),
        "exit_code": [table.exit_code[run] if has else None for has, run in each],
    }


def _of_gpus(table: RunTable, runs: Integers, begins: Integers, hardware: Hardware) -> Figures:
    """Return what is told of the GPUs that the runs of each job held, made once for jobs that held the same."""
    held = list(map(table.holdings.__getitem__, table.holding[runs].tolist()))
    keys = (
        held[begin] if end - begin == 1 else tuple(sorted({device for each in held[begin:end] for device in each}))
        for begin, end in pairwise(begins.tolist())
    )
    different, code = grouped(keys)
    told, codes = [_held_by(ids, hardware) for ids in different], code.tolist()
    return {name: list(map([each[name] for each in told].__getitem__, codes)) for name in _held_by((), hardware)}


def _held_by(ids: tuple[str, ...], hardware: Hardware) -> Mapping[str, Any]:
    found = [hardware.devices[each] for each in sorted(ids) if each in hardware.devices]
    return {
        "gpu_share": weight_of(ids) / len(ids) if ids else None,
        "gpu_model": sorted({device.model for device in found}),
        "gpu_models": dict(sorted(Counter(device.model for device in found).items())),
        "gpu_uuid": sorted(ids),
        "gpu_source": "; ".join(sorted({device.source for device in found})) or None,
        "power_limit_watts": _power_limit_w(found),
    }


def _power_limit_w(devices: Sequence[Device]) -> float | None:
    """Return the power limits of these devices together; None where one is not known."""
    limits = [device.power_w for device in devices]
    return sum(each for each in limits if each) if limits and None not in limits else None
