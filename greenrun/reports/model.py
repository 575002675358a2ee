"""The report as a typed model: what its JSON has, from which every other format is made.

`--schema` publishes these classes as JSON Schema, docstrings included; docs/reports.md says how each figure is made.
"""

from datetime import date

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.reports.figure_models import BriefFigures, Counts, Document, Figures, ReportModel, UtcInstant
from greenrun.reports.formats import By
from greenrun.reports.period_models import (
    Completeness,
    GpuHours,
    GridComparison,
    GroupTrend,
    HourOfDay,
    InFlight,
    Instrument,
    PowerLimitEffect,
    PreviousPeriod,
)

SCHEMA_VERSION = 2


# rows


class Named(ReportModel):
    """What has a name in a table."""

    group: str


class Unattributed(Figures, Named):
    """What devices used that no run held."""


class Row(Figures, Counts, Named):
    """A row by project, user, month or zone; or the total."""

    uid: int | None = None
    """The number of the user's account, of a row by user or job; two accounts of one name are two rows."""


class Hour(BriefFigures):
    """What a job used in an hour (UTC)."""

    hour: UtcInstant


class JobIdentity(ReportModel):
    """Identity, times and hardware of a job; times are of all its runs, including those outside the period."""

    job_id: int
    job_name: str
    project: str
    user: str
    tags: dict[str, str]
    git_commit: str | None = None
    host: str | None = None
    site: str | None = None
    country_iso3: str | None = None
    country_name: str | None = None
    submitted_at: UtcInstant
    eligible_at: UtcInstant
    deadline_at: UtcInstant | None
    started_at: UtcInstant | None
    ended_at: UtcInstant | None
    wall_seconds: float | None
    """From its first start to its end."""
    paused_seconds: float | None
    """The part of it in which none of its runs ran."""
    deferral_seconds: float | None
    """From when it could have started to its first start."""
    attempts: int
    outcome: str
    exit_code: int | None
    gpu_count: int
    gpu_share: float | None = None
    gpu_model: list[str]
    gpu_models: dict[str, int] = Field(default_factory=dict)
    """Models with how many of each."""
    gpu_uuid: list[str]
    gpu_source: str | None = None
    cpu_source: str | None = None
    cpu_model: str | None = None
    power_limit_watts: float | None
    peak_power_w: float | None = None
    """The highest mean of a slice, of one GPU."""


class JobRow(JobIdentity, Row):
    """A row by job."""

    slices: list[Hour]


class OutcomeRow(ReportModel):
    """What runs used that ended in one way; these rows and `unattributed` are the total."""

    outcome: str
    """`unfinished`: at a checkpoint, and their job has not succeeded."""
    is_waste: bool
    """Whether they failed, timed out or were lost; to be cancelled is no waste."""
    is_success: bool = False
    """Whether their avoided emissions are in `avoided_g` of the total."""
    runs: int
    it_energy_kwh: float | None
    emissions_location_g: float | None
    complete: bool
    cost: float | None = None
    currency: str | None = None
    cost_missing_kwh: float | None = None
    baseline_emissions_g: float | None = None
    compared_emissions_g: float | None = None
    avoided_g: float | None = None
    avoided_pct: float | None = None


class Day(BriefFigures):
    """A day (UTC), and of it what runs held."""

    day: date
    attributed_energy_kwh: float | None
    attributed_emissions_g: float | None


class SeriesRow(ReportModel):
    """A series of intensities that priced something, with what it priced."""

    provider: str
    zone: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None
    gases: str | None = None
    """Which gases its numbers count, and by which global warming potential (GWP)."""
    booked_kwh: float | None
    emissions_booked_g: float | None
    settled_kwh: float | None
    emissions_settled_g: float | None


# the whole


class ForecastComparison(ReportModel):
    """What was booked by a forecast beside what settled it."""

    energy_kwh: float | None
    booked_g: float | None
    settled_g: float | None
    difference_g: float | None
    mean_absolute_error_pct: float | None


class HalfWidths(ReportModel):
    """The half-widths that uncertainties are made of: ratios of the energy of each grade, and that of the PUE."""

    measured_ratio: float
    rapl_ratio: float
    integrated_ratio: float
    sparse_ratio: float
    bridged_ratio: float
    estimated_ratio: float
    pue_absolute: float


