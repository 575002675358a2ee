"""The zone of the person at the terminal: what TZ says, in each of its forms, else the machine's own."""

import os
import re
import sys
import time
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path

from greenrun.submission.times import read_instant

LOCALTIME = Path("/etc/localtime")
_ZONES = Path("/usr/share/zoneinfo")
_NAME = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_RULE_NAME, _RULE_OFFSET = r"(?:<[A-Za-z0-9+-]{3,}>|[A-Za-z]{3,})", r"[+-]?[\d:]+"
_RULE = re.compile(rf"{_RULE_NAME}{_RULE_OFFSET}(?P<summer>{_RULE_NAME}(?:{_RULE_OFFSET})?(?P<changes>,.*)?)?")
_DEFAULT_RULE = ",M3.2.0,M11.1.0"  # of a TZ that names a summer time and not when it is, as the C library has it
_MAGIC = b"TZif"


def local_zone() -> tzinfo:
    """Return the zone that TZ names, else the machine's, with its clock changes; UTC where neither can be read."""
    return _zone(os.environ.get("TZ")) or UTC


def told_instant(text: str, now: datetime) -> datetime:
    """Read an instant of local time, and say on stderr what was made of a form that could mean several."""
    found = read_instant(text, now=now, zone=local_zone())
    if found.note:
        print(f"note: {found.note}", file=sys.stderr)
    return found.at


def zone_name(at: datetime) -> str:
    """Return the abbreviation of the local zone at an instant: `CET`, `UTC`, `+03`.

    The C library has it too, once the zone is settled, so the reader of zone files is not loaded for it.
    """
    return at.astimezone().tzname() or "UTC"


def zones_text(*ats: datetime) -> str:
    """Return the abbreviations of the local zone at these instants, each once: `CET`, or `CEST/CET` across a change."""
    return "/".join(dict.fromkeys(zone_name(at) for at in ats))


def here_and_now(now: datetime) -> str:
    """Return the present time with its zone: `12:03:10 CET`."""
    return f"{now.astimezone():%H:%M:%S} {zone_name(now)}"


def settle_zone() -> None:
    """Make the C library, which shows times, take TZ as `local_zone` does; say on stderr when it names no known zone.

    What is set then is what a job that is submitted gets as well, so that its times are those that were said.
    """
    named = os.environ.get("TZ")
    if not named or _is_in_database(named):
        return
    if _zone(named) is None:
        shown = named.encode("unicode_escape").decode()
        print(f"TZ={shown} names no time zone that this machine knows: times are in UTC", file=sys.stderr)
        os.environ["TZ"] = "UTC0"
        time.tzset()
    elif _has_no_rule(named):
        os.environ["TZ"] = named + _DEFAULT_RULE  # where there is none the C library takes what it finds on the machine
        time.tzset()


def _is_in_database(named: str) -> bool:
    """Whether there is a file of this zone: to know that, the database's reader need not be loaded."""
    try:
        with (_ZONES / named).open("rb") as file:
            return bool(_NAME.fullmatch(named)) and file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


@cache
def _zone(named: str | None) -> tzinfo | None:
    """Return the zone of a value of TZ (None: not set), None when it cannot be read."""
    if named == "":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = (named or str(LOCALTIME)).removeprefix(":")
    try:
        if name.startswith("/"):
            with Path(name).open("rb") as file:
                return ZoneInfo.from_file(file, key="localtime")
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _zone_of_rule(name)


def _zone_of_rule(rule: str) -> tzinfo | None:
    """Return the zone of a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3` or `<+03>-3`, None where it is none."""
    from io import BytesIO
    from struct import pack
    from zoneinfo import ZoneInfo

    if not rule.isascii() or not _RULE.fullmatch(rule):
        return None
    full = rule + _DEFAULT_RULE if _has_no_rule(rule) else rule
    # A zone file without any change of the clocks but a rule for those after the last: there ZoneInfo reads rules.
    block = _MAGIC + b"2" + bytes(15) + pack(">6l", 0, 0, 0, 0, 1, 4) + pack(">lbB", 0, 0, 0) + b"UTC\0"
    try:
        return ZoneInfo.from_file(BytesIO(block + block + f"\n{full}\n".encode()), key=rule)
    except ValueError:
        return None


def _has_no_rule(named: str) -> bool:
    """Whether this is a POSIX rule with a summer time, but without the days of its changes: `CET-1CEST`."""
    found = None if _is_in_database(named) else _RULE.fullmatch(named.removeprefix(":"))
    return found is not None and found["summer"] is not None and found["changes"] is None
