"""The energy of rows: sums by component and grade, how much of it is known, and what it was used for."""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from greenrun.core.accounting.grouping import Truths
from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.model import Component, Quality
from greenrun.core.units import J_PER_KWH
from greenrun.reports.rows.groups import Figures, GroupedParts, joined_names, quadratures, ratios, significants
from greenrun.reports.uncertainty import SPARSE, Widths

IDLE_LEARNED_OVER = timedelta(days=28)
QUALITIES = tuple(Quality)


def energy(
    used: GroupedParts,
    held_s: Floats,
    widths: Widths,
    sparse: frozenset[str] = frozenset(),
    split_kwh: Floats | float = 0.0,
    expected_s: Floats | float = 0.0,
    emulated: frozenset[str] = frozenset(),
) -> Figures:
    """Return the energy of each group; `held_s` are the GPU-seconds that its runs held, NaN if not known.

    `sparse` are the GPUs whose sensors see a part of the time only, `emulated` the devices that are not real;
    `split_kwh` of it may be other holders'.
    `expected_s` are the device-seconds that should be known, where that is more than 0: of a period that is not wholly
    in the books.
    """
    parts, by = used.parts, used.by
    total, facility = used.kwh(), used.facility_kwh()
    of_time, of_energy = coverage(used, held_s)
    expected = np.broadcast_to(np.asarray(expected_s, dtype=np.float64), (by.count,))
    of_expected = np.minimum(np.nan_to_num(of_time), ratios(by.sums(parts.seconds, parts.is_known), expected))
    busy, busy_known = utilisation(used)
    return {
        "gpu_energy_kwh": used.kwh(parts.of_component(Component.GPU)),
        "cpu_energy_kwh": used.kwh(parts.of_component(Component.CPU)),
        "dram_energy_kwh": used.kwh(parts.of_component(Component.DRAM)),
        "it_energy_kwh": total,
        "facility_energy_kwh": facility,
        "pue": _pue(used, total, facility),
        "avg_power_w": avg_power_w(used),
        "measured_kwh": used.kwh(parts.of_quality(Quality.MEASURED)),
        "integrated_kwh": used.kwh(parts.of_quality(Quality.INTEGRATED)),
        "estimated_kwh": used.kwh(parts.of_quality(Quality.ESTIMATED)),
        "bridged_kwh": used.kwh(parts.of_quality(Quality.BRIDGED)),
        "emulated_kwh": used.kwh(parts.of_quality(Quality.EMULATED)),
        "gpu_method": _methods(used, Component.GPU),
        "cpu_method": _methods(used, Component.CPU),
        "dram_method": _methods(used, Component.DRAM),
        "coverage_ratio": np.where(expected > 0, of_expected, of_time),
        "gap_seconds": by.sums(parts.seconds, parts.of_quality(Quality.BRIDGED, Quality.UNKNOWN)),
        "energy_uncertainty_pct": _uncertainty_pct(used, of_energy, widths, sparse, emulated, split_kwh),
        "gpu_utilization_avg": busy,
        "gpu_utilization_coverage": busy_known,
    }


def coverage(used: GroupedParts, held_s: Floats) -> tuple[Floats, Floats]:
    """Return for what part of the devices' time their energy is known, and what part of all energy that should be.

    Of GPUs `held_s` device-seconds are expected, of what nobody holds (and where it is NaN) all that is booked. What
    is not known is taken to be as much a second as what is known of the same component; NaN where nothing of it is.
    """
    parts, by = used.parts, used.by
    known_s, known_j, expected_s, expected_j = (np.zeros(by.count) for _ in range(4))
    for component in Component:
        own = parts.of_component(component)
        if component is not Component.GPU and not own.any():
            continue
        own_s, own_j = by.sums(parts.seconds, own & parts.is_known), by.sums(parts.energy_j, own)
        wanted_s = by.sums(parts.seconds, own)
        if component is Component.GPU:
            wanted_s = np.where(np.isnan(held_s), wanted_s, np.fmax(held_s, own_s))
        lacking_j = np.where(wanted_s > 0, np.inf, 0.0)
        has_any = own_s > 0
        known_s, known_j, expected_s = known_s + own_s, known_j + own_j, expected_s + wanted_s
        expected_j += np.where(has_any, own_j * wanted_s / np.where(has_any, own_s, 1.0), lacking_j)
    return ratios(known_s, expected_s), ratios(known_j, expected_j)


