"""Explain a report to its readers: how it was made, what it lacks and why, what it does not say."""

from collections.abc import Mapping, Sequence

from greenrun.core.energy.model import BOOKED, Device
from greenrun.core.formatting import count_text, instant_text, mass_text, number_text, precise_percent_text
from greenrun.reports.cells import kwh_text, part_text
from greenrun.reports.cost_and_scope2 import Rates
from greenrun.reports.model import Explanation, Named, Note, ReportBody, Row, Unattributed
from greenrun.reports.period_models import Completeness, InFlight
from greenrun.reports.power_limits import power_limit_note

MINUTE_H = 1 / 60

METHOD = (
    "Energy is what the meters counted while a run held a device, all of it: a reserved GPU that idles is the run's.",
    "Emissions are location-based (GHG Protocol Scope 2 Guidance, 2015): the energy of each slice (a minute at most, "
    "cut where the intensity changes) x PUE x the grid's average intensity over that slice.",
    "A slice is priced once when it is booked, with what is known then, and once more with the measured intensity when "
    "that is final; figures take the settled price where there is one.",
    "A sum is made of what is known. What it lacks is stated next to it: coverage, unpriced energy, flags.",
    "Uncertainties are half-widths in quadrature, of the meters' grades, what was not covered, the PUE and forecasts.",
    "Avoided emissions compare with the same runs, each started as soon as its job could and the same GPUs were free "
    "of those before it, both with the measured intensity, booked once. Only runs whose job succeeded count: what "
    "failed or was cancelled avoided nothing. They may be negative, and are no part of the inventory.",
    "The mean intensity of runs is weighted by their energy, that of the grid in the same hours by time alone: runs "
    "below it ran when the grid was cleaner.",
)

LIMITS = (
    "Only metered devices count: what has no meter (CPU, memory, fans, network, storage, where they are not listed) is "
    "not in these figures. The making of GPUs has a line of its own where factors are set, that of all else has none.",
    "A change of schedule that lowers these emissions need not lower those of the whole grid: average intensity does "
    "not say what one more kWh causes.",
    "Losses of transmission and distribution are in no location-based figure; where a ratio of them is set, they have "
    "a line of their own.",
    "The uncertainty of the measured intensity itself is not published by its sources and not in these figures.",
    "Avoided emissions assume that a run would have used the same power at another time.",
    "The baseline lets nothing start on a GPU while it was drained, but does not know when one was lost, excluded or "
    "used by others: a run may be given an earlier start at which its GPU could not have been used.",
    "The books know what happened from their first reading of each device on, and nothing before.",
)

# What others report of a job and no row has, and why.
UNTOLD: Mapping[str, str] = {
    "driver_version": "the books do not keep it",
    "other_energy_kwh": "the reading of a meter of the whole host includes all else, and is nobody's",
    "sample_period_s": "the books keep slices, not how often the meter was read for them",
    "ci_data_version": "sources do not number their revisions",
    "forecast_ci_at_decision": "the plan that led to a start is not kept",
}

# What rows by job have, and why it is null where it is.
UNKNOWN: Mapping[str, str] = {
    "host": "the system does not report its name",
    "site": "[reports] site is not set",
    "country_iso3": "the zone does not begin with a country's code",
    "cpu_model": "the kernel does not report it",
    "gpu_share": "the job held no GPU yet, or asked for none",
    "power_limit_watts": "the meter does not report it, or the GPU is no longer there",
    "peak_power_w": "no slice of ten seconds or more is known that was read",
    "gpu_utilization_avg": "the meter does not report it",
    "idle_energy_kwh": "fewer than ten minutes are known in which nobody held the GPU, of the last 28 days",
    "energy_above_idle_kwh": "it needs the idle power",
    "deadline_at": "the job has none",
    "energy_uncertainty_pct": "no energy is known, or some is emulated, of which nothing tells how far it is off",
    "ci_uncertainty_pct": "nothing is priced with a forecast whose error is known, and no source publishes the "
    "uncertainty of what it measured or estimates",
    "emissions_uncertainty_pct": "that of the energy, of a forecast or of an estimated intensity in it is not known",
    "git_commit": "its folder was no git checkout",
}


def explanation(
    body: ReportBody, used: Sequence[Device], pue: float, attributions: Mapping[str, str], rates: Rates
) -> Explanation:
    """Return what explains a report; `used` are the devices in it, `rates` what it counts beside the grid's average."""
    providers = dict.fromkeys(row.provider for row in body.series)
    asked = [text for name in providers if (text := attributions.get(name))]
    return Explanation(
        method=[*METHOD, *rates.method()],
        data_quality=[*_data_quality(body, used, pue), *rates.notes(body.total)],
        limits=list(LIMITS),
        attribution=[*asked, *rates.attribution(body.total)],
        missing={**UNTOLD, **_unknown(body), **rates.missing(body.total)},
    )


def _unknown(body: ReportBody) -> dict[str, str]:
    """Return why fields are null in some row by job; fields that other rows have, too, are explained with the total."""
    rows: Sequence[Named] = body.rows if body.by == "job" else [body.total]
    return {name: why for name, why in UNKNOWN.items() if any(getattr(row, name, "") is None for row in rows)}


