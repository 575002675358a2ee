"""Divide the energy of a device that several runs use at once: what is no run's is nobody's, and nothing is lost."""

from collections.abc import Mapping
from dataclasses import replace
from math import fsum

from greenrun.core.energy.model import Slice


def divided(whole: Slice, used_j: Mapping[int, float]) -> list[Slice]:
    """Return a slice of its own for each run by what it used, in joules, and one for nobody, which gets the rest.

    Their energies add up to that of the whole, and their shares to 1. A whole stays as it is when its energy is not
    known, and when nothing tells whose it was.
    """
    if whole.energy_j is None or not used_j:
        return [whole]
    parts = [_part(whole, run_id, run_j) for run_id, run_j in sorted(used_j.items())]
    rest_j, rest = whole.energy_j - fsum(used_j.values()), 1.0 - fsum(part.share for part in parts)
    return [*parts, _share(whole, None, max(0.0, rest_j), max(0.0, rest))]


def _part(whole: Slice, run_id: int, run_j: float) -> Slice:
    return _share(whole, run_id, run_j, run_j / whole.energy_j if whole.energy_j else 0.0)


def _share(whole: Slice, run_id: int | None, energy_j: float, share: float) -> Slice:
    busy_s = None if whole.busy_s is None else whole.busy_s * share
    return replace(whole, run_id=run_id, energy_j=energy_j, share=share, busy_s=busy_s)