def utilisation(used: GroupedParts) -> tuple[Floats, Floats]:
    """Return the GPUs' mean utilisation (0 to 1), and for what part of their time it is known.

    Both are NaN where it is known for none.
    """
    parts, on_gpus = used.parts, used.parts.of_component(Component.GPU)
    told_s = used.by.sums(parts.busy_known_s, on_gpus)
    busy = np.minimum(1.0, ratios(used.by.sums(parts.busy_s, on_gpus), told_s))
    return busy, np.where(told_s > 0, np.minimum(1.0, ratios(told_s, used.by.sums(parts.seconds, on_gpus))), np.nan)


def avg_power_w(used: GroupedParts) -> Floats:
    """Return the mean power of one GPU while its energy is known, in watts; NaN without any."""
    known = used.parts.of_component(Component.GPU) & used.parts.is_known
    seconds = used.by.sums(used.parts.seconds, known)
    return significants(ratios(used.by.sums(used.parts.energy_j, known), seconds))


def gpu_seconds(used: GroupedParts) -> Floats:
    """Return how long GPUs were booked, in device-seconds."""
    return used.by.sums(used.parts.seconds, used.parts.of_component(Component.GPU))


def idle(used: GroupedParts, powers_w: Mapping[str, float]) -> Figures:
    """Return the energy that the GPUs of runs would have used idle in the time of these parts, and what is above it.

    Both are NaN where a GPU's idle power is not known, or no GPU was held. What is above may be negative: it is
    shown next to the energy, and nothing is subtracted.
    """
    parts, by = used.parts, used.by
    held = parts.of_component(Component.GPU) & parts.is_held & parts.is_known
    power_w = parts.by_device(lambda name: powers_w.get(name, np.nan))[parts.device]
    is_told = by.any(held) & ~by.any(held & np.isnan(power_w))
    idle_kwh = np.where(is_told, by.sums(power_w * parts.seconds, held) / J_PER_KWH, np.nan)
    return {"idle_energy_kwh": idle_kwh, "energy_above_idle_kwh": by.sums(parts.energy_j, held) / J_PER_KWH - idle_kwh}


def _pue(used: GroupedParts, total: Floats, facility: Floats) -> Floats:
    """Return the ratio of both; where all was booked with one PUE, that."""
    told = used.parts.is_known & (used.parts.energy_j != 0)
    lowest, highest = used.by.lowest(used.parts.pue, told), used.by.highest(used.parts.pue, told)
    ratio = np.where(lowest == highest, lowest, ratios(facility, total))
    return np.where(np.nan_to_num(total) == 0, np.nan, np.where(lowest == highest, lowest, significants(ratio)))


def _methods(used: GroupedParts, component: Component) -> list[str | None]:
    kinds = used.by.sets(used.parts.quality, len(QUALITIES), used.parts.of_component(component))
    return joined_names(kinds, [quality.value for quality in QUALITIES])


def _uncertainty_pct(
    used: GroupedParts,
    covered: Floats,
    widths: Widths,
    sparse: frozenset[str],
    emulated: frozenset[str],
    split_kwh: Floats | float,
) -> Floats:
    """Return the half-widths of sums of energy; NaN for no energy, or when its coverage is not known.

    What was not covered is taken to be as large as it would have been at the mean power, and wholly unknown. So much as
    `split_kwh` of it may be another holder's. Nothing is known of how far emulated energy is from any real one.
    """
    parts, by = used.parts, used.by
    total = by.sums(parts.energy_j) / J_PER_KWH
    is_made_up = parts.is_known & (parts.of_quality(Quality.EMULATED) | parts.on_devices(emulated))
    is_told = (total > 0) & (np.nan_to_num(covered) > 0) & ~by.any(is_made_up)
    of_all = np.where(is_told, covered, 1.0)
    errors = [total * (1 - of_all) / of_all, np.broadcast_to(np.asarray(split_kwh), (by.count,))]
    errors += [width * by.sums(parts.energy_j, which) / J_PER_KWH for which, width in _graded(used, widths, sparse)]
    return np.where(is_told, 100 * quadratures(*errors) / np.where(total > 0, total, 1.0), np.nan)


def _graded(used: GroupedParts, widths: Widths, sparse: frozenset[str]) -> list[tuple[Truths, float]]:
    """Return the known energy of each sort and grade that there is, with its half-width."""
    parts, is_sparse = used.parts, used.parts.on_devices(sparse)
    found = []
    for grade in (Quality.MEASURED, Quality.INTEGRATED, Quality.BRIDGED, Quality.ESTIMATED, Quality.UNKNOWN):
        mine = parts.of_quality(grade) & parts.is_known
        if not mine.any():
            continue
        found.append((mine & is_sparse, widths.of(SPARSE, grade)))
        found += [(mine & ~is_sparse & parts.of_component(each), widths.of(each, grade)) for each in Component]
    return found
