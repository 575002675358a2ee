"""Reports by job in the forms of others: CodeCarbon's emissions.csv, BoAmps reports and SCI scores."""

from collections.abc import Mapping
from typing import Any

from greenrun.reports.flat import table_of

Row = Mapping[str, Any]


def codecarbon(report: Row) -> str:
    """Return a line per job in the columns of CodeCarbon's emissions.csv: kWh, kg CO2e, seconds, W; empty: unknown."""
    return table_of([_codecarbon(row, report) for row in report["rows"]])


def boamps(report: Row) -> list[dict[str, Any]]:
    """Return a BoAmps report per job whose energy is known; what greenrun cannot know of a job is left out."""
    return [_boamps(row, report) for row in report["rows"] if row["it_energy_kwh"] is not None]


def sci(report: Row) -> dict[str, Any]:
    """Return SCI scores (ISO/IEC 21031:2024) with R = one job: the operational part, since no embodied M is set."""
    return {
        "specification": "ISO/IEC 21031:2024 (Software Carbon Intensity)",
        "formula": "SCI = ((E * I) + M) / R",
        "functional_unit": "job",
        "boundary": "metered devices while a run holds them, times PUE",
        "from": report["from"],
        "to": report["to"],
        "missing": {"M_g": report["missing"]["embodied_g"], "sci_g_per_job": "M is part of every SCI score"},
        "jobs": [_sci(row) for row in report["rows"]],
    }


def _codecarbon(row: Row, report: Row) -> dict[str, Any]:
    grams, seconds = row["emissions_location_g"], row["run_seconds"]
    kg = None if grams is None else grams / 1000
    return {
        "timestamp": (row["ended_at"] or report["generated_at"]).removesuffix("Z"),
        "project_name": row["project"],
        "run_id": row["job_id"],
        "experiment_id": row["job_name"],
        "duration": seconds,
        "emissions": kg,
        "emissions_rate": kg / seconds if kg is not None and seconds else None,
        "cpu_power": _watts(row["cpu_energy_kwh"], seconds),
        "gpu_power": _watts(row["gpu_energy_kwh"], seconds),
        "ram_power": _watts(row["dram_energy_kwh"], seconds),
        "cpu_energy": row["cpu_energy_kwh"],
        "gpu_energy": row["gpu_energy_kwh"],
        "ram_energy": row["dram_energy_kwh"],
        "energy_consumed": row["it_energy_kwh"],
        "country_name": None,
        "country_iso_code": None,
        "region": row["grid_zone"],
        "gpu_count": row["gpu_count"],
        "gpu_model": row["gpu_model"],
        "tracking_mode": "process",
        "on_cloud": None,
        "pue": row["pue"],
    }


def _watts(kwh: float | None, seconds: float) -> float | None:
    return kwh * 3_600_000 / seconds if kwh is not None and seconds else None


def _boamps(row: Row, report: Row) -> dict[str, Any]:
    kg_per_kwh = None if row["ci_avg_g_per_kwh"] is None else row["ci_avg_g_per_kwh"] / 1000
    return {
        "header": {
            "formatVersion": "0.1",
            "reportId": f"greenrun-job-{row['job_id']}",
            "reportDatetime": report["generated_at"],
            "publisher": {"confidentialityLevel": "confidential"},
        },
        "task": {"taskName": row["job_name"]},
        "measures": [
            {
                "measurementMethod": f"greenrun {report['greenrun_version']}",
                "gpuTrackingMode": row["gpu_method"],
                "cpuTrackingMode": row["cpu_method"],
                "powerConsumption": row["it_energy_kwh"],
                "measurementDuration": row["run_seconds"],
                "measurementDateTime": row["started_at"],
            }
        ],
        "infrastructure": {
            "infraType": "onPremise",
            "components": [
                {"componentName": model, "componentType": "gpu", "nbComponent": row["gpu_count"]}
                for model in row["gpu_model"]
            ],
        },
        "environment": {"location": row["grid_zone"], "powerSourceCarbonIntensity": kg_per_kwh},
        "quality": _quality(row),
    }


def _quality(row: Row) -> str:
    if not row["complete"]:
        return "low"
    return "high" if row["gpu_method"] == "measured" else "medium"


def _sci(row: Row) -> dict[str, Any]:
    return {
        "job_id": row["job_id"],
        "job_name": row["job_name"],
        "E_kwh": row["facility_energy_kwh"],
        "I_g_per_kwh": row["ci_avg_g_per_kwh"],
        "I_signal": row["ci_signal"],
        "M_g": None,
        "R": 1,
        "operational_g_per_job": row["emissions_location_g"],
        "sci_g_per_job": None,
        "complete": row["complete"],
    }
