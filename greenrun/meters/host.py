"""Identify this machine and its current boot."""

from hashlib import sha256
from pathlib import Path
from socket import gethostname


def host_tag() -> str:
    """Return eight hex digits of this machine: the same for every process on it, without telling its name."""
    return sha256((_first_line("/etc/machine-id") or gethostname()).encode()).hexdigest()[:8]


def boot_id() -> str:
    """Return what tells this boot of the machine from every other; "no-boot-id" where the kernel does not say."""
    return _first_line("/proc/sys/kernel/random/boot_id") or "no-boot-id"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
