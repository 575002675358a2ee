"""[devices]: what is metered, and how; [devices.external.NAME] is a counter outside of the host, as of a smart PDU."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from greenrun.config.electricity import Clock, Days, Zone
from greenrun.config.values import Names, parse_names
from greenrun.core.accounting.weekly import DAY_MIN, Rule, Weekly, parse_clock, parse_days
from greenrun.core.energy.gpu_parts import MOST_SLOTS, slices_of
from greenrun.core.formatting import duration_text
from greenrun.core.planning.site_limits.reserved import WeeklyReservation
from greenrun.meters import settings as meters
from greenrun.meters.external.answer import UNITS_J
from greenrun.providers.settings import ExpandedPath, PositiveDuration, Section

LOCAL = ("127.0.0.1", "::1", "localhost")
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(minutes=1)
LONGEST_BOOKED = timedelta(seconds=5)  # what comes ten seconds after the reading before is a bridge
Meters = Annotated[tuple[meters.MeterKind, ...], NoDecode, BeforeValidator(parse_names), Field(min_length=1)]
CpuMeters = Annotated[tuple[meters.CpuMeterKind, ...], NoDecode, BeforeValidator(parse_names), Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=4096)]
Watts = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
MIG_SLICES = 7  # of a board, by NVIDIA's count


def _profile(text: str) -> str:
    if not re.fullmatch(r"[1-7]g\.[1-9]\d{0,2}gb", text):
        raise ValueError("write a profile as in 1g.10gb: compute slices (1 to 7), and memory in GB")
    return text


Profiles = Annotated[tuple[Annotated[str, AfterValidator(_profile)], ...], Field(min_length=1, max_length=7)]
MigProfiles = dict[Annotated[str, Field(pattern=r"^(0|[1-9]\d{0,3})$")], Profiles]
Slots = Annotated[int, Field(ge=2, le=MOST_SLOTS)]
Shared = Annotated[dict[Annotated[str, Field(min_length=1)], Slots], Field(max_length=4096)]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("is named by small letters, digits, - and _, 32 at most")
    return text


def _address(url: str) -> str:
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError as exc:
        raise ValueError(f"is no address: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("must be an address that begins with http:// or https://")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("write the address without a user, a password or a fragment; header_file holds what is secret")
    return url


class ExternalMeterSettings(Section):
    """[devices.external.NAME]; `value` says where in the JSON of the answer its number is."""

    kind: Literal["command", "http"]
    command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    url: Annotated[str, AfterValidator(_address)] | None = None
    header_file: ExpandedPath | None = None
    value: Annotated[str, Field(min_length=1)] | None = None
    unit: Literal["J", "mJ", "uJ", "Wh", "kWh"]
    component: Literal["external", "cpu", "dram"] = "external"
    wraps_at: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    watts_max: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 20_000.0
    every: PositiveDuration = timedelta(seconds=10)
    timeout: PositiveDuration = timedelta(seconds=5)

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        wanted, other = ("command", "url") if self.kind == "command" else ("url", "command")
        if not getattr(self, wanted) or getattr(self, other):
            raise ValueError(f"kind '{self.kind}' needs {wanted}, and no {other}")
        if self.header_file and self.kind == "command":
            raise ValueError("header_file is for kind 'http'")
        return self

    @model_validator(mode="after")
    def _keeps_secrets(self) -> Self:
        parts = urlsplit(self.url or "")
        if self.header_file and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise ValueError("what header_file holds must not travel in the clear: url must begin with https://")
        return self

    @model_validator(mode="after")
    def _is_asked_in_time(self) -> Self:
        if not SHORTEST <= self.every <= LONGEST or self.timeout > LONGEST:
            raise ValueError("every must be from 1s to 1m, and timeout at most 1m")
        if self.component != "external" and self.every > LONGEST_BOOKED:
            raise ValueError(f"component '{self.component}' is booked, which takes a reading every 5s: shorten every")
        wrap_s = None if self.wraps_at is None else self.wraps_at * UNITS_J[self.unit] / self.watts_max
        if wrap_s is not None and wrap_s < 2 * (self.every + self.timeout).total_seconds():
            raise ValueError(
                f"at watts_max the counter wraps every {duration_text(wrap_s)}, so it must be asked twice as often: "
                "shorten every and timeout, or lower watts_max"
            )
        return self


ExternalMeters = Annotated[dict[Annotated[str, AfterValidator(_name)], ExternalMeterSettings], Field(max_length=8)]


class PowerSettings(Section):
    """So many GPUs that draw so many watts each."""

    gpus: Count
    watts_idle: Watts
    watts_busy: Watts

    @model_validator(mode="after")
    def _busy_uses_more(self) -> Self:
        if self.watts_busy < self.watts_idle:
            raise ValueError("watts_busy must not be below watts_idle")
        return self


class EmulatedSettings(PowerSettings):
    """[devices.emulated]"""

    gpus: Count = 2
    watts_idle: Watts = 60.0
    watts_busy: Watts = 350.0
    mig: MigProfiles = Field(default_factory=dict)

    @model_validator(mode="after")
    def _divides_what_is_there(self) -> Self:
        for index, profiles in self.mig.items():
            if int(index) >= self.gpus:
                raise ValueError(f"mig names GPU {index}, and there are {self.gpus} emulated GPUs, counted from 0")
            if sum(slices_of(profile) or 0 for profile in profiles) > MIG_SLICES:
                raise ValueError(f"mig.{index} has more than the {MIG_SLICES} compute slices of a board")
        return self


class ConstantSettings(PowerSettings):
    """[devices.constant]; its watts have no default, because greenrun invents none."""

    gpus: Count = 0


class ReservedSettings(Section):
    """[devices.reserved.NAME]: hours of every week in which people work on GPUs, and no job gets them."""

    model_config = ConfigDict(serialize_by_alias=True)

    gpus: Names = ()
    count: Annotated[int, Field(ge=1, le=4096)] | None = None
    start: Clock = Field(default="00:00", alias="from")
    end: Clock = Field(default="24:00", alias="to")
    days: Days = "mon-sun"
    timezone: Zone
    reason: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _reserves_something(self) -> Self:
        if bool(self.gpus) == (self.count is not None):
            raise ValueError("name the GPUs in gpus, or say in count how many (the last ones), and not both")
        if parse_clock(self.start) == DAY_MIN:
            raise ValueError('it begins before 24:00; write from = "00:00" and name the day after')
        return self

    def weekly(self, name: str) -> WeeklyReservation:
        """Return the same as a value of the core."""
        rule = Rule(
            days=parse_days(self.days),
            start_min=parse_clock(self.start),
            end_min=parse_clock(self.end),
            value=1.0,
        )
        hours = Weekly.of([rule], None, ZoneInfo(self.timezone))
        return WeeklyReservation(name=name, hours=hours, gpus=self.gpus, count=self.count or 0, reason=self.reason)


Reservations = Annotated[dict[Annotated[str, AfterValidator(_name)], ReservedSettings], Field(max_length=32)]


class DevicesSettings(Section):
    """[devices]"""

    meter: Meters = meters.GPU_METERS
    include: Names = ()
    exclude: Names = ()
    excluded_energy: meters.ExcludedEnergy = "idle"
    shared: Shared = Field(default_factory=dict)
    cpu_slots: Count = 2
    pue: Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)] = 1.0
    cpu_meter: CpuMeters = ("none",)
    powercap: ExpandedPath = Path("/sys/class/powercap")
    emulated: EmulatedSettings = Field(default_factory=EmulatedSettings)
    constant: ConstantSettings | None = None
    external: ExternalMeters = Field(default_factory=dict)
    reserved: Reservations = Field(default_factory=dict)

    @model_validator(mode="after")
    def _counts_once(self) -> Self:
        if any(each.component in ("cpu", "dram") for each in self.external.values()) and "rapl" in self.cpu_meter:
            raise ValueError(
                "an external meter of CPU or DRAM counts what cpu_meter 'rapl' counts: set cpu_meter to 'none', "
                "or its component to 'external'"
            )
        return self

    @model_validator(mode="after")
    def _takes_or_leaves(self) -> Self:
        if both := [name for name in self.exclude if name in self.include]:
            raise ValueError(f"include and exclude both name {', '.join(both)}: leave it in one of them")
        if both := [name for name in self.shared if name in self.exclude]:
            raise ValueError(f"shared and exclude both name {', '.join(both)}: leave it in one of them")
        return self

    @model_validator(mode="after")
    def _constant_has_watts(self) -> Self:
        if "constant" in self.meter and self.constant is None:
            raise ValueError("meter 'constant' needs [devices.constant] with watts_idle and watts_busy")
        return self


def meter_settings(devices: DevicesSettings) -> meters.MeterSettings:
    """Return the settings in the form that the meters take."""
    return meters.MeterSettings(
        kinds=tuple(devices.meter),
        include=tuple(int(name) if name.isdigit() else name for name in devices.include),
        emulated=meters.EmulatedSettings(**devices.emulated.model_dump()),
        constant=meters.ConstantSettings(**devices.constant.model_dump()) if devices.constant else None,
        cpu_kinds=tuple(devices.cpu_meter),
        powercap=devices.powercap,
        external=_external_settings(devices.external),
        exclude=devices.exclude,
        excluded_energy=devices.excluded_energy,
        shared=dict(devices.shared),
    )


def _external_settings(external: ExternalMeters) -> tuple[meters.ExternalSettings, ...]:
    """Return the settings in the form that the meters take."""
    return tuple(
        meters.ExternalSettings(
            name=name,
            unit=each.unit,
            component=each.component,
            command=each.command,
            url=each.url or "",
            value=each.value,
            wraps_at=each.wraps_at,
            watts_max=each.watts_max,
            every_s=each.every.total_seconds(),
            timeout_s=each.timeout.total_seconds(),
            header_file=each.header_file,
            index=index,
        )
        for index, (name, each) in enumerate(external.items())
    )
