"""The report as a typed model: what its JSON has, from which every other format is made.

A figure that is not known is None and never 0. `--schema` publishes these classes as JSON Schema, docstrings included;
docs/reports.md says how each figure is made. The order of fields is that of the columns of the CSV: of several base
classes, those on the right come first.
"""

from datetime import UTC, date
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema

from greenrun.core.carbon.intensity import Accounting, Basis, Signal

SCHEMA_VERSION = 1
By = Literal["project", "user", "job", "month", "zone"]
BY: tuple[By, ...] = get_args(By)

Instant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
Document = dict[str, JsonValue]  # a model as plain JSON values


class ReportModel(BaseModel):
    """A part of a report: frozen, and without any field that is not declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    def document(self) -> Document:
        """Return it as plain JSON values."""
        return self.model_dump(mode="json")


Made = TypeVar("Made", bound=ReportModel)


def combined(model: type[Made], *parts: ReportModel, **own: object) -> Made:
    """Return a model whose fields are those of its parts, and its own."""
    fields = dict(own)
    for part in parts:
        fields |= vars(part)
    return model(**fields)


# the figures of a row, by subject


class EnergyFigures(ReportModel):
    """What the metered devices used: null where nothing of the kind is metered or known."""

    gpu_energy_kwh: float | None
    cpu_energy_kwh: float | None
    dram_energy_kwh: float | None
    it_energy_kwh: float | None
    """The sum of the components."""
    facility_energy_kwh: float | None
    """With the facility's overhead (PUE)."""
    pue: float | None
    avg_power_w: float | None
    """The mean power of one GPU."""
    measured_kwh: float | None
    """Of the IT energy, the part that a hardware counter told."""
    integrated_kwh: float | None
    """Of the IT energy, the part that was integrated from samples of power."""
    estimated_kwh: float | None
    """Of the IT energy, the part that is a constant's."""
    bridged_kwh: float | None
    """Of the IT energy, the part of gaps that a counter bridges."""
    gpu_method: str | None
    cpu_method: str | None
    dram_method: str | None
    coverage_ratio: float | None
    """Known device-seconds / device-seconds held."""
    gap_seconds: float
    """Device-seconds that are bridged or unknown."""
    energy_uncertainty_pct: float | None
    gpu_utilization_avg: float | None = None
    gpu_utilization_coverage: float | None = None
    """For what part of the GPUs' time their utilisation is known."""

    @property
    def by_grade_kwh(self) -> dict[str, float]:
        """The IT energy by how it was told, where there is any."""
        told = {
            "measured": self.measured_kwh,
            "integrated": self.integrated_kwh,
            "estimated": self.estimated_kwh,
            "bridged": self.bridged_kwh,
        }
        return {grade: energy_kwh for grade, energy_kwh in told.items() if energy_kwh}


class EmissionFigures(ReportModel):
    """Location-based emissions, and the intensity that they are made of."""

    grid_zone: str | None
    ci_provider: str | None
    ci_signal: str | None
    ci_accounting: str | None
    ci_basis: str | None
    ci_avg_g_per_kwh: float | None
    """Emissions / facility energy: the mean weighted by energy."""
    ci_min_g_per_kwh: float | None
    ci_max_g_per_kwh: float | None
    ci_estimated_ratio: float | None
    """The part of the energy whose intensity the source calls an estimate."""
    ci_forecast_ratio: float | None
    """The part of the energy that still has a forecast intensity."""
    settled_ratio: float | None
    """The part of the energy that is priced with the measured intensity."""
    unpriced_kwh: float
    """Energy without an average intensity; its emissions are in no sum."""
    emissions_location_g: float | None
    emissions_booked_g: float | None
    """As priced when the energy was booked."""
    emissions_settled_g: float | None
    """As priced with the measured intensity."""
    emissions_marginal_g: float | None = None
    """By a marginal signal, in no sum with the average."""
    marginal_ratio: float | None = None
    """The part of the known energy that the marginal emissions are of."""


class AvoidedFigures(ReportModel):
    """A comparison with the same runs, each started as soon as possible; not part of the inventory."""

    baseline_emissions_g: float | None
    compared_emissions_g: float | None = None
    avoided_g: float | None
    """baseline_emissions_g - compared_emissions_g; may be negative."""
    avoided_pct: float | None
    avoided_uncertainty_g: float | None
    avoided_runs: int
    avoided_missing: str | None
    """Why other runs are not compared."""


