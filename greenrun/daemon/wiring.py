"""Derive the settings of each part of the daemon from the configuration, and open the configured providers."""

import os
import platform
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from greenrun.api.identity import operators
from greenrun.api.service import ServiceSettings
from greenrun.clock import utc_now
from greenrun.config import Config
from greenrun.config.devices import meter_settings
from greenrun.config.models import config_hash
from greenrun.config.notify import hooks_of
from greenrun.config.problems import MARGINAL_KIND
from greenrun.config.values import Address
from greenrun.core.carbon.fallback import StalenessRules
from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.merging import within
from greenrun.core.energy.model import gpus
from greenrun.core.errors import ConfigError, ProviderError
from greenrun.core.jobs.access import AccessRules
from greenrun.core.jobs.runs.resource_limits import ResourceRules
from greenrun.core.planning.model import Options
from greenrun.daemon.accounting_bases import open_bases
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.engine import EngineSettings
from greenrun.executors.units.controllers import why_not_limited
from greenrun.grid.electricity import DayAheadPrices
from greenrun.grid.sources import OpenProviders
from greenrun.meters import OpenMeter, why_no_more_gpus
from greenrun.meters.power_limits.gpu_power_limits import GpuPowerLimits
from greenrun.notifications.hook import Hook
from greenrun.providers import Provider, open_provider
from greenrun.providers.kinds import BUILT_IN
from greenrun.providers.settings import ProviderSettings
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.identity import Place
from greenrun.reports.monthly import MonthlyReports, MonthlyReportSettings
from greenrun.reports.uncertainty import Widths
from greenrun.store import Store


def open_providers(config: Config, store: Store) -> OpenProviders:
    """Open the providers that [grid] names, one object for each name; raise ConfigError for one that cannot be used."""
    grid = config.grid
    names = {*grid.provider, *grid.history_names, *([grid.marginal] if grid.marginal else [])}
    opened = {name: _open_provider(config, name, store) for name in names}
    return OpenProviders(
        forecasts=tuple(opened[name] for name in grid.provider),
        histories=tuple(opened[name] for name in grid.history_names),
        marginal=(opened[grid.marginal],) if grid.marginal else (),
    )


def _open_provider(config: Config, name: str, store: Store) -> Provider:
    settle_after = config.grid.settle_after
    try:
        return open_provider(name, config.provider[name], lambda key: store.grid.anchor(key, utc_now()), settle_after)
    except ProviderError as exc:  # a restart would not help: the configuration must be corrected
        raise ConfigError(f"provider.{name} cannot be used, so greenrun does not start: {exc}") from exc


def open_hooks(config: Config) -> list[Hook]:
    """Return the hooks of the site; raise ConfigError for one whose command others than root could have named."""
    return hooks_of(config.notify, is_system=config.server.is_system, read_from=config.read_from)


def host_name() -> str:
    """Return the name by which people know this machine."""
    return platform.node() or "localhost"


def known_signals(config: Config) -> frozenset[Signal]:
    """Return the signals that the sources in use are known to tell before they do; of a plug-in's none is."""
    grid = config.grid
    names = {*grid.provider, *grid.history_names, *([grid.marginal] if grid.marginal else [])}
    used = [config.provider[name] for name in names] if grid.zone else []
    return frozenset(_signal(provider) for provider in used if provider.kind in BUILT_IN)


def _signal(provider: ProviderSettings) -> Signal:
    if provider.kind == MARGINAL_KIND:
        return Signal.MARGINAL
    stated: Signal = getattr(provider, "signal", Signal.AVERAGE)
    return stated


def engine_settings(
    config: Config, meter: OpenMeter, forecasts: Sequence[Provider], day_ahead: DayAheadPrices | None
) -> EngineSettings:
    """Return the engine's settings; the power of a GPU only where it is the same for all."""
    bases = open_bases(config, day_ahead)
    planner = config.planner
    powers = {device.power_w for device in gpus(meter.devices())}
    step = min((provider.refresh_every for provider in forecasts), default=planner.tick)
    return EngineSettings(
        zone=config.grid.zone,
        also=tuple(zone for zone in config.grid.also if zone != config.grid.zone),
        marginal_zone=config.provider[config.grid.marginal].zone if config.grid.marginal else None,
        staleness=_staleness(config, forecasts),
        tick=planner.tick,
        horizon=planner.horizon,
        climatology_days=0 if _is_replayed(forecasts) else planner.climatology_days,
        cpu_slots=config.devices.cpu_slots,
        anomalies=config.anomalies.limits,
        reserved=tuple(row.weekly(name) for name, row in config.devices.reserved.items()),
        merge_within=within(utc_now().astimezone().utcoffset() or timedelta(0)),
        budgets=BudgetRules(budgets=config.budget.in_effect(bases.currency), price=bases.price),
        options=Options(
            default_max_delay=planner.default_max_delay,
            due_grace=max(timedelta(seconds=1), min(2 * planner.tick, step)),
            min_saving=planner.min_saving,
            run_below_g_per_kwh=planner.run_below,
            pue=config.devices.pue,
            gpu_power_w=powers.pop() if len(powers) == 1 else None,
            shares=config.fair_share.in_effect,
        ),
        resources=host_resources() if config.server.is_system else {},
        power_limits=config.gpu_power_limit.in_effect,
        site_power=config.site_power.in_effect,
        gpus_note=why_no_more_gpus(meter_settings(config.devices), meter.refusals, len(gpus(meter.devices()))),
    )


