"""How durations, energy and grams read to people, by the command line and by what a measurement says of itself."""

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