class QualityFigures(ReportModel):
    """How far the figures of a row can be trusted."""

    ci_uncertainty_pct: float | None
    emissions_uncertainty_pct: float | None
    flags: list[str]
    complete: bool


class IdleFigures(ReportModel):
    """What the GPUs of runs would have used idle in the same time, told beside their energy and never subtracted."""

    idle_energy_kwh: float | None = None
    energy_above_idle_kwh: float | None = None


class WorkFigures(ReportModel):
    """How much work runs reported."""

    work: float | None = None
    work_unit: str | None = None
    energy_per_work_j: float | None = None
    """The IT energy of these runs / their work."""


class CostFigures(ReportModel):
    """What the facility's energy cost; prices may be negative."""

    cost: float | None = None
    currency: str | None = None
    cost_missing_kwh: float | None = None
    """Facility energy whose price is not known: in no cost."""


class MarketFigures(ReportModel):
    """Market-based emissions (GHG Protocol Scope 2)."""

    emissions_market_g: float | None = None
    market_factor_source: str | None = None
    market_covered_ratio: float | None = None
    """The part of the facility energy that contracts cover."""


class LifecycleFigures(ReportModel):
    """Embodied emissions, and what else comes with the use of electricity."""

    embodied_g: float | None = None
    """The part of the GPUs' embodied emissions that falls to the time in which runs held them."""
    td_loss_g: float | None = None
    """Losses of transmission and distribution."""
    emissions_total_g: float | None = None
    """Location-based, losses and embodied emissions together."""
    water_l: float | None = None


class InventoryFigures(QualityFigures, AvoidedFigures, EmissionFigures, EnergyFigures):
    """Energy and emissions with what is to be known of them."""


class Figures(LifecycleFigures, MarketFigures, CostFigures, WorkFigures, IdleFigures, InventoryFigures):
    """Every figure of a row."""


class Counts(ReportModel):
    """How many jobs and runs a row is about."""

    jobs: int
    failed_jobs: int
    runs: int
    wasted_runs: int
    run_seconds: float


class BriefFigures(ReportModel):
    """Energy and emissions alone."""

    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    ci_avg_g_per_kwh: float | None
    emissions_location_g: float | None


# rows


class Named(ReportModel):
    """What has a name in a table."""

    group: str


class Unattributed(Figures, Named):
    """What devices used that no run held."""


class Row(Figures, Counts, Named):
    """A row by project, user, month or zone; or the total."""


class Hour(BriefFigures):
    """What a job used in an hour (UTC)."""

    hour: Instant


class JobIdentity(ReportModel):
    """Who and what a job is; times are of all its runs, be they outside the period too."""

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
    submitted_at: Instant
    eligible_at: Instant
    deadline_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None
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


class WasteRow(ReportModel):
    """What runs used that ended in one way."""

    outcome: str
    is_waste: bool
    runs: int
    it_energy_kwh: float | None
    emissions_location_g: float | None
    complete: bool
    cost: float | None = None
    currency: str | None = None
    cost_missing_kwh: float | None = None


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
    booked_kwh: float | None
    emissions_booked_g: float
    settled_kwh: float | None
    emissions_settled_g: float


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
    """A figure that moved since an earlier report, which may say anything."""

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
    generated_at: Instant
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    preliminary: bool | None = None
    """Whether figures can still change."""
    by: By
    zone: str | None
    host: str | None = None
    site: str | None = None
    total: Row
    unattributed: Unattributed
    rows: list[JobRow] | list[Row] = Field(union_mode="left_to_right")
    days: list[Day]
    series: list[SeriesRow]
    waste: list[WasteRow]
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
        told = [row.it_energy_kwh for row in self.waste if row.is_waste]
        known = [energy_kwh for energy_kwh in told if energy_kwh is not None]
        return sum(known) if known or not told else None

    @property
    def job_rows(self) -> list[JobRow]:
        """The rows, where they are by job; else none."""
        return [row for row in self.rows if isinstance(row, JobRow)]


class Report(Explanation, ReportBody):
    """What devices and runs used and emitted from an instant up to another."""


class ComparedReport(Report):
    """A report that says what moved since an earlier one of the same period."""

    compared_with: str
    """When the earlier report was made."""
    moved: list[Change]


def read_report(document: object) -> Report:
    """Return the report that is read from JSON; raise ValueError, with the first field that is wrong, when it is none.

    What releases before this one did not tell is None.
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
