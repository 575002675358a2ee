"""The sections of greenrun.toml as frozen models; `greenrun config example` explains every key to its reader."""

import json
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from greenrun.config.accounting import AccountingSettings
from greenrun.config.anomalies import AnomalySettings
from greenrun.config.budgets import BudgetsSettings
from greenrun.config.devices import DevicesSettings
from greenrun.config.electricity import ElectricitySettings
from greenrun.config.fair_share import FairShareSettings
from greenrun.config.gpu_power_limit import GpuPowerLimitSettings
from greenrun.config.limits import LimitsSettings
from greenrun.config.notify import Hooks
from greenrun.config.reports import ReportsSettings, UncertaintySettings
from greenrun.config.server_mode import ServerSettings
from greenrun.config.sharing import ProjectName, ProjectSettings, SharingSettings
from greenrun.config.site_power_cap import SitePowerSettings
from greenrun.config.values import Address, Bytes, Names, OptionalAddress
from greenrun.core.jobs.site_variables import VariableRules
from greenrun.core.jobs.spec import GpuIds
from greenrun.executors.containers.engines import ContainerEngine
from greenrun.paths import DEFAULT_SOCKET, DEFAULT_STATE, JOB_ENVIRONMENT, find_locks
from greenrun.providers.settings import Duration, ExpandedPath, PositiveDuration, ProviderSettings, Section

Origin = Literal["default", "file", "environment"]

Count = Annotated[int, Field(ge=0, le=4096)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OptionalText = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)]

DECIDING = ("grid", "provider", "devices", "electricity", "accounting", "uncertainty")
_NO_MATTER = ("key_file", "password_file", "username", "timeout", "forecast_retention", "history_retention")


class PathsSettings(Section):
    """[paths]"""

    state: ExpandedPath = Path(DEFAULT_STATE)
    locks: ExpandedPath = Field(default_factory=find_locks)


class GridSettings(Section):
    """[grid]; without a zone energy is recorded and emissions are unknown."""

    zone: OptionalText = None
    provider: Names = ()
    history_provider: Names = ()
    marginal: OptionalText = None
    also: Names = ()
    stale_after: PositiveDuration = timedelta(hours=2)
    settle_after: Duration = timedelta(hours=24)
    forecast_retention: PositiveDuration = timedelta(days=400)
    history_retention: PositiveDuration = timedelta(days=400)

    @model_validator(mode="after")
    def _keeps_what_settles(self) -> Self:
        if self.history_retention <= self.settle_after:
            raise ValueError("history_retention must be longer than settle_after, or nothing would ever be settled")
        return self

    @property
    def history_names(self) -> tuple[str, ...]:
        """The providers of measured values: those named for it, or else those of the forecast."""
        return self.history_provider or self.provider


class PlannerSettings(Section):
    """[planner]; `run_below` is in g/kWh, 0 means never."""

    tick: PositiveDuration = timedelta(seconds=5)
    horizon: PositiveDuration = timedelta(hours=48)
    climatology_days: Annotated[int, Field(ge=0, le=90)] = 28
    default_duration: PositiveDuration = timedelta(hours=4)
    duration_quantile: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)] = 0.8
    default_max_delay: Duration = timedelta(hours=24)
    min_saving: Ratio = 0.0
    run_below: Annotated[float, Field(ge=0, le=5_000, allow_inf_nan=False)] = 0.0


class JobsSettings(Section):
    """[jobs]; `env` names variables that a job gets from its submitter, `*` stands for any ending.

    Of all that submitters give, only `env_allowed` is passed and nothing of `env_refused`; a value of `env_from_file`
    may come from a file alone.

    `gpu_ids` is how CUDA_VISIBLE_DEVICES names the GPUs of a job that does not say.
    """

    env: Names = JOB_ENVIRONMENT
    env_allowed: Names = ("*",)
    env_refused: Names = ()
    env_from_file: Names = ()
    gpu_ids: GpuIds = GpuIds.UUID
    container_engine: ContainerEngine = ContainerEngine.AUTO
    log_cap: Bytes = 2**30
    checkpoint_retention: PositiveDuration = timedelta(days=30)
    max_queued: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000

    @model_validator(mode="after")
    def _passes_what_it_takes_over(self) -> Self:
        if why := self.variables.problem(self.env):
            raise ValueError(f"env takes over what jobs may not be given: {why}")
        return self

    @property
    def variables(self) -> VariableRules:
        """Which variables jobs may be given."""
        return VariableRules(allowed=self.env_allowed, refused=self.env_refused, from_file=self.env_from_file)


