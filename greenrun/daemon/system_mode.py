"""What is different where the daemon is the service of a machine: who may connect, and as whom jobs run."""

import grp
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greenrun.config import Config
from greenrun.config.server_mode import ServerSettings
from greenrun.core.energy.model import Device
from greenrun.core.errors import ConfigError
from greenrun.engine.ports import OpenExecutor
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders
from greenrun.executors.leftovers.strays import StrayRuns
from greenrun.executors.local import LocalExecutor
from greenrun.store import Store


def group_of(settings: ServerSettings) -> int | None:
    """Return the id of the group that may use the socket, None in user mode; raise ConfigError if there is no such."""
    if not settings.is_system:
        return None
    try:
        return grp.getgrnam(settings.group).gr_gid
    except KeyError as exc:
        raise ConfigError(
            f"There is no group {settings.group}, so greenrun does not start: make it (sudo groupadd --system "
            f"{settings.group}, or see `greenrun init --system`), or set [server] group."
        ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An executor, and what its runs leave."""

    executor: OpenExecutor
    strays: StrayRuns
    checkpoints: CheckpointFolders


def open_executor(
    config: Config,
    store: Store,
    *,
    on_change: Callable[[], None],
    devices: Callable[[], Sequence[Device]],
    limits: Mapping[str, str],
    free_descriptors: Callable[[], int],
) -> Opened:
    """Open the executor of the mode: this user's own processes, or units as the users. Raise GreenrunError.

    `limits` are those of a job that states none, where jobs would inherit this process's.
    """
    state = config.paths.state
    if config.server.is_system:
        return _units(config, store, on_change=on_change, devices=devices)
    executor = LocalExecutor(
        runs_dir=state / "runs", locks_dir=config.paths.locks, on_change=on_change, log_cap_bytes=config.jobs.log_cap,
        devices=devices, gpu_ids=config.jobs.gpu_ids, limits=limits, free_descriptors=free_descriptors,
        container_engine=config.jobs.container_engine,
    )  # fmt: skip
    return Opened(
        executor=executor, strays=StrayRuns(state / "runs"), checkpoints=CheckpointFolders(state / CHECKPOINTS)
    )


def _units(
    config: Config, store: Store, *, on_change: Callable[[], None], devices: Callable[[], Sequence[Device]]
) -> Opened:
    from greenrun.executors.units.bus import ServiceManager  # only system mode needs D-Bus
    from greenrun.executors.units.controllers import why_not_kept
    from greenrun.executors.units.shim_files import why_not_for_all
    from greenrun.executors.units.systemd_executor import SystemdExecutor
    from greenrun.executors.units.unit_leftovers import StrayUnits, UserCheckpoints
    from greenrun.executors.units.user_folders import UserFolders

    if os.geteuid() != 0:
        raise ConfigError(
            'With [server] mode = "system" jobs run as their users, which only root can see to, so greenrun does not '
            "start: start it by its unit (sudo systemctl start greenrun), or leave the mode out for jobs of your own."
        )
    if why := why_not_for_all():
        raise ConfigError(f"{why}, so greenrun does not start: install it where all may read it, as in /opt/greenrun.")
    if why := why_not_kept([*config.limits.usual, *config.limits.most]):
        raise ConfigError(f"[limits] has what cannot be kept here, so greenrun does not start. {why}; or leave it out.")
    state, manager = config.paths.state, ServiceManager()
    executor = SystemdExecutor(
        state=state, locks_dir=config.paths.locks, user_of=lambda job_id: store.jobs.job(job_id).uid,
        on_change=on_change, log_cap_bytes=config.jobs.log_cap, devices=devices, gpu_ids=config.jobs.gpu_ids,
        tasks_max=config.limits.tasks_max, manager=manager, container_engine=config.jobs.container_engine,
    )  # fmt: skip
    return Opened(
        executor=executor, strays=StrayUnits(state, manager), checkpoints=UserCheckpoints(UserFolders(state, manager))
    )