class Note(ReportModel):
    """A remark on the quality of the figures."""

    field: str
    note: str


class Explanation(ReportModel):
    """What a reader must know to judge a report."""

    method: list[str]
    data_quality: list[Note]
    limits: list[str]
    attribution: list[str]
    missing: dict[str, str]
    """Why a field is null, or absent that others report."""


class Change(ReportModel):
    """A figure that changed since an earlier report, whose content is not validated."""

    model_config = ConfigDict(allow_inf_nan=True)

    where: str
    field: str
    before: JsonValue
    after: JsonValue
    why: str


class ReportBody(ReportModel):
    """The figures of a period, without their explanation."""

    report_schema_version: int = SCHEMA_VERSION
    greenrun_version: str
    config_hash: str | None = None
    """Equal in reports that the same settings made."""
    generated_at: UtcInstant
    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    preliminary: bool | None = None
    """Whether figures can still change."""
    by: By
    zone: str | None
    host: str | None = None
    site: str | None = None
    organisation: str | None = None
    boundary: str | None = None
    """How the organisation consolidates its emissions (GHG Protocol)."""
    total: Row
    unattributed: Unattributed
    rows: list[JobRow] | list[Row] = Field(union_mode="left_to_right")
    others: Row | None = None
    """What jobs of others used that this report may not tell its reader by themselves; null where that is nothing."""
    rows_left_out: int = 0
    """How many rows there are besides, where only so many were asked for."""
    days: list[Day]
    series: list[SeriesRow]
    waste: list[OutcomeRow]
    """What runs used, by how they ended."""
    completeness: Completeness | None = None
    in_flight: InFlight | None = None
    against_grid: GridComparison | None = None
    hours_of_day: list[HourOfDay] = Field(default_factory=list)
    by_project: list[GroupTrend] = Field(default_factory=list)
    by_user: list[GroupTrend] = Field(default_factory=list)
    previous: PreviousPeriod | None = None
    instruments: list[Instrument] = Field(default_factory=list)
    """What market-based emissions are made of."""
    gpu_hours: GpuHours | None = None
    power_limits: PowerLimitEffect | None = None
    """What lowered power limits of GPUs did; null where none was lowered."""
    forecast_against_settled: ForecastComparison
    uncertainty: HalfWidths | None = None
    boamps: dict[str, str] = Field(default_factory=dict)
    """Fields of BoAmps that hold for every job that says nothing else."""

    @property
    def wasted_runs(self) -> int:
        """How many runs failed, timed out or were lost."""
        return sum(row.runs for row in self.waste if row.is_waste)

    @property
    def wasted_kwh(self) -> float | None:
        """The known energy of these runs; None where there are some and nothing of it is known."""
        wasted = [row.it_energy_kwh for row in self.waste if row.is_waste]
        known = [energy_kwh for energy_kwh in wasted if energy_kwh is not None]
        return sum(known) if known or not wasted else None

    @property
    def job_rows(self) -> list[JobRow]:
        """The rows, where they are by job; else none."""
        return [row for row in self.rows if isinstance(row, JobRow)]


class Report(Explanation, ReportBody):
    """What devices and runs used and emitted from an instant up to another."""


class ComparedReport(Report):
    """A report with the figures that changed since an earlier one of the same period."""

    compared_with: str
    """When the earlier report was made."""
    moved: list[Change]


def read_report(document: object) -> Report:
    """Return the report that is read from JSON; raise ValueError, with the first field that is wrong, when it is none.

    Fields that earlier releases lack are None.
    """
    try:
        return Report.model_validate(document)
    except ValidationError as exc:
        raise ValueError(first_problem(exc)) from exc


def first_problem(exc: ValidationError) -> str:
    """Return the first field that is wrong, by its path, and what is wrong with it."""
    problem = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def json_schema() -> Document:
    """Return the JSON Schema of a report as greenrun writes it, compared with an earlier one or not."""
    either: TypeAdapter[Report | ComparedReport] = TypeAdapter(Report | ComparedReport)
    schema = either.json_schema(mode="serialization", schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "Report of greenrun", **schema}
