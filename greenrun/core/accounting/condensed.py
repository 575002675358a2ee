"""Add up parts that differ in nothing but their hours and runs: a few thousand then make all sums of a year."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from greenrun.core.accounting.grouping import Codes, Grouping, combined_codes
from greenrun.core.accounting.parts import COLUMNS, RATED, Integers, Parts

_KEYS = (
    "device", "component", "quality", "booked", "booked_kind", "settled", "settled_kind", "source", "is_known",
)  # fmt: skip


def condensed(parts: Parts, group: Codes) -> Parts:
    """Return parts of which each is the sum of those that are alike and in one group; of an hour and run that it has.

    Sums and extremes stay what they are, of all that `group` tells apart.
    """
    return condensed_of(parts, group)[0]


def condensed_of(parts: Parts, group: Codes) -> tuple[Parts, Integers]:
    """Return the same, and of each where the first is that it has an hour and a run of."""
    _, first, code = np.unique(combined_codes(_keys(parts, group)), return_index=True, return_inverse=True)
    by, one_each = Grouping(code, len(first)), parts.taken(first)
    every = np.ones(len(parts), dtype=np.bool_)
    found: dict[str, Any] = {name: by.known_sums(getattr(parts, name)) for name in _sums(parts)}
    found |= {"lowest": by.lowest(parts.lowest, every), "highest": by.highest(parts.highest, every)}
    return replace(one_each, **found), first


def _keys(parts: Parts, group: Codes) -> Iterator[npt.NDArray[Any]]:
    yield group
    yield parts.pue
    if len(parts.cost):
        yield np.isnan(parts.cost)
    for name in _KEYS:
        if len(column := getattr(parts, name)):
            yield column


def _sums(parts: Parts) -> Iterator[str]:
    for name in (*COLUMNS, *RATED):
        column = getattr(parts, name)
        if name not in ("pue", "lowest", "highest") and column.dtype.kind == "f" and len(column):
            yield name
