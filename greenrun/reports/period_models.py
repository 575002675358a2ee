"""Models of what a report tells of its period as a whole: its completeness, what waits, and when energy was used."""

from typing import Literal

from pydantic import Field

from greenrun.core.carbon.intensity import Accounting, Basis
from greenrun.core.energy.model import Component
from greenrun.reports.figure_models import ReportModel, UtcInstant

Verdict = Literal["cleaner", "dirtier", "same"]


class DeviceCompleteness(ReportModel):
    """For how much of the period a device is in the books."""

    device: str
    component: Component
    since: UtcInstant
    until: UtcInstant
    booked_hours: float
    gap_hours: float
    """The part of them in which it was not read: bridged or unknown."""


class Completeness(ReportModel):
    """For how much of the period the books know what its devices used."""

    since: UtcInstant | None
    """The first instant of the period that is in the books."""
    until: UtcInstant | None
    hours: float
    """Hours of the period that have passed."""
    booked_hours: float
    """Of them, hours for which the device that is booked longest is in the books."""
    device_hours: float
    """Hours times the devices in the books."""
    booked_device_hours: float
    gap_device_hours: float
    """The part of them in which a device was not read: bridged or unknown."""
    watched_ratio: float | None
    """The part of the device-hours that are booked and no gap."""
    is_whole: bool
    """Whether the period is over and every device in the books was read in all of it."""
    devices: list[DeviceCompleteness]


class InFlight(ReportModel):
    """What is not in these figures yet, or can still change."""

    running_runs: int
    """Runs that began before the end of the period and go on."""
    booked_until: UtcInstant | None
    """Up to when anything is booked by now."""
    unbooked_device_seconds: float
    """For how long runs held GPUs in the period of which nothing is booked yet."""
    unbooked_kwh: float | None
    """An estimate of their energy, at the powers last seen; in no other figure."""
    unsettled_slices: int
    unsettled_kwh: float
    """Energy that waits for its measured intensity."""


class HourOfDay(ReportModel):
    """What was used in an hour of the day (UTC), over all days of the period, and how clean the grid was then."""

    hour: int = Field(ge=0, le=23)
    runs_energy_kwh: float | None
    runs_emissions_g: float | None
    runs_ci_g_per_kwh: float | None
    """The mean intensity of what runs used in this hour, weighted by energy."""
    unallocated_energy_kwh: float | None
    grid_ci_g_per_kwh: float | None
    """The mean measured intensity of the grid in this hour, of the days in the books."""


class GridComparison(ReportModel):
    """The mean intensity of what runs used beside the grid's in the same hours: whether they ran when it was clean.

    Both are of one series, the one that most of the energy of runs is priced with.
    """

    provider: str | None = None
    zone: str | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    runs_ci_g_per_kwh: float | None = None
    """Weighted by energy: their emissions / their facility energy."""
    grid_ci_g_per_kwh: float | None = None
    """Weighted by time alone: the mean of the hours that are in the books, as measured."""
    difference_pct: float | None = None
    """How far runs are below (-) or above the grid's mean."""
    hours: float = 0.0
    """The hours in the books whose measured intensity is known, of which the grid's mean is."""
    verdict: Verdict | None = None
    why: str | None = None
    """Why there is no comparison."""


class GroupTrend(ReportModel):
    """What a project or a user used, beside the period before."""

    group: str
    uid: int | None = None
    """The number of the user's account; null of a project."""
    jobs: int
    it_energy_kwh: float | None
    emissions_location_g: float | None
    ci_avg_g_per_kwh: float | None
    avoided_g: float | None
    avoided_pct: float | None
    previous_energy_kwh: float | None
    """None where it used nothing that is known."""
    previous_emissions_g: float | None
    change_pct: float | None
    """Of the emissions; None where the period before was not watched as this one was."""


class PreviousPeriod(ReportModel):
    """The period before, that trends compare with."""

    start: UtcInstant = Field(alias="from")
    end: UtcInstant = Field(alias="to")
    booked_ratio: float | None
    """The part of its device-hours that is in the books."""
    it_energy_kwh: float | None
    emissions_location_g: float | None
    energy_change_pct: float | None
    emissions_change_pct: float | None
    why: str | None
    """Why nothing is compared with it."""


class Instrument(ReportModel):
    """A contract, or the residual mix, with the energy that it covers and what that emitted, market-based."""

    source: str
    instrument: str | None
    """What kind of contract it is, as set."""
    facility_kwh: float
    share_ratio: float
    """Of the facility's known energy."""
    g_per_kwh: float | None
    emissions_g: float | None


class GpuHours(ReportModel):
    """For how long GPUs were there, and for how much of that runs held them."""

    gpus: int
    available_hours: float
    allocated_hours: float
    allocated_ratio: float | None
    utilisation_ratio: float | None
    """The part of the time in which they were busy, where drivers report it."""


class PowerLimitEffect(ReportModel):
    """What it did that the power limits of GPUs were lowered, in runs that ended in the period."""

    runs: int
    """Runs for which a power limit was lowered."""
    lowered_hours: float
    """For how long, together."""
    saved_g: float | None
    """How much more these runs would have emitted in these hours at full power; may be negative."""
    saved_g_uncertainty: float | None
    """Its standard error; null where users have stated how much slower their jobs get."""
    saved_kwh: float | None
    time_lost_hours: float | None
    """How much longer they took."""
    unknown_runs: int
    """Runs of which there is nothing to compare with: in none of the figures above."""
    unknown_hours: float
    why: str | None
    """Why it is not known of the first of them."""
