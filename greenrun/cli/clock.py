"""The machine's own time zone, found only when a wall-clock time must be read."""

import os
from datetime import UTC, tzinfo
from pathlib import Path

from greenrun.clock import utc_now

LOCALTIME = Path("/etc/localtime")


def local_zone() -> tzinfo:
    """Return the zone that TZ names, else the machine's, with its clock changes; else the present offset alone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        if named:
            return ZoneInfo(named)
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return utc_now().astimezone().tzinfo or UTC