def _on_this_machine(address: Address | None) -> Address | None:
    if address is not None and not address.is_loopback:
        raise ValueError(
            f"other machines can reach {address}, and metrics ask for no token; listen on 127.0.0.1:{address.port}"
        )
    return address


def _given(value: Any) -> Any:
    return None if value == "" else value


class ApiSettings(Section):
    """[api]"""

    socket: ExpandedPath = Path(DEFAULT_SOCKET)
    metrics: Annotated[OptionalAddress, AfterValidator(_on_this_machine)] = Address("127.0.0.1", 9753)
    page: bool = True
    tls_certificate: Annotated[ExpandedPath | None, BeforeValidator(_given)] = None
    tls_key: Annotated[ExpandedPath | None, BeforeValidator(_given)] = None
    tcp: OptionalAddress = None
    hosts: Names = ()

    @field_validator("tls_key")
    @classmethod
    def _is_of_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_certificate" in info.data and (key is None) != (info.data["tls_certificate"] is None):
            raise ValueError("tls_certificate and tls_key belong together: name both files, or neither")
        return key

    @field_validator("tcp")
    @classmethod
    def _is_safe_for_others(cls, address: Address | None, info: ValidationInfo) -> Address | None:
        key = info.data.get("tls_key")
        if address is None and key is not None:
            raise ValueError("tls_certificate and tls_key are for tcp, which is not set: name an address for it")
        if address is not None and not address.is_loopback and key is None:
            raise ValueError(
                f"other machines can reach {address}, and without TLS whoever is between could read tokens and act "
                f"with them: name tls_certificate and tls_key, or listen on 127.0.0.1:{address.port} and use `ssh -L`"
            )
        return address


class EventsSettings(Section):
    """[events]; what happened to jobs is read back while they last, so it is kept for a day at least."""

    retention: PositiveDuration = timedelta(days=365)

    @field_validator("retention")
    @classmethod
    def _is_a_day(cls, value: timedelta) -> timedelta:
        if value < timedelta(days=1):
            raise ValueError('must be "1d" or longer')
        return value


class LogSettings(Section):
    """[log]"""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value in effect, as it would be written, and its source."""

    value: object
    origin: Origin


class Config(BaseSettings):
    """All settings, valid together. Get one from `load_config`; made without arguments it holds the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="GREENRUN_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    paths: PathsSettings = Field(default_factory=PathsSettings)
    grid: GridSettings = Field(default_factory=GridSettings)
    provider: dict[str, SerializeAsAny[ProviderSettings]] = Field(default_factory=dict)
    devices: DevicesSettings = Field(default_factory=DevicesSettings)
    electricity: ElectricitySettings = Field(default_factory=ElectricitySettings)
    accounting: AccountingSettings = Field(default_factory=AccountingSettings)
    planner: PlannerSettings = Field(default_factory=PlannerSettings)
    fair_share: FairShareSettings = Field(default_factory=FairShareSettings)
    gpu_power_limit: GpuPowerLimitSettings = Field(default_factory=GpuPowerLimitSettings)
    site_power: SitePowerSettings = Field(default_factory=SitePowerSettings)
    jobs: JobsSettings = Field(default_factory=JobsSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    anomalies: AnomalySettings = Field(default_factory=AnomalySettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    sharing: SharingSettings = Field(default_factory=SharingSettings)
    project: dict[ProjectName, ProjectSettings] = Field(default_factory=dict)
    budget: BudgetsSettings = Field(default_factory=BudgetsSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    notify: Hooks = Field(default_factory=dict)
    log: LogSettings = Field(default_factory=LogSettings)
    reports: ReportsSettings = Field(default_factory=ReportsSettings)
    uncertainty: UncertaintySettings = Field(default_factory=UncertaintySettings)

    _read_from: Path | None = PrivateAttr(default=None)
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @property
    def read_from(self) -> Path | None:
        """The file that was read, None when there was none."""
        return self._read_from

    def effective(self) -> dict[str, Setting]:
        """Return every setting in effect by key path (`planner.tick`), with its source."""
        values = flatten(self.model_dump(mode="json"))
        return {key: Setting(value=value, origin=self._origins.get(key, "default")) for key, value in values.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the values that `load_config` gathered from file and environment."""
        return (init_settings,)


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Return the values of nested tables by key path; an empty table is a value."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat.update(
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
        )
    return flat


def config_hash(config: Config) -> str:
    """Return the SHA-256 of the settings that decide figures: neither keys, nor what files hold that they name."""
    effective = {
        key: setting.value
        for key, setting in config.effective().items()
        if key.split(".")[0] in DECIDING and key.rsplit(".", 1)[-1] not in _NO_MATTER
    }
    return sha256(json.dumps(effective, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
