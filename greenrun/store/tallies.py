"""What booking and settling slices adds to the persisted counters, as pure functions of the entries.

Energy and emissions of slices that no run held are counted apart, never under a project.
"""

from collections import defaultdict
from collections.abc import Iterable

from greenrun.core.energy import Quality
from greenrun.core.ledger import Entry
from greenrun.store.journal import CounterKey, key

ENERGY = "greenrun_energy_joules_total"
GAPS = "greenrun_energy_gap_seconds_total"
JOB_ENERGY = "greenrun_job_energy_joules_total"
UNATTRIBUTED_ENERGY = "greenrun_unattributed_energy_joules_total"
EMISSIONS = "greenrun_emissions_grams_total"
UNATTRIBUTED_EMISSIONS = "greenrun_unattributed_emissions_grams_total"
SETTLED_EMISSIONS = "greenrun_settled_emissions_grams_total"
UNATTRIBUTED_SETTLED_EMISSIONS = "greenrun_unattributed_settled_emissions_grams_total"


def booked(entries: Iterable[Entry]) -> dict[CounterKey, float]:
    """Return what these newly booked entries add; an entry has a project exactly when a run held the device."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for entry in entries:
        piece = entry.slice
        if piece.quality in (Quality.BRIDGED, Quality.UNKNOWN):
            amounts[key(GAPS, component=piece.component.value)] += (piece.end - piece.start).total_seconds()
        if piece.energy_j is not None:
            amounts[key(ENERGY, component=piece.component.value, quality=piece.quality.value)] += piece.energy_j
            amounts[_whose(entry, JOB_ENERGY, UNATTRIBUTED_ENERGY)] += piece.energy_j
        if entry.booked.emissions_g is not None:
            amounts[_whose(entry, EMISSIONS, UNATTRIBUTED_EMISSIONS)] += entry.booked.emissions_g
    return dict(amounts)


def settled(entries: Iterable[Entry]) -> dict[CounterKey, float]:
    """Return what these newly settled entries add."""
    amounts: defaultdict[CounterKey, float] = defaultdict(float)
    for entry in entries:
        if entry.settled is not None and entry.settled.emissions_g is not None:
            amounts[_whose(entry, SETTLED_EMISSIONS, UNATTRIBUTED_SETTLED_EMISSIONS)] += entry.settled.emissions_g
    return dict(amounts)


def _whose(entry: Entry, of_project: str, of_nobody: str) -> CounterKey:
    if entry.project is None:
        return key(of_nobody, component=entry.slice.component.value)
    return key(of_project, project=entry.project)
