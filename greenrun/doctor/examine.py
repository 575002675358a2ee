"""All checks together, in the order in which one would look."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from greenrun.config import Config
from greenrun.config.devices import meter_settings
from greenrun.doctor.daemon_checks import ask_daemon, check_prometheus
from greenrun.doctor.device_checks import check_cpu, check_gpus
from greenrun.doctor.environment_checks import check_environment, check_settings
from greenrun.doctor.file_checks import check_disk, check_permissions
from greenrun.doctor.finding import Finding
from greenrun.doctor.host_checks import check_clock, check_descriptors, check_systemd
from greenrun.doctor.source_checks import check_sources
from greenrun.doctor.system_checks import check_system_mode


def examine(named: Path | None, socket: Path, now: datetime) -> Iterator[Finding]:
    """Look at everything and yield what was found as soon as it is; settings that cannot be used are only told."""
    yield from check_environment(os.environ)
    config, found = check_settings(named)
    yield from found
    health, said = ask_daemon(socket, config.paths.state if config else None)
    yield from said
    if config is not None:
        yield from _by_settings(config, now, runs=health is not None)
    yield from check_clock()
    yield from check_descriptors()
    yield from check_systemd(os.environ, is_system=config is not None and config.server.is_system)


def _by_settings(config: Config, now: datetime, *, runs: bool) -> Iterator[Finding]:
    stated, settings = config.effective(), meter_settings(config.devices)
    yield from check_permissions(config)
    yield from check_system_mode(config.server)
    yield from check_disk(config.paths.state)
    reserved = {name: row.gpus for name, row in config.devices.reserved.items()}
    yield from check_gpus(settings, is_stated=stated["devices.meter"].origin != "default", reserved=reserved)
    yield from check_cpu(settings, is_stated=stated["devices.cpu_meter"].origin != "default")
    yield from check_sources(config, now)
    yield from check_prometheus(config, runs=runs)
