"""What is different where the daemon is the service of a machine: who may connect."""

import grp

from greenrun.config.server import ServerSettings
from greenrun.core.errors import ConfigError


def group_of(settings: ServerSettings) -> int | None:
    """Return the id of the group that may use the socket, None in user mode; raise ConfigError if there is no such."""
    if not settings.is_system:
        return None
    try:
        return grp.getgrnam(settings.group).gr_gid
    except KeyError as exc:
        raise ConfigError(
            f"There is no group {settings.group}, so greenrun does not start: make it (sudo groupadd --system "
            f"{settings.group}, or systemd-sysusers with what `greenrun config units` has), or set [server] group."
        ) from exc
