"""The energy of a row: sums by component and grade, how much of it is known, and what it was used for."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import fsum

from greenrun.core.accounting.period import Part, Period
from greenrun.core.energy.ledger import busy_ratio
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import Run
from greenrun.core.units import J_PER_KWH, significant
from greenrun.reports.figure_models import EnergyFigures, IdleFigures, WorkFigures
from greenrun.reports.uncertainty import SPARSE, Widths, energy_pct

IDLE_LEARNED_OVER = timedelta(days=28)


def energy(
    parts: Sequence[Part],
    held_s: float | None,
    widths: Widths,
    sparse: frozenset[str],
    split_kwh: float = 0.0,
    expected_s: float | None = None,
    emulated: frozenset[str] = frozenset(),
) -> EnergyFigures:
    """Return the energy of these parts; `held_s` are the GPU-seconds that their runs held, None if not known.

    `sparse` are the GPUs whose sensors see a part of the time only, `emulated` the devices that are not real;
    `split_kwh` of it may be other holders'.
    `expected_s` are the device-seconds that should be known, where that is more: of a period that is not wholly in the
    books.
    """
    total, facility = kwh(parts), facility_kwh(parts)
    of_time, of_energy = coverage(parts, held_s)
    if expected_s:
        known_s = fsum(part.seconds for part in parts if part.energy_j is not None)
        of_time = min(of_time or 0.0, known_s / expected_s)
    graded = [
        (
            SPARSE if part.device in sparse else part.component.value,
            Quality.EMULATED if part.device in emulated else part.quality,
            part.energy_j / J_PER_KWH,
        )
        for part in parts
        if part.energy_j is not None
    ]
    busy, busy_known = utilisation(parts)
    return EnergyFigures(
        gpu_energy_kwh=kwh(_of(parts, Component.GPU)),
        cpu_energy_kwh=kwh(_of(parts, Component.CPU)),
        dram_energy_kwh=kwh(_of(parts, Component.DRAM)),
        it_energy_kwh=total,
        facility_energy_kwh=facility,
        pue=_pue(parts, total, facility),
        avg_power_w=avg_power_w(parts),
        measured_kwh=kwh(_graded(parts, Quality.MEASURED)),
        integrated_kwh=kwh(_graded(parts, Quality.INTEGRATED)),
        estimated_kwh=kwh(_graded(parts, Quality.ESTIMATED)),
        bridged_kwh=kwh(_graded(parts, Quality.BRIDGED)),
        emulated_kwh=kwh(_graded(parts, Quality.EMULATED)),
        gpu_method=_methods(parts, Component.GPU),
        cpu_method=_methods(parts, Component.CPU),
        dram_method=_methods(parts, Component.DRAM),
        coverage_ratio=of_time,
        gap_seconds=fsum(part.seconds for part in parts if part.quality in (Quality.BRIDGED, Quality.UNKNOWN)),
        energy_uncertainty_pct=energy_pct(graded, of_energy, widths, split_kwh),
        gpu_utilization_avg=busy,
        gpu_utilization_coverage=busy_known,
    )


def kwh(parts: Iterable[Part]) -> float | None:
    """Return the known IT energy of these parts in kWh; None when none of it is known."""
    joules = [part.energy_j for part in parts if part.energy_j is not None]
    return fsum(joules) / J_PER_KWH if joules else None


def facility_kwh(parts: Iterable[Part]) -> float | None:
    """Return the known energy of these parts with that of the facility (PUE) in kWh; None when none is known."""
    known = [part.energy_j * part.pue / J_PER_KWH for part in parts if part.energy_j is not None]
    return fsum(known) if known else None


def pues(parts: Iterable[Part]) -> list[tuple[float, float]]:
    """Return the known energies in kWh, each with the PUE that it was booked with."""
    return [(part.energy_j / J_PER_KWH, part.pue) for part in parts if part.energy_j is not None]


def split_kwh(parts: Iterable[Part]) -> float:
    """Return how much of the energy of these parts may be that of others who held the devices in the same gaps."""
    return fsum(part.split_j for part in parts) / J_PER_KWH


def _pue(parts: Sequence[Part], total: float | None, facility: float | None) -> float | None:
    """Return the ratio of both; where all was booked with one PUE, that."""
    if not total or facility is None:
        return None
    booked = {part.pue for part in parts if part.energy_j}
    return booked.pop() if len(booked) == 1 else significant(facility / total)


def coverage(parts: Sequence[Part], held_s: float | None) -> tuple[float | None, float | None]:
    """Return for what part of the devices' time their energy is known, and what part of all energy that should be.

    Of GPUs `held_s` device-seconds are expected, of what nobody holds (and where it is None) all that is booked. What
    is not known is taken to be as much a second as what is known of the same component; None where nothing of it is.
    """
    known_s = known_j = expected_s = expected_j = 0.0
    for component in Component:
        own = _of(parts, component)
        known = [part for part in own if part.energy_j is not None]
        own_s, own_j = fsum(part.seconds for part in known), fsum(part.energy_j or 0.0 for part in known)
        is_held = component is Component.GPU and held_s is not None
        wanted_s = max(held_s or 0.0, own_s) if is_held else fsum(part.seconds for part in own)
        known_s, known_j, expected_s = known_s + own_s, known_j + own_j, expected_s + wanted_s
        expected_j += own_j * wanted_s / own_s if own_s else float("inf") if wanted_s else 0.0
    return (known_s / expected_s if expected_s else None), (known_j / expected_j if expected_j else None)


def utilisation(parts: Iterable[Part]) -> tuple[float | None, float | None]:
    """Return the GPUs' mean utilisation (0 to 1), and for what part of their time it is known.

    Both are None where it is known for none.
    """
    on_gpus = _of(parts, Component.GPU)
    return busy_ratio(
        fsum(part.busy_s for part in on_gpus),
        fsum(part.busy_known_s for part in on_gpus),
        fsum(part.seconds for part in on_gpus),
    )


def avg_power_w(parts: Iterable[Part]) -> float | None:
    """Return the mean power of one GPU while its energy is known, in watts; None without any."""
    known = [part for part in _of(parts, Component.GPU) if part.energy_j is not None]
    seconds = fsum(part.seconds for part in known)
    return significant(fsum(part.energy_j or 0.0 for part in known) / seconds) if seconds else None


def gpu_seconds(parts: Iterable[Part]) -> float:
    """Return how long GPUs were booked, in device-seconds."""
    return fsum(part.seconds for part in _of(parts, Component.GPU))


def held_by_gpu(parts: Iterable[Part]) -> dict[str, float]:
    """Return for how many booked seconds runs held each GPU, be its energy known or not."""
    found: dict[str, float] = {}
    for part in _of(parts, Component.GPU):
        if part.run_id is not None:
            found[part.device] = found.get(part.device, 0.0) + part.seconds
    return found


def idle(parts: Iterable[Part], powers_w: Mapping[str, float]) -> IdleFigures:
    """Return the energy that the GPUs of runs would have used idle in the time of these parts, and what is above it.

    Both are None where a GPU's idle power is not known, or no GPU was held. What is above may be negative: it is
    shown next to the energy, and nothing is subtracted.
    """
    held = [part for part in _of(parts, Component.GPU) if part.run_id is not None and part.energy_j is not None]
    if not held or any(part.device not in powers_w for part in held):
        return IdleFigures()
    idle_kwh = fsum(powers_w[part.device] * part.seconds for part in held) / J_PER_KWH
    used_kwh = fsum(part.energy_j or 0.0 for part in held) / J_PER_KWH
    return IdleFigures(idle_energy_kwh=idle_kwh, energy_above_idle_kwh=used_kwh - idle_kwh)


def work(parts: Iterable[Part], runs: Iterable[Run], period: Period, now: datetime) -> WorkFigures:
    """Return the work of these runs, its unit, and the IT energy in joules that each unit of it took.

    Runs that lie wholly within the period count, because work is reported of whole runs only; so do those that go on
    where the period does. All is None where no such run reported any, or they count different things; the energy of a
    unit also where a part of theirs is unknown.
    """
    reporting = [run for run in runs if run.work is not None and _is_within(run, period, now)]
    units = {run.work_unit for run in reporting}
    if len(units) != 1:
        return WorkFigures()
    done, ids = fsum(run.work or 0.0 for run in reporting), {run.id for run in reporting}
    energies = [part.energy_j for part in parts if part.run_id in ids]
    known = [energy_j for energy_j in energies if energy_j is not None]
    is_known = bool(known) and len(known) == len(energies) and done > 0
    return WorkFigures(
        work=done, work_unit=units.pop(), energy_per_work_j=significant(fsum(known) / done) if is_known else None
    )


def _is_within(run: Run, period: Period, now: datetime) -> bool:
    if run.started_at is None or run.started_at < period.start:
        return False
    return now <= period.end if run.ended_at is None else run.ended_at <= period.end


def _of(parts: Iterable[Part], component: Component) -> list[Part]:
    return [part for part in parts if part.component is component]


def _graded(parts: Iterable[Part], grade: Quality) -> list[Part]:
    return [part for part in parts if part.quality is grade]


def _methods(parts: Iterable[Part], component: Component) -> str | None:
    return "; ".join(sorted({part.quality.value for part in _of(parts, component)})) or None
