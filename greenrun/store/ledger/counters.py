"""The persisted counters: totals that outlive restarts, added to in the transaction of what they count.

What booking and settling slices adds to them are pure functions of the entries. Energy and emissions of slices that no
run held are counted apart, never under a project.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from sqlalchemy import Text, select, type_coerce
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.baseline import Compared
from greenrun.core.energy.ledger import Entry, Priced, device_seconds
from greenrun.core.energy.model import Component, Quality, Slice, package_of
from greenrun.core.histogram import CounterKey, Labels
from greenrun.core.histogram import counter_key as key
from greenrun.store.tables import COUNTERS

ENERGY = "greenrun_energy_joules_total"
GAPS = "greenrun_energy_gap_seconds_total"
EXTERNAL_ENERGY = "greenrun_external_energy_joules_total"
JOB_ENERGY = "greenrun_job_energy_joules_total"
GPU_ENERGY = "greenrun_gpu_energy_joules_total"
CPU_ENERGY = "greenrun_cpu_package_energy_joules_total"
DRAM_ENERGY = "greenrun_dram_energy_joules_total"
UNATTRIBUTED_ENERGY = "greenrun_unattributed_energy_joules_total"
EMISSIONS = "greenrun_emissions_grams_total"
UNATTRIBUTED_EMISSIONS = "greenrun_unattributed_emissions_grams_total"
SETTLED_EMISSIONS = "greenrun_settled_emissions_grams_total"
UNATTRIBUTED_SETTLED_EMISSIONS = "greenrun_unattributed_settled_emissions_grams_total"
MARGINAL_EMISSIONS = "greenrun_marginal_emissions_grams_total"
SETTLED_MARGINAL_EMISSIONS = "greenrun_settled_marginal_emissions_grams_total"
PRICED_ENERGY = "greenrun_priced_facility_energy_joules_total"
UNPRICED_ENERGY = "greenrun_unpriced_energy_joules_total"
BASELINE_EMISSIONS = "greenrun_settled_baseline_emissions_grams_total"
COMPARED_EMISSIONS = "greenrun_compared_emissions_grams_total"
NOTIFICATIONS_TOTAL = "greenrun_notifications_total"

_OF_DEVICE = {
    Component.GPU: (GPU_ENERGY, "gpu_uuid"),
    Component.CPU: (CPU_ENERGY, "package"),
    Component.DRAM: (DRAM_ENERGY, "package"),
}

_PUT = upsert(COUNTERS)
_COUNT = _PUT.on_conflict_do_update(
    index_elements=[COUNTERS.c.name, COUNTERS.c.labels], set_={"value": COUNTERS.c.value + _PUT.excluded.value}
)


def count(session: Session, amounts: Mapping[CounterKey, float]) -> None:
    """Add these amounts (never negative) to the persisted counters."""
    rows = [{"name": name, "labels": dict(labels), "value": amount} for (name, labels), amount in amounts.items()]
    if not rows:
        return
    session.connection().execute(_COUNT, rows)


def counters_of(session: Session) -> dict[CounterKey, float]:
    """Return the persisted counters by metric name and sorted labels."""
    labels = type_coerce(COUNTERS.c.labels, Text).label("labels")
    rows = session.execute(select(COUNTERS.c.name, labels, COUNTERS.c.value))
    return {(row.name, _labels(row.labels)): row.value for row in rows}


@lru_cache(maxsize=4096)
def _labels(text: str) -> Labels:
    """The same few hundred are read for every scrape."""
    return tuple(sorted(json.loads(text).items()))


def booked(entries: Iterable[Entry]) -> dict[CounterKey, float]:
    """Return what these newly booked entries add; an entry has a project exactly when a run held the device."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for entry in entries:
        piece = entry.slice
        if piece.quality in (Quality.BRIDGED, Quality.UNKNOWN):
            amounts[key(GAPS, component=piece.component.value)] += device_seconds(piece)
        if piece.energy_j is not None:
            amounts[key(ENERGY, component=piece.component.value, quality=piece.quality.value)] += piece.energy_j
            amounts[_whose(entry, JOB_ENERGY, UNATTRIBUTED_ENERGY)] += piece.energy_j
            if piece.component in _OF_DEVICE:
                amounts[_of_device(piece)] += piece.energy_j
            if not _is_average(entry.booked):
                amounts[key(UNPRICED_ENERGY, component=piece.component.value)] += piece.energy_j
            elif entry.project is not None:
                amounts[key(PRICED_ENERGY, project=entry.project)] += piece.energy_j * entry.pue
        _count_grams(amounts, entry, entry.booked, (EMISSIONS, UNATTRIBUTED_EMISSIONS), MARGINAL_EMISSIONS)
    return dict(amounts)


def settled(entries: Iterable[Entry]) -> dict[CounterKey, float]:
    """Return what these newly settled entries add."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for entry in entries:
        if entry.settled is not None:
            names = (SETTLED_EMISSIONS, UNATTRIBUTED_SETTLED_EMISSIONS)
            _count_grams(amounts, entry, entry.settled, names, SETTLED_MARGINAL_EMISSIONS)
    return dict(amounts)


def _count_grams(
    amounts: defaultdict[CounterKey, float], entry: Entry, price: Priced, average: tuple[str, str], marginal: str
) -> None:
    """Add the grams of a price to the counter of its signal; of marginal ones those of nobody are not counted."""
    if price.emissions_g is None:
        return
    if _is_average(price):
        amounts[_whose(entry, *average)] += price.emissions_g
    elif entry.project is not None:
        amounts[key(marginal, project=entry.project)] += price.emissions_g


def _is_average(price: Priced) -> bool:
    """Whether it is a price by an average; one whose series is not stated is taken for that."""
    return price.emissions_g is not None and (price.series is None or price.series.signal is Signal.AVERAGE)


def marginal(entries: Iterable[Entry], prices: Mapping[int, Priced]) -> dict[CounterKey, float]:
    """Return what newly booked marginal prices add, by the ids of their slices; those of nobody are not counted."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for entry in entries:
        grams = prices[entry.id].emissions_g if entry.id is not None else None
        if entry.project is not None and grams is not None:
            amounts[key(MARGINAL_EMISSIONS, project=entry.project)] += grams
    return dict(amounts)


def compared(runs: Iterable[Compared], projects: Mapping[int, str]) -> dict[CounterKey, float]:
    """Return what newly compared runs add: what their slices would have emitted, and what the same slices did."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for run in runs:
        if run.grams is not None:
            project = projects[run.run_id]
            amounts[key(BASELINE_EMISSIONS, project=project)] += float(run.grams.sum())
            amounts[key(COMPARED_EMISSIONS, project=project)] += float(run.slices.settled_g.sum())
    return dict(amounts)


def beside(energy_j: Mapping[str, float]) -> dict[CounterKey, float]:
    """Return what these meters outside the books add, by device."""
    return {key(EXTERNAL_ENERGY, meter=device): amount for device, amount in energy_j.items()}


def _whose(entry: Entry, of_project: str, of_nobody: str) -> CounterKey:
    if entry.project is None:
        return key(of_nobody, component=entry.slice.component.value)
    return key(of_project, project=entry.project)


def _of_device(piece: Slice) -> CounterKey:
    name, label = _OF_DEVICE[piece.component]
    return key(name, **{label: piece.device if piece.component is Component.GPU else package_of(piece.device)})
