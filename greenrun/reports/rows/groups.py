"""Figures as columns: those of one row or of fifty thousand are the same few operations on arrays.

A figure is an array with a value for each group, NaN where it is not known, or a list of whatever else there is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from greenrun.core.accounting.grouping import Grouping, Truths
from greenrun.core.accounting.parts import NO_SERIES, Parts
from greenrun.core.carbon.intensity import Floats
from greenrun.core.units import DIGITS, J_PER_KWH, significant

_SMALL, _LARGE = 1e-10, 1e11  # between them, powers of 10 that make integers of twelve digits are exact
_POWERS = np.array([10.0**power for power in range(23)])
_BITS = 40

Made = TypeVar("Made")
Figures = dict[str, Any]  # by the names of the report's fields: an array of floats, or a list


@dataclass(frozen=True, slots=True, eq=False)
class GroupedParts:
    """Parts, and the groups that they are in."""

    parts: Parts
    by: Grouping

    @classmethod
    def whole(cls, parts: Parts) -> "GroupedParts":
        """Return all parts as a single group."""
        return cls(parts, Grouping(np.zeros(len(parts), dtype=np.int64), 1))

    def kwh(self, where: Truths | None = None) -> Floats:
        """Return the known IT energy in kWh; NaN where none of it is known."""
        return self.by.known_sums(self.parts.energy_j, where) / J_PER_KWH

    def facility_kwh(self, where: Truths | None = None) -> Floats:
        """Return the known energy with that of the facility (PUE) in kWh; NaN where none is known."""
        return self.by.known_sums(self.parts.facility_j, where) / J_PER_KWH


def ratios(parts: Floats, wholes: Floats) -> Floats:
    """Return quotients; NaN where the whole is nothing or not known."""
    is_told = (wholes != 0) & ~np.isnan(wholes)
    return np.asarray(np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=is_told), dtype=np.float64)


def significants(values: Floats) -> Floats:
    """Return quotients of sums to the digits that these are good for."""
    size = np.abs(values)
    is_usual = (size >= _SMALL) & (size < _LARGE)
    usual = np.where(is_usual, values, 1.0)
    power = DIGITS - 1 - np.floor(np.log10(np.abs(usual))).astype(np.int64)
    scale = _POWERS[power]  # exact, so that what is divided by it is what its digits are read as
    rounded = np.round(usual * scale) / scale
    if not (others := ~is_usual & (values != 0) & ~np.isnan(values)).any():
        return np.where(is_usual, rounded, values)
    rounded[others] = [significant(value) for value in values[others].tolist()]
    return np.where(is_usual | others, rounded, values)


def differences(minuends: Floats, subtrahends: Floats) -> Floats:
    """Return differences, and 0 for what is only noise of both sums; NaN where one is not known."""
    found = minuends - subtrahends
    is_noise = np.abs(found) <= np.fmax(np.abs(minuends), np.abs(subtrahends)) * 10.0**-DIGITS
    return np.where(is_noise, 0.0, significants(found))


def quadratures(*parts: Floats) -> Floats:
    """Combine independent half-widths: never less than the largest, which squares of small ones would be."""
    return np.asarray(reduce(np.hypot, parts))


def names(sets: npt.NDArray[np.bool_], words: Sequence[str]) -> list[list[str]]:
    """Return the words of each set, in their order; equal sets have one list."""
    return _of_each_set(sets, words, list)


def joined_names(sets: npt.NDArray[np.bool_], words: Sequence[str]) -> list[str | None]:
    """Return the different words of each set in one string; None for none."""
    return _of_each_set(sets, words, lambda mine: "; ".join(sorted(set(mine))) or None)


def _of_each_set(sets: npt.NDArray[np.bool_], words: Sequence[str], value: Callable[[list[str]], Made]) -> list[Made]:
    """Return a value of the words of each set, which is made once for sets that are equal."""
    code = np.zeros(len(sets), dtype=np.int64)
    for column in range(len(words)):
        code = 2 * code + sets[:, column]
        if column % _BITS == _BITS - 1:  # before the codes become too large, count the sets that there are instead
            code = np.unique(code, return_inverse=True)[1]
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    made = [value([word for word, is_in in zip(words, sets[at].tolist(), strict=True) if is_in]) for at in first]
    return [made[at] for at in which.tolist()]


def series_names(sets: npt.NDArray[np.bool_], parts: Parts, word: Callable[[Any], str | None]) -> list[str | None]:
    """Return what the series in each set are called; those without a name are left out."""
    words = [word(each) for each in parts.series]
    named = np.array([each is not None for each in words], dtype=np.bool_)
    return joined_names(sets & named if len(words) else sets, [each or "" for each in words])


def series_sets(each: GroupedParts, where: Truths) -> npt.NDArray[np.bool_]:
    """Return which series priced something of each group, by the best price."""
    priced = where & (each.parts.priced_by != NO_SERIES)
    return each.by.sets(each.parts.priced_by, len(each.parts.series), priced)


def rows_of(figures: Mapping[str, Any], count: int, order: Iterable[str]) -> list[dict[str, Any]]:
    """Return the figures of each group by their names, in that order, as plain values: None where one is not known."""
    names = tuple(order)
    columns = [_plain(figures[name], count) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(column: Any, count: int) -> list[Any]:
    if not isinstance(column, np.ndarray):
        values = list(column) if isinstance(column, list) else [column] * count
    elif column.dtype.kind != "f":
        values = column.tolist()
    else:
        values = [None if value != value else value for value in column.tolist()]
    if len(values) != count:
        raise ValueError(f"a column of {count} groups has {len(values)} values")
    return values
