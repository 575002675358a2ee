"""Reports by job in the forms of others: CodeCarbon's emissions.csv and SCI scores; boamps.py writes BoAmps."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from greenrun.core.units import J_PER_KWH
from greenrun.reports.flat import table_of

Row = Mapping[str, Any]


def codecarbon(report: Row) -> str:
    """Return a line per job in the columns of CodeCarbon 3.3.2's emissions.csv, in their order; empty: unknown.

    kWh and W with the PUE in them, kg CO2e, kg/s, seconds, litres, percent.
    """
    rows = [_codecarbon(row, report) for row in report["rows"]]
    return table_of(rows) if rows else table_of([_codecarbon(defaultdict(lambda: None), report)]).split("\n")[0] + "\n"


def sci(report: Row) -> dict[str, Any]:
    """Return SCI scores (ISO/IEC 21031:2024), location-based: per job, and per unit of work where it told of any.

    Without embodied emissions there is no score, only its operational part.
    """
    return {
        "specification": "ISO/IEC 21031:2024 (Software Carbon Intensity)",
        "formula": "SCI = ((E * I) + M) / R",
        "functional_unit": "job",
        "boundary": "metered devices while a run holds them, times PUE",
        "from": report["from"],
        "to": report["to"],
        "missing": _why_no_score(report),
        "jobs": [_sci(row, report) for row in report["rows"]],
    }


def _codecarbon(row: Row, report: Row) -> dict[str, Any]:
    """Return a job as CodeCarbon tells of a run: all energy and power times the PUE, as it has them."""
    grams, seconds, pue = row["emissions_location_g"], row["run_seconds"], row["pue"] or 1.0
    kg = None if grams is None else grams / 1000
    cpu, gpu, ram = (_times(row[f"{name}_energy_kwh"], pue) for name in ("cpu", "gpu", "dram"))
    water_l = row.get("water_l")
    return {
        "timestamp": (row["ended_at"] or report["generated_at"])[:19],
        "project_name": row["project"],
        "run_id": row["job_id"],
        "experiment_id": row["job_name"],
        "duration": seconds,
        "emissions": kg,
        "emissions_rate": kg / seconds if kg is not None and seconds else None,
        "cpu_power": _watts(cpu, seconds),
        "gpu_power": _watts(gpu, seconds),
        "ram_power": _watts(ram, seconds),
        "cpu_energy": cpu,
        "gpu_energy": gpu,
        "ram_energy": ram,
        "energy_consumed": row["facility_energy_kwh"],
        "water_consumed": water_l,
        "country_name": row.get("country_name"),
        "country_iso_code": row.get("country_iso3"),
        "region": row["grid_zone"],
        "cloud_provider": None,
        "cloud_region": None,
        "os": None,
        "python_version": None,
        "codecarbon_version": None,
        "cpu_count": None,
        "cpu_model": row.get("cpu_model"),
        "gpu_count": row["gpu_count"],
        "gpu_model": "; ".join(f"{count} x {model}" for model, count in (row.get("gpu_models") or {}).items()),
        "longitude": None,
        "latitude": None,
        "ram_total_size": None,
        "tracking_mode": "process",
        "cpu_utilization_percent": None,
        "gpu_utilization_percent": _times(row.get("gpu_utilization_avg"), 100.0),
        "ram_utilization_percent": None,
        "ram_used_gb": None,
        "on_cloud": None,
        "pue": row["pue"],
        "wue": water_l / row["facility_energy_kwh"] if water_l is not None and row["facility_energy_kwh"] else None,
    }


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _watts(kwh: float | None, seconds: float) -> float | None:
    return kwh * J_PER_KWH / seconds if kwh is not None and seconds else None


def _why_no_score(report: Row) -> dict[str, str]:
    why = report["missing"].get("embodied_g")
    return {"M_g": why, "sci_g_per_job": "M is part of every SCI score"} if why else {}


def _sci(row: Row, report: Row) -> dict[str, Any]:
    operational_g, embodied_g = row["emissions_location_g"], row["embodied_g"]
    score_g = None if operational_g is None or embodied_g is None else operational_g + embodied_g
    work = row.get("work") if _is_within(row, report) else None
    return {
        "job_id": row["job_id"],
        "job_name": row["job_name"],
        "E_kwh": row["facility_energy_kwh"],
        "I_g_per_kwh": row["ci_avg_g_per_kwh"],
        "I_signal": row["ci_signal"],
        "M_g": embodied_g,
        "R": 1,
        "operational_g_per_job": operational_g,
        "sci_g_per_job": score_g,
        "work": work,
        "work_unit": row.get("work_unit") if work else None,
        "sci_g_per_unit_of_work": score_g / work if score_g is not None and work else None,
        "complete": row["complete"],
    }


def _is_within(row: Row, report: Row) -> bool:
    """Whether the period has all of a job: else its work is more than what the figures are of."""
    told = (row["started_at"], row["ended_at"])
    if None in told:
        return False
    started_at, ended_at, since, until = map(datetime.fromisoformat, (*told, report["from"], report["to"]))
    return since <= started_at and ended_at <= until
