"""How far figures may be off: half-widths in percent, from what each kind of number is known for.

The defaults and their sources are in docs/reports.md. What errs alike (slices of one component and grade) adds up;
what errs independently is combined in quadrature.
"""

from collections.abc import Iterable, Mapping
from math import fsum, hypot

from greenrun.core.energy import Quality

HALF_WIDTH: Mapping[Quality, float] = {
    Quality.MEASURED: 0.05,
    Quality.INTEGRATED: 0.10,
    Quality.BRIDGED: 0.20,
    Quality.ESTIMATED: 0.50,
}
PUE_HALF_WIDTH = 0.1  # absolute; only where a PUE was set

Graded = tuple[str, Quality, float]  # component, grade, kWh


def energy_pct(graded: Iterable[Graded], coverage: float | None) -> float | None:
    """Return the half-width of a sum of energy; None for no energy, or when its coverage is not known.

    What was not covered is taken to be as large as it would have been at the mean power, and wholly unknown.
    """
    sums: dict[tuple[str, Quality], list[float]] = {}
    for component, grade, kwh in graded:
        sums.setdefault((component, grade), []).append(kwh)
    total = fsum(kwh for parts in sums.values() for kwh in parts)
    if total <= 0 or not coverage:
        return None
    widths = [HALF_WIDTH[grade] * fsum(parts) for (_, grade), parts in sums.items()]
    missing = total * (1 - coverage) / coverage
    return 100 * hypot(*widths, missing) / total


def emissions_pct(energy: float | None, pue: float | None, forecast: float | None) -> float | None:
    """Return the half-width of emissions from those of energy and of the forecast intensity in them, both in percent.

    `pue` is the ratio itself. None when a part is not known.
    """
    if energy is None or pue is None or forecast is None:
        return None
    return hypot(energy, 100 * PUE_HALF_WIDTH / pue if pue > 1 else 0.0, forecast)
