"""One thing that was looked at: how it is, in a sentence, and the exact remedy where it is not well."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a thing is, best first: `warning` is worth a look, `failed` keeps greenrun from its work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Area(StrEnum):
    """What was looked at."""

    ENVIRONMENT = "environment"
    SETTINGS = "settings"
    PERMISSIONS = "permissions"
    GPUS = "gpus"
    CPU = "cpu"
    SOURCES = "sources"
    CLOCK = "clock"
    DISK = "disk"
    DESCRIPTORS = "descriptors"
    SYSTEMD = "systemd"
    DAEMON = "daemon"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found; `remedy` is what to do or type, "" where nothing needs to be done."""

    area: Area
    status: Status
    text: str
    remedy: str = ""


def ok(area: Area, text: str, remedy: str = "") -> Finding:
    """Return a finding of something that is well."""
    return Finding(area=area, status=Status.OK, text=text, remedy=remedy)


def warning(area: Area, text: str, remedy: str) -> Finding:
    """Return a finding of something that is worth a look."""
    return Finding(area=area, status=Status.WARNING, text=text, remedy=remedy)


def failed(area: Area, text: str, remedy: str) -> Finding:
    """Return a finding of something that keeps greenrun from its work."""
    return Finding(area=area, status=Status.FAILED, text=text, remedy=remedy)


def worst(findings: Iterable[Finding]) -> Status:
    """Return how all of them together are."""
    return max((finding.status for finding in findings), key=tuple(Status).index, default=Status.OK)
