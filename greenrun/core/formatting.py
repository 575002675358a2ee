"""The only place where numbers and instants become words for people, each quantity in one way; missing is "unknown".

Light and pure: the command line loads it at every start, and the present and the reader's zone are arguments.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from math import floor, isfinite, log10

from greenrun.core.units import J_PER_KWH

UNKNOWN = "unknown"
_LONG = timedelta(hours=12)  # spans above this that end on another day need its date to be understood
_SHORT = timedelta(minutes=5)  # spans below this need seconds to mean anything
_MICROSECOND = timedelta(microseconds=1)
_UNITS_US = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000))
_ALONE_US = (("h", 3_600_000_000, 72), ("m", 60_000_000, 120))  # a whole number of these below this reads well alone
_MANY_SECONDS_US = 120_000_000  # from here on minutes read better
_ENERGIES_J = ((1000 * J_PER_KWH, "MWh"), (J_PER_KWH, "kWh"), (J_PER_KWH / 1000, "Wh"))
_JOULES = ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ"), (1.0, "J"))
_SMALL_JOULES = ((1e-3, "mJ"), (1e-6, "µJ"))  # a token may take so little
_POWERS_W = ((1e6, "MW"), (1e3, "kW"), (1.0, "W"))
_TOLD_INSTANT = r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?Z"  # as instant_text and iso_text have it
_NOISE = 1e-6  # a figure below this, in the unit that it is told in, is what rounding left of a difference
_LEAST = 0.001  # of the unit that a figure is told in: nobody reads the noughts of less
_LEAST_PERCENT = 0.01
_HUGE = 1e15  # nobody reads the digits of more
_MASSES_G = ((1e6, "t"), (1e3, "kg"), (1.0, "g"))


# amounts


def number_text(value: float | None) -> str:
    """Return about three significant digits, and every digit before the point: `0.486`, `93.4`, `1,250`, `< 0.001`."""
    if value is None:
        return UNKNOWN
    if tiny := _tiny(value, _LEAST):
        return tiny
    return f"{value:,.0f}" if abs(value) >= 100 else _significant(value, 3)


def figure_text(value: float | None, digits: int = 6) -> str:
    """Return a figure of a table that people compare with another: `0.105123`, to so many digits or a millionth."""
    return UNKNOWN if value is None else _significant(round(value, 6), digits)


def plain_number(value: float) -> str:
    """Return a number for a spreadsheet: all digits that a sum of floats is good for, no exponent, no separators."""
    if value == 0:
        return "0.0"  # of either sign
    return repr(value) if not isfinite(value) or abs(value) >= _HUGE else _fixed(value, 12)


def logged_number(value: float, digits: int = 6) -> float:
    """Return a number for a log, which stays one: as many digits as a person reads."""
    return float(f"{value:.{digits}g}")


def decimal_text(value: float | None, decimals: int) -> str:
    """Return a number with so many decimals, for the cells of a column whose digits stand below each other."""
    return UNKNOWN if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def whole_text(value: float | None) -> str:
    """Return a number without decimals, for the cells of a column whose head has the unit."""
    return UNKNOWN if value is None else f"{round(value)}"


def count_text(count: int, singular: str, plural: str | None = None) -> str:
    """Return a number of things: `1 GPU`, `2 GPUs`."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def ranges_text(numbers: Iterable[int]) -> str:
    """Return `4, 12-21`: ascending numbers with runs of them put together, `none` where there are none."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or "none"


def energy_text(energy_j: float | None) -> str:
    """Return joules as Wh, kWh or MWh."""
    return _in_unit(energy_j, _ENERGIES_J)


def joules_text(energy_j: float | None) -> str:
    """Return joules as J, kJ, MJ or GJ: for the energy of a unit of work."""
    is_small = energy_j is not None and abs(energy_j) < _LEAST
    return _in_unit(energy_j, _SMALL_JOULES if is_small else _JOULES)


def memory_text(size_bytes: float | None) -> str:
    """Return bytes of memory as MiB or GiB."""
    return _in_unit(size_bytes, ((2**30, "GiB"), (2**20, "MiB")))


def power_text(power_w: float | None) -> str:
    """Return watts as W, kW or MW."""
    return _in_unit(power_w, _POWERS_W)


def mass_text(mass_g: float | None) -> str:
    """Return grams as g, kg or t."""
    return _in_unit(mass_g, _MASSES_G)


def mass_unit(mass_g: float) -> tuple[float, str]:
    """Return the grams of the unit that a mass is told in, and its name, for a range in the unit of its middle."""
    return _unit(mass_g, _MASSES_G)


def energy_unit(energy_j: float) -> tuple[float, str]:
    """Return the joules of the unit that an energy is told in, and its name, for an axis or a range."""
    return _unit(energy_j, _ENERGIES_J)


def intensity_text(g_per_kwh: float | None, signal: str | None = None) -> str:
    """Return a carbon intensity with its unit, and its signal unless that is the average: `93 g/kWh`."""
    if g_per_kwh is None:
        return UNKNOWN
    return f"{whole_text(g_per_kwh)} {intensity_unit(signal)}"


def intensity_unit(signal: str | None = None) -> str:
    """Return the unit of an intensity with its signal, for the head of a column: `g/kWh`, `g/kWh marginal`."""
    return "g/kWh" if signal in (None, "average") else f"g/kWh {signal}"


def money_text(amount: float | None, currency: str | None = None) -> str:
    """Return an amount of money to the cent, and of less than ten of them what there is: `1,250.00 EUR`."""
    if amount is None:
        return UNKNOWN
    number = f"{amount:,.2f}" if abs(amount) >= 0.1 else _tiny(amount, _LEAST) or _significant(amount, 2)
    number = "0.00" if number == "0" else number
    return f"{number} {currency}" if currency else number


def percent_text(ratio: float | None, decimals: int = 0) -> str:
    """Return a ratio (1 is all) in per cent: `41 %`."""
    return UNKNOWN if ratio is None else f"{round(ratio, decimals + 2) + 0.0:.{decimals}%}".replace("%", " %")


def precise_percent_text(ratio: float | None) -> str:
    """Return a ratio in per cent to three significant digits, two of them decimals: `98.8 %`, `0.09 %`, `< 0.01 %`.

    It is for figures of accounts: what is less than all never reads `100 %`, and what there is never `0 %`.
    """
    if ratio is None:
        return UNKNOWN
    if 0.9995 <= ratio < 1 - 1e-9:
        return "99.9 %"
    percent = 100 * ratio
    return f"{_tiny(percent, _LEAST_PERCENT) or number_text(round(percent, 2))} %"


def compared_text(value: float | None, reference: float | None, name: str = "now") -> str:
    """Return how far a value is from the reference of this name: `41 % below now`, `3 % above now`, `as now`."""
    if value is None or not reference:
        return UNKNOWN
    percent = round((value / reference - 1) * 100)
    return f"{abs(percent)} % {'above' if percent > 0 else 'below'} {name}" if percent else f"as {name}"


# durations


def duration_text(duration: timedelta | float | None) -> str:
    """Return a duration (or seconds) for people, in its two largest units, without what is below: `6h`, `23h59m`."""
    if duration is None:
        return UNKNOWN
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    whole = round(abs(seconds))
    if whole < 60:
        return f"{number_text(seconds) if abs(seconds) < 10 else round(seconds)}s"
    parts = list(_parts(whole * 1_000_000))
    first = next(index for index, (count, _) in enumerate(parts) if count != "0")
    told = "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count != "0")
    return f"-{told}" if seconds < 0 else told


def exact_duration_text(duration: timedelta) -> str:
    """Return the form of settings, options and advice to give one; `parse_duration` reads the same from it.

    It has one unit where people use one, as in 90s, 10m, 90m, 48h or 7d, else as many as it needs: 23h59m59s.
    """
    us = duration // _MICROSECOND
    for unit, size_us, end in _ALONE_US:
        if 0 < us < end * size_us and us % size_us == 0:
            return f"{us // size_us}{unit}"
    if us < _MANY_SECONDS_US:
        return f"{_seconds_text(us)}s"
    return "".join(f"{count}{unit}" for count, unit in _parts(us) if count != "0")


# instants


def instant_text(at: datetime | None) -> str:
    """Return an instant in UTC, to the second: for texts whose reader's zone is not known."""
    return UNKNOWN if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def iso_text(at: datetime, timespec: str = "auto") -> str:
    """Return an instant as ISO 8601 in UTC: for JSON, settings, options and files, which read the same from it."""
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def period_text(start: datetime, end: datetime) -> str:
    """Return a period in UTC, a whole month by its name: `February 2026`, `2026-02-01 06:00 UTC to 2026-03-01`."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    is_month = start.day == 1 and start.time() == time() and end == (start + timedelta(days=32)).replace(day=1)
    return f"{start:%B %Y}" if is_month else f"{_minute_text(start)} to {_minute_text(end)}"


def clock_text(at: datetime, now: datetime, zone: tzinfo | None = None, *, seconds: bool = False) -> str:
    """Return a local time such as `18:30`, with the date before it when that is not today's."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    form = "%H:%M:%S" if seconds else "%H:%M"
    return local.strftime(form if local.date() == today else f"%Y-%m-%d {form}")


