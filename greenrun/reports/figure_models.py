"""The figures of a report's rows as typed models, by subject, and the base of all models of a report.

A figure that is not known is None and never 0. The order of fields is that of the columns of the CSV: of several base
classes, those on the right come first.
"""

from datetime import UTC
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, JsonValue

Document = dict[str, JsonValue]  # a model as plain JSON values
UtcInstant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


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
        defer_build=True,
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
    """Of the IT energy, the part that a hardware counter reported."""
    integrated_kwh: float | None
    """Of the IT energy, the part that was integrated from samples of power."""
    estimated_kwh: float | None
    """Of the IT energy, the part that is a constant's."""
    bridged_kwh: float | None
    """Of the IT energy, the part of gaps that a counter bridges."""
    emulated_kwh: float | None = None
    """Of the IT energy, the part that is emulated, that is, made up."""
    gpu_method: str | None
    cpu_method: str | None
    dram_method: str | None
    coverage_ratio: float | None
    """Known device-seconds / device-seconds held."""
    gap_seconds: float
    """Device-seconds that are bridged or unknown."""
    energy_uncertainty_pct: float | None
    """Null where it is not known, as of emulated energy."""
    gpu_utilization_avg: float | None = None
    gpu_utilization_coverage: float | None = None
    """For what part of the GPUs' time their utilisation is known."""

    @property
    def by_grade_kwh(self) -> dict[str, float]:
        """The IT energy by how it was determined, where there is any."""
        grades = {
            "measured": self.measured_kwh,
            "integrated": self.integrated_kwh,
            "estimated": self.estimated_kwh,
            "bridged": self.bridged_kwh,
            "emulated": self.emulated_kwh,
        }
        return {grade: energy_kwh for grade, energy_kwh in grades.items() if energy_kwh}


class EmissionFigures(ReportModel):
    """Location-based emissions, and the intensity they are computed from."""

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
    ci_marginal_g_per_kwh: float | None = None
    """Marginal emissions / the facility energy that they are of."""
    marginal_ratio: float | None = None
    """The part of the known energy that the marginal emissions are of."""


class AvoidedFigures(ReportModel):
    """A comparison with the same runs, each started as soon as possible; not part of the inventory."""

    baseline_emissions_g: float | None
    """What all compared runs would have emitted, whatever became of them."""
    compared_emissions_g: float | None = None
    """What the same runs did emit."""
    avoided_g: float | None
    """Baseline less what was emitted, of work that succeeded alone; may be negative."""
    avoided_baseline_g: float | None = None
    """The baseline of this work."""
    avoided_pct: float | None
    """avoided_g in percent of avoided_baseline_g."""
    avoided_uncertainty_g: float | None
    avoided_runs: int
    """How many runs of work that succeeded are compared."""
    avoided_missing: str | None
    """Why other runs are not in avoided_g."""
    avoided_not_counted_g: float | None = None
    """The same difference of all other runs (failed, cancelled, not finished)."""


class QualityFigures(ReportModel):
    """The quality of a row's figures."""

    ci_uncertainty_pct: float | None
    """What forecasts make of it; null where that is not known, and where nothing is priced with one."""
    emissions_uncertainty_pct: float | None
    """Without that of measured intensities, which no source publishes; null where it is not known."""
    flags: list[str]
    complete: bool


class IdleFigures(ReportModel):
    """What the GPUs of runs would have used idle in the same time: shown next to their energy, never subtracted."""

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
    embodied_lacks: str | None = None
    """Components that runs used and that no factor covers: their making is in no figure."""
    emissions_total_g: float | None = None
    """Location-based, losses and embodied emissions together."""
    water_l: float | None = None


class InventoryFigures(QualityFigures, AvoidedFigures, EmissionFigures, EnergyFigures):
    """Energy and emissions with what is to be known of them."""


class Figures(LifecycleFigures, MarketFigures, CostFigures, WorkFigures, IdleFigures, InventoryFigures):
    """All figures of a row."""


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
