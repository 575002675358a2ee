"""Identify this machine and its current boot."""

from hashlib import sha256
from pathlib import Path
from socket import gethostname

from greenrun import procfs


def host_tag() -> str:
    """Return eight hex digits of this machine: the same for every process on it, without revealing its name."""
    return sha256((_machine_id() or gethostname()).encode()).hexdigest()[:8]


def boot_id() -> str:
    """Return the id of this boot of the machine; "no-boot-id" where it cannot be read."""
    try:
        return procfs.boot_id() or "no-boot-id"
    except (OSError, ValueError):
        return "no-boot-id"


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