def day_clock_text(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Return a local time with its weekday within the days around now, else with its date: `18:30`, `Tue 18:30`."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    if local.date() == today:
        return f"{local:%H:%M}"
    return f"{local:%a %H:%M}" if abs((local.date() - today).days) < 6 else f"{local:%Y-%m-%d %H:%M}"


def day_span_text(start: datetime, end: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Return `Tue 02:30-08:30`, as `day_clock_text` has its ends; short spans are told with seconds."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    if end - start < _SHORT:
        return f"{day_clock_text(start, now, zone)}{first::%S}-{last:%H:%M:%S}"
    if last.date() != first.date() and end - start > _LONG:
        return f"{day_clock_text(start, now, zone)}-{day_clock_text(end, now, zone)}"
    return f"{day_clock_text(start, now, zone)}-{last:%H:%M}"


def localized_text(text: str, now: datetime | None = None, zone: tzinfo | None = None) -> str:
    """Return a text in which the instants that `instant_text` and `iso_text` put there in UTC are local times.

    Of those of `now`'s day the date is left out. One in ISO 8601, which is meant to be copied, keeps that form.
    """

    def local(found: re.Match[str]) -> str:
        at = datetime.fromisoformat(found[0])
        if found[0][10] == "T":
            return _copyable(at, zone, found[0])
        seconds = bool(at.second)
        if now is None:
            return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
        return clock_text(at, now, zone, seconds=seconds)

    return re.sub(_TOLD_INSTANT, local, text) if "Z" in text else text


def told_instants(text: str) -> list[datetime]:
    """Return the instants that `instant_text` and `iso_text` put into a text."""
    return [datetime.fromisoformat(found) for found in re.findall(_TOLD_INSTANT, text)]


def split_at_instants(text: str) -> list[str | datetime]:
    """Return a text in parts, with the instants that `instant_text` and `iso_text` put there as such."""
    parts: list[str | datetime] = []
    for place, part in enumerate(re.split(f"({_TOLD_INSTANT})", text)):
        parts.append(datetime.fromisoformat(part) if place % 2 else part)
    return parts


def _copyable(at: datetime, zone: tzinfo | None, told: str) -> str:
    """Return a local time as ISO 8601, with its offset only where the clocks show it twice; in UTC as it was told."""
    local = at.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    if not local.utcoffset():
        return told
    meant = (wall if zone is None else wall.replace(tzinfo=zone)).astimezone(UTC)
    return wall.isoformat() if meant == at else local.isoformat()


def span_text(start: datetime, end: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Return `02:30-08:30` in local time: dated when it does not start today, with seconds when it is short.

    The end is dated as well where the span is so long that it could be taken for another day's.
    """
    short = end - start < _SHORT
    last = end.astimezone(zone).strftime("%H:%M:%S" if short else "%H:%M")
    if end - start > _LONG and start.astimezone(zone).date() != end.astimezone(zone).date():
        return f"{clock_text(start, now, zone)} to {clock_text(end, now, zone)}"
    return f"{clock_text(start, now, zone, seconds=short)}-{last}"


def _minute_text(at: datetime) -> str:
    """Return the date alone of an instant at which one begins."""
    return f"{at:%Y-%m-%d}" if at.time() == time() else f"{at:%Y-%m-%d %H:%M} UTC"


def _significant(value: float, digits: int) -> str:
    """Return so many significant digits without an exponent, and no noise."""
    if abs(value) < _NOISE:
        return "0"
    if not isfinite(value) or abs(value) >= _HUGE:
        return f"{value:.{digits}g}"
    return _fixed(value, digits, ",")


def _tiny(value: float, least: float) -> str | None:
    """Return `< 0.001` for what is less than the least that is told in figures and more than noise, else None."""
    if not _NOISE <= abs(value) < least:
        return None
    return f"< {least:g}" if value > 0 else f"> -{least:g}"


def _fixed(value: float, digits: int, grouping: str = "") -> str:
    """Return so many significant digits without an exponent; the value is finite and not zero."""
    rounded = float(f"{value:.{digits}g}")
    text = f"{rounded:{grouping}.{max(0, digits - 1 - floor(log10(abs(rounded))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _in_unit(value: float | None, units: Sequence[tuple[float, str]]) -> str:
    if value is None:
        return UNKNOWN
    size, unit = _unit(value, units)
    return f"{number_text(value / size)} {unit}"


def _unit(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return the largest unit of which there is one or more, as it will be rounded; else the smallest."""
    return next((row for row in units if round(abs(value) / row[0], 3) >= 1), units[-1])


def _parts(us: int) -> Iterator[tuple[str, str]]:
    """Yield how many days, hours, minutes and seconds make up some microseconds, each with its unit."""
    for unit, size_us in _UNITS_US:
        yield str(us // size_us), unit
        us %= size_us
    yield _seconds_text(us), "s"


def _seconds_text(us: int) -> str:
    return f"{us // 1_000_000}.{us % 1_000_000:06}".rstrip("0").rstrip(".")
