"""SCI scores (Software Carbon Intensity, ISO/IEC 21031:2024) of the jobs of a report, location-based."""

from typing import Literal

from pydantic import Field

from greenrun.reports.figure_models import ReportModel, UtcInstant
from greenrun.reports.model import JobRow, Report


class SciScore(ReportModel):
    """The score of a job, and per unit of work where it reported any; without embodied emissions (M) there is none.

    `M_parts_g` are the components that E is of, null where no factor covers one: M is then of the others. The marginal
    score is beside that by the average, and either is null where its intensity is not known.
    """

    job_id: int
    job_name: str
    E_kwh: float | None
    E_by_grade_kwh: dict[str, float]
    """E by how it was determined; what is emulated is made up."""
    E_uncertainty_pct: float | None
    I_g_per_kwh: float | None
    I_signal: str | None
    I_marginal_g_per_kwh: float | None
    M_g: float | None
    M_parts_g: dict[str, float | None]
    R: Literal[1] = 1
    operational_g_per_job: float | None
    sci_g_per_job: float | None
    operational_marginal_g_per_job: float | None
    sci_marginal_g_per_job: float | None
    work: float | None
    work_unit: str | None
    sci_g_per_unit_of_work: float | None
    complete: bool


class SciReport(ReportModel):
    """The scores of the jobs of a period, and how they are made."""

    specification: str = "ISO/IEC 21031:2024 (Software Carbon Intensity)"
    formula: str = "SCI = ((E * I) + M) / R"
    functional_unit: str = "job"
    boundary: str = "metered devices while a run holds them, times PUE"
    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    missing: dict[str, str]
    jobs: list[SciScore]


WHY = {
    "E_kwh": "nothing of some jobs is metered, or in the books yet",
    "I_g_per_kwh": "no average intensity, or more than one kind of it, is known for what some jobs used",
    "M_g": "some jobs held no GPU, or one that no factor covers",
    "operational_g_per_job": "it needs E and I",
    "sci_g_per_job": "it needs E, I and M",
}  # those of which no score can be made; work and marginal intensities are told where there are any


def sci(report: Report) -> SciReport:
    """Return the score of each job; what some of them lack is listed with the reason."""
    scores = [_score(row, report) for row in report.job_rows]
    missing = {name: why for name, why in WHY.items() if any(getattr(score, name) is None for score in scores)}
    if why := report.missing.get("embodied_g"):
        missing |= {"M_g": why, "sci_g_per_job": "M is part of every SCI score"}
    return SciReport(start=report.start, end=report.end, missing=missing, jobs=scores)


def _score(row: JobRow, report: Report) -> SciScore:
    operational_g, embodied_g = row.emissions_location_g, row.embodied_g
    score_g, marginal_g = _sum(operational_g, embodied_g), row.emissions_marginal_g
    work = row.work if _is_within(row, report) else None
    return SciScore(
        job_id=row.job_id,
        job_name=row.job_name,
        E_kwh=row.facility_energy_kwh,
        E_by_grade_kwh=_by_grade(row),
        E_uncertainty_pct=row.energy_uncertainty_pct,
        I_g_per_kwh=row.ci_avg_g_per_kwh,
        I_signal=row.ci_signal,
        I_marginal_g_per_kwh=row.ci_marginal_g_per_kwh,
        M_g=embodied_g,
        M_parts_g=_embodied_parts(row),
        operational_g_per_job=operational_g,
        sci_g_per_job=score_g,
        operational_marginal_g_per_job=marginal_g,
        sci_marginal_g_per_job=_sum(marginal_g, embodied_g),
        work=work,
        work_unit=row.work_unit if work else None,
        sci_g_per_unit_of_work=score_g / work if score_g is not None and work else None,
        complete=row.complete,
    )


def _by_grade(row: JobRow) -> dict[str, float]:
    """Return E by grade; the books know the grades of IT energy, and the facility's overhead is that of the job."""
    known, it_kwh = row.facility_energy_kwh, row.it_energy_kwh
    if known is None or not it_kwh:
        return {}
    return {grade: known * (part_kwh / it_kwh) for grade, part_kwh in row.by_grade_kwh.items()}


def _sum(operational_g: float | None, embodied_g: float | None) -> float | None:
    return None if operational_g is None or embodied_g is None else operational_g + embodied_g


def _embodied_parts(row: JobRow) -> dict[str, float | None]:
    """Return M by the components that are in E: GPUs alone have factors, or a whole machine by its GPUs."""
    used = {"gpu": row.gpu_energy_kwh, "cpu": row.cpu_energy_kwh, "dram": row.dram_energy_kwh}
    parts = [name for name, energy_kwh in used.items() if energy_kwh is not None]
    if row.embodied_g is not None and row.embodied_lacks is None and len(parts) > 1:
        return {"machine": row.embodied_g}
    return {name: row.embodied_g if name == "gpu" else None for name in parts}


def _is_within(row: JobRow, report: Report) -> bool:
    """Whether the period has all of a job: else its work is more than what the figures are of."""
    if row.started_at is None or row.ended_at is None:
        return False
    return report.start <= row.started_at and row.ended_at <= report.end