def open_power_limits(config: Config) -> GpuPowerLimits:
    """Return what reads and sets the power limits of GPUs."""
    return GpuPowerLimits(state_dir=config.paths.state, busy_w=config.devices.emulated.watts_busy)


def api_settings(config: Config) -> ServiceSettings:
    """Return the API's settings."""
    return ServiceSettings(
        zone=config.grid.zone,
        also=config.grid.also,
        default_duration=config.planner.default_duration,
        default_max_delay=config.planner.default_max_delay,
        duration_quantile=config.planner.duration_quantile,
        max_queued=config.jobs.max_queued,
        told_of=tuple({topic.value for hook in config.notify.values() for topic in hook.events}),
        access=access_rules(config),
        variables=config.jobs.variables,
        resources=resource_rules(config),
        default_cap=config.gpu_power_limit.default_cap,
        lowers_power_limits=config.gpu_power_limit.enabled,
        container_engine=config.jobs.container_engine,
        hosts=config.api.hosts,
        is_shared=config.server.is_system,
    )


def page_addresses(config: Config, local: Address | None, others: Address | None) -> tuple[str, ...]:
    """Return the addresses at which the page is to be opened, where it is served for this machine and for others."""
    found = [f"http://{local}"] if local else []
    if others is not None:
        is_any = ip_address(others.host).is_unspecified
        name = config.api.hosts[0] if config.api.hosts else host_name() if is_any else others.host
        found.append(f"{'https' if config.api.tls_key else 'http'}://{Address(name, others.port)}")
    return tuple(found)


def resource_rules(config: Config) -> ResourceRules:
    """Return how much memory, CPU and disk jobs may use."""
    return ResourceRules(
        usual=config.limits.usual,
        most=config.limits.most,
        there=host_resources(),
        why_not=why_not_limited(is_system=config.server.is_system),
    )


def host_resources() -> dict[str, float]:
    """Return how much there is on this machine of what jobs can be limited to, by field of a job."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"memory_gib": memory_gib, "cpus": float(os.cpu_count() or 1)}


def access_rules(config: Config) -> AccessRules:
    """Return who may see and touch what."""
    return AccessRules(
        others=config.sharing.others,
        admin_groups=config.sharing.admin_groups,
        members={name: project.members for name, project in config.project.items() if project.members is not None},
        operators=operators(),
    )


def report_settings(config: Config, sources: Sequence[Provider], day_ahead: DayAheadPrices | None) -> ReportSettings:
    """Return the settings of reports; raise ConfigError for an unusable file of prices or contracts."""
    return ReportSettings(
        zone=config.grid.zone,
        pue=config.devices.pue,
        attributions={source.name: source.attribution for source in sources if source.attribution},
        bases=open_bases(config, day_ahead),
        config_hash=config_hash(config),
        place=Place(
            host=platform.node() or None,
            site=config.reports.site or None,
            organisation=config.reports.organisation or None,
            boundary=config.reports.boundary or None,
            cpu_model=_cpu_model(),
        ),
        widths=Widths(**config.uncertainty.model_dump()),
        boamps=config.reports.boamps,
        settles=bool(config.grid.history_names),
    )


def open_monthly(config: Config, reports: Reports) -> MonthlyReports | None:
    """Return the writer of monthly reports; None if it is not configured."""
    told = config.reports
    if not told.monthly or told.folder is None:
        return None
    return MonthlyReports(
        reports, MonthlyReportSettings(folder=told.folder, formats=told.formats, settled_by=told.settled_by, by=told.by)
    )


def _cpu_model() -> str | None:
    """Return what the kernel calls the CPU; None where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None) or None


def _staleness(config: Config, forecasts: Sequence[Provider]) -> StalenessRules:
    """A replayed trace never ages; what a file says that does not tell when it was issued, somebody answers for."""
    files = frozenset(provider.name for provider in forecasts if provider.web is None)
    return StalenessRules(stale_after=None if _is_replayed(forecasts) else config.grid.stale_after, statements=files)


def _is_replayed(forecasts: Sequence[Provider]) -> bool:
    """Whether a source plays a trace, in which a day may be over in a minute."""
    return any(not provider.settle_after for provider in forecasts)
