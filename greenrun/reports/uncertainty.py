"""Uncertainty of figures: half-widths in percent, from the accuracy of each kind of number.

The defaults and their sources are in docs/reports.md. What errs alike (slices of one sort and grade) adds up; what
errs independently is combined in quadrature.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, hypot

from greenrun.core.energy.model import Component, Device, Quality

SPARSE = "gpu sampled sparsely"  # a sort of its own beside the components
_SPARSE_MODELS = re.compile(r"\b[AH]100\b")

Graded = tuple[str, Quality, float]  # sort, grade, kWh


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Half-widths: ratios of the energy of each grade, but `pue`, which is absolute and counts where one is set.

    `sparse` is that of integrated power of GPUs whose sensor sees a part of the time only; `rapl` that of the counters
    of CPUs and their memory.
    """

    measured: float = 0.05
    rapl: float = 0.05
    integrated: float = 0.10
    sparse: float = 0.15
    bridged: float = 0.20
    estimated: float = 0.50
    pue: float = 0.1

    def of(self, sort: str, grade: Quality) -> float:
        """Return the half-width of known energy of a sort (a component, or SPARSE) and grade."""
        match grade:
            case Quality.MEASURED:
                return self.rapl if sort in (Component.CPU, Component.DRAM) else self.measured
            case Quality.INTEGRATED:
                return self.sparse if sort == SPARSE else self.integrated
            case Quality.BRIDGED:
                return self.bridged
        return self.estimated


def sampled_sparsely(device: Device) -> bool:
    """Whether a GPU's power sensor sees a quarter of the time only: A100 and H100 (arXiv 2312.02741)."""
    return device.kind is Component.GPU and bool(_SPARSE_MODELS.search(device.model))


def quadrature(parts: Iterable[float]) -> float:
    """Combine independent half-widths: never less than the largest, and 0 for none."""
    return hypot(*parts)


def energy_pct(
    graded: Iterable[Graded], coverage: float | None, widths: Widths, split_kwh: float = 0.0
) -> float | None:
    """Return the half-width of a sum of energy; None for no energy, or when its coverage is not known.

    What was not covered is taken to be as large as it would have been at the mean power, and wholly unknown. So much as
    `split_kwh` of it may be another holder's. Nothing is known of how far emulated energy is from any real one.
    """
    sums: dict[tuple[str, Quality], list[float]] = {}
    for sort, grade, kwh in graded:
        sums.setdefault((sort, grade), []).append(kwh)
    total = fsum(kwh for parts in sums.values() for kwh in parts)
    if total <= 0 or not coverage or any(grade is Quality.EMULATED for _, grade in sums):
        return None
    missing = total * (1 - coverage) / coverage
    graded_kwh = [widths.of(*key) * fsum(parts) for key, parts in sums.items()]
    return 100 * quadrature([*graded_kwh, missing, split_kwh]) / total
