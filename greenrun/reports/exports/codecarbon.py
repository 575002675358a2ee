"""A report by job in the columns of CodeCarbon 3.3.2's emissions.csv."""

from greenrun.core.units import J_PER_KWH
from greenrun.reports.exports.spreadsheet import table_of
from greenrun.reports.figure_models import ReportModel
from greenrun.reports.model import JobRow, Report


class CodeCarbonRow(ReportModel):
    """A run as CodeCarbon describes it, its fields in the order of its columns; None where greenrun does not know.

    kWh and W with the PUE in them, kg CO2e, kg/s, seconds, litres, percent.
    """

    timestamp: str
    project_name: str
    run_id: int
    experiment_id: str
    duration: float
    emissions: float | None
    emissions_rate: float | None
    cpu_power: float | None
    gpu_power: float | None
    ram_power: float | None
    cpu_energy: float | None
    gpu_energy: float | None
    ram_energy: float | None
    energy_consumed: float | None
    water_consumed: float | None
    country_name: str | None
    country_iso_code: str | None
    region: str | None
    cloud_provider: None = None
    cloud_region: None = None
    os: None = None
    python_version: None = None
    codecarbon_version: None = None
    cpu_count: None = None
    cpu_model: str | None
    gpu_count: int
    gpu_model: str
    longitude: None = None
    latitude: None = None
    ram_total_size: None = None
    tracking_mode: str = "process"
    cpu_utilization_percent: None = None
    gpu_utilization_percent: float | None
    ram_utilization_percent: None = None
    ram_used_gb: None = None
    on_cloud: None = None
    pue: float | None
    wue: float | None


def codecarbon(report: Report) -> str:
    """Return a line per job; of none, the names of the columns alone."""
    lines = [_row(row, report).document() for row in report.job_rows]
    return table_of(lines) if lines else ",".join(CodeCarbonRow.model_fields) + "\n"


def _row(row: JobRow, report: Report) -> CodeCarbonRow:
    grams, seconds, pue = row.emissions_location_g, row.run_seconds, row.pue or 1.0
    kg = None if grams is None else grams / 1000
    energies = (row.cpu_energy_kwh, row.gpu_energy_kwh, row.dram_energy_kwh)
    cpu, gpu, ram = (_times(energy_kwh, pue) for energy_kwh in energies)
    water_l, facility_kwh = row.water_l, row.facility_energy_kwh
    return CodeCarbonRow(
        timestamp=f"{row.ended_at or report.generated_at:%Y-%m-%dT%H:%M:%S}",
        project_name=row.project,
        run_id=row.job_id,
        experiment_id=row.job_name,
        duration=seconds,
        emissions=kg,
        emissions_rate=kg / seconds if kg is not None and seconds else None,
        cpu_power=_watts(cpu, seconds),
        gpu_power=_watts(gpu, seconds),
        ram_power=_watts(ram, seconds),
        cpu_energy=cpu,
        gpu_energy=gpu,
        ram_energy=ram,
        energy_consumed=facility_kwh,
        water_consumed=water_l,
        country_name=row.country_name,
        country_iso_code=row.country_iso3,
        region=row.grid_zone,
        cpu_model=row.cpu_model,
        gpu_count=row.gpu_count,
        gpu_model="; ".join(f"{count} x {model}" for model, count in row.gpu_models.items()),
        gpu_utilization_percent=_times(row.gpu_utilization_avg, 100.0),
        pue=row.pue,
        wue=water_l / facility_kwh if water_l is not None and facility_kwh else None,
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _watts(kwh: float | None, seconds: float) -> float | None:
    return kwh * J_PER_KWH / seconds if kwh is not None and seconds else None
