"""Notify systemd of the daemon's state (the sd_notify protocol: one datagram to $NOTIFY_SOCKET)."""

import os
import socket

import structlog

log = structlog.get_logger("greenrun.daemon.systemd")


def notify(state: str) -> bool:
    """Send `state` (such as `READY=1`) to the service manager; return False if none can be reached."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace is written with a NUL in front
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto(state.encode(), address)
    except OSError as exc:
        log.warning("the service manager cannot be told", state=state, error=str(exc))
        return False
    return True