def _data_quality(body: ReportBody, used: Sequence[Device], pue: float) -> list[Note]:
    total, free = body.total, body.unattributed
    notes = {
        "energy": _energy_note(total),
        "completeness": _completeness_note(body.completeness),
        "in_flight": _in_flight_note(body.in_flight),
        "coverage": _coverage_note(total),
        "unmetered": _unmetered_note(total),
        "emulated": _emulated_note(used),
        "components": _component_note(total),
        "beside": _beside_note(used),
        "pue": "No PUE is set (1.0), so the facility's overhead is not counted." if pue == 1 else "",
        "intensity": _intensity_note(total),
        "settled": _settled_note(total),
        "mixed": _mixed_note(total),
        "estimated": _estimated_note(total),
        "avoided": _avoided_note(total),
        "not_counted": _not_counted_note(body),
        "power_limits": power_limit_note(body.power_limits),
        "unattributed": _unattributed_note(free, total),
    }
    return [Note(field=field, note=note) for field, note in notes.items() if note]


def _emulated_note(used: Sequence[Device]) -> str:
    return "Some devices are emulated: their energy is made up." if any(row.emulated for row in used) else ""


def _energy_note(total: Row) -> str:
    if total.it_energy_kwh is None:
        return "No energy is known in this period, so no emissions are known."
    shares = total.by_grade_kwh.items()
    parts = ", ".join(f"{precise_percent_text(part_kwh / total.it_energy_kwh)} {grade}" for grade, part_kwh in shares)
    return f"How the known energy was determined: {parts}." if parts else ""


def _completeness_note(known: Completeness | None) -> str:
    """Say for which part of the period there are no books, or nobody read the devices; nothing where it is whole."""
    if known is None or known.since is None or known.until is None or known.is_whole:
        return ""
    text = (
        f"The books know {part_text(known.booked_hours, known.hours)} hours of this period so far, from "
        f"{instant_text(known.since)} to {instant_text(known.until)}"
    )
    late = [row.device for row in known.devices if row.booked_hours < known.booked_hours - MINUTE_H]
    if late:
        text += f"; {', '.join(late)} for less of it"
    if known.gap_device_hours:
        gap, whole = number_text(known.gap_device_hours), number_text(known.device_hours)
        text += f"; for {gap} of {whole} device-hours nobody read a device"
    return f"{text}."


def _in_flight_note(flight: InFlight | None) -> str:
    if flight is None:
        return ""
    waits = []
    if flight.running_runs:
        waits.append(f"{count_text(flight.running_runs, 'run')} going on")
    if flight.unbooked_device_seconds:
        energy = "unknown" if flight.unbooked_kwh is None else f"some {kwh_text(flight.unbooked_kwh)}"
        seconds = number_text(flight.unbooked_device_seconds)
        waits.append(f"{seconds} s of GPU time of runs that are not booked yet ({energy}, in no figure)")
    if flight.unsettled_slices:
        slices = count_text(flight.unsettled_slices, "slice")
        waits.append(f"{slices} of energy ({kwh_text(flight.unsettled_kwh)}) without a measured intensity yet")
    return f"In flight: {'; '.join(waits)}." if waits else ""


def _not_counted_note(body: ReportBody) -> str:
    other_g = body.total.avoided_not_counted_g
    if not other_g:
        return ""
    return (
        f"The same comparison of runs that failed, were cancelled or have not finished gives {mass_text(other_g)}, "
        "which is in no figure of avoided emissions."
    )


def _coverage_note(total: Row) -> str:
    coverage, flags = total.coverage_ratio, total.flags
    if coverage is None or not {"not_covered", "unknown_energy", "not_watched"} & set(flags):
        return ""
    return (
        f"Energy is known for {precise_percent_text(coverage)} of the time of the devices in the period; the rest is "
        "in no figure."
    )


def _unmetered_note(total: Row) -> str:
    if "not_metered" not in total.flags:
        return ""
    return "Some runs held no GPU, and no meter read the CPU for them: what these used is in no figure."


def _beside_note(used: Sequence[Device]) -> str:
    names = [device.model for device in used if device.kind not in BOOKED]
    if not names:
        return ""
    return (
        f"Metered beside, as at the plug, and in no figure, since these hold what is metered here: {', '.join(names)}. "
        "Their joules are greenrun_external_energy_joules_total."
    )


def _component_note(total: Row) -> str:
    by_kind = {"GPU": total.gpu_energy_kwh, "CPU": total.cpu_energy_kwh, "DRAM": total.dram_energy_kwh}
    absent = [name for name, energy_kwh in by_kind.items() if energy_kwh is None]
    return f"Nothing was metered of: {', '.join(absent)}." if absent else ""


def _intensity_note(total: Row) -> str:
    if not total.unpriced_kwh:
        return ""
    return f"No average intensity is known for {kwh_text(total.unpriced_kwh)}, whose emissions are in no figure."


def _settled_note(total: Row) -> str:
    ratio = total.settled_ratio
    if ratio is None or "not_settled" not in total.flags:
        return ""
    waits = precise_percent_text(1 - ratio)
    return f"{waits} of the priced energy still waits for its measured intensity: figures can change."


def _mixed_note(total: Row) -> str:
    if "mixed" not in total.flags:
        return ""
    return "The sources count different things (life cycle or direct, production or consumption), so there is no sum."


def _estimated_note(total: Row) -> str:
    ratio = total.ci_estimated_ratio
    return (
        f"The source calls the intensity of {precise_percent_text(ratio)} of the energy an estimate." if ratio else ""
    )


def _avoided_note(total: Row) -> str:
    missing = total.avoided_missing
    return f"Not every run is compared with an earlier start: {missing}." if missing else ""


def _unattributed_note(free: Unattributed, total: Row) -> str:
    if not free.it_energy_kwh or not total.it_energy_kwh:
        return ""
    share = precise_percent_text(free.it_energy_kwh / total.it_energy_kwh)
    return f"{share} of the energy was used by devices that no run held; it is reported separately and in the total."
