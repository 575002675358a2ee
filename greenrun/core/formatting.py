"""How durations, energy and grams read to people, by the command line and by what a measurement says of itself."""

from datetime import datetime, timedelta

from greenrun.core.units import J_PER_KWH


def figure(value: float) -> str:
    """Return a number with about three significant digits."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def duration_text(seconds: float | None) -> str:
    """Return `6h`, `1h30m`, `45s`; at most two units, so that long ones stay readable."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{figure(seconds)}s" if seconds < 10 and seconds != whole else f"{whole}s"
    counts = [(whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    first = next(index for index, (count, _) in enumerate(counts) if count)
    return "".join(f"{count}{unit}" for count, unit in counts[first : first + 2] if count)


def energy_text(energy_j: float | None) -> str:
    """Return joules as Wh or kWh."""
    if energy_j is None:
        return "unknown"
    kwh = energy_j / J_PER_KWH
    return f"{figure(kwh)} kWh" if kwh >= 1 else f"{figure(kwh * 1000)} Wh"


def grams_text(grams: float | None) -> str:
    """Return grams CO2e as g or kg."""
    if grams is None:
        return "unknown"
    return f"{figure(grams / 1000)} kg" if abs(grams) >= 1000 else f"{figure(grams)} g"


def below_text(window: float | None, at_once: float | None) -> str:
    """`41 % below now`, `3 % above now`, or that it cannot be told."""
    if window is None:
        return "for there is no forecast of all of it"
    if not at_once:
        return "the intensity now is unknown"
    change = window / at_once - 1
    if abs(change) < 0.005:
        return "as now"
    return f"{abs(change):.0%} {'above' if change > 0 else 'below'} now".replace("%", " %")


def percent_text(window: float | None, at_once: float | None) -> str:
    """The saving of a window against starting now, in per cent."""
    return "an unknown share" if window is None or not at_once else f"{1 - window / at_once:.1%}".replace("%", " %")


def intensity_text(intensity_g_per_kwh: float | None) -> str:
    """An intensity as people read it, without its unit."""
    return "unknown" if intensity_g_per_kwh is None else f"{intensity_g_per_kwh:.0f}"


def counted_text(count: int, thing: str) -> str:
    """A number of things: `1 GPU`, `2 GPUs`."""
    return f"{count} {thing}" + ("" if count == 1 else "s")


def mass_text(mass_g: float) -> str:
    """A mass as people read it: three figures below a kilogram, kilograms from there on."""
    return f"{mass_g / 1000:,.1f} kg" if mass_g >= 1000 else f"{mass_g:.3g} g"


def time_text(instant: datetime) -> str:
    """An instant as UTC text; interfaces that know the reader's zone print their own."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def exact_duration_text(duration: timedelta) -> str:
    """`6h`, `1h30m`, `45s`: the form that settings and options take."""
    seconds = round(duration.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds % 86400 // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or f"{duration.total_seconds():g}s"
