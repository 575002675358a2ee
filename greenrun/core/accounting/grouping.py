"""Sums of columns by group, for one group or tens of thousands."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from greenrun.core.carbon.intensity import Floats

Codes = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


class Numbering(dict[Any, int]):
    """Gives keys numbers, in the order in which they are first asked for."""

    def __missing__(self, key: Any) -> int:
        return self.setdefault(key, len(self))

    def codes(self, keys: Iterable[Any]) -> Codes:
        """Return the numbers of these keys."""
        return np.array(list(map(self.__getitem__, keys)), dtype=np.int64)


def grouped(keys: Iterable[Any]) -> tuple[list[Any], Codes]:
    """Return the different keys in order of their first coming, and the position of each key among them."""
    numbers = Numbering()
    codes = numbers.codes(keys)
    return list(numbers), codes


def combined_codes(columns: Iterable[npt.NDArray[Any]]) -> Codes:
    """Return a number for each row of columns, the same for equal rows, and in their order."""
    key: Codes | None = None
    room = 1
    for column in columns:
        if column.dtype.kind == "f":
            column = np.unique(column, return_inverse=True)[1]
        lowest = int(column.min(initial=0))
        more = int(column.max(initial=0)) - lowest + 1
        if key is not None and room * more > _ROOM:
            found, key = np.unique(key, return_inverse=True)
            room = len(found)
        if more > _ROOM:
            found, column = np.unique(column, return_inverse=True)
            lowest, more = 0, len(found)
        code = column.astype(np.int64) - lowest
        key = code if key is None else key * more + code
        room *= more
    return np.zeros(0, dtype=np.int64) if key is None else key


_ROOM = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Which of `count` groups each of some things is in; -1: in none."""

    code: Codes
    count: int

    def sums(self, values: Floats, where: Truths | None = None) -> Floats:
        """Return the sum of each group, NaN counting as nothing; independent of order but for the last bit."""
        told = ~np.isnan(values)
        told &= self.code >= 0
        if where is not None:
            told &= where
        code, mine = (self.code, values) if told.all() else (self.code[told], values[told])
        if not len(mine):
            return np.zeros(self.count)
        # Multiples of one power of 2 add up without rounding; what is left over is too small to matter.
        largest = max(float(mine.max()), -float(mine.min()))
        bits = ceil(log2(largest) + log2(len(mine))) - 52 if 0 < largest < inf else 0
        step = max(2.0**bits, float(np.finfo(np.float64).tiny))  # of the smallest values there is no such power
        part = mine / step
        np.round(part, out=part)
        part *= step
        found = self._added(code, part)
        np.subtract(mine, part, out=part)
        return np.asarray(found + self._added(code, part))

    def known_sums(self, values: Floats, where: Truths | None = None) -> Floats:
        """Return the sum of what is known of each group; NaN where nothing is."""
        told = ~np.isnan(values) if where is None else ~np.isnan(values) & where
        return np.where(self.any(told), self.sums(values, told), np.nan)

    def any(self, where: Truths) -> Truths:
        """Return the groups in which this is true of something."""
        return self.counts(where) > 0

    def counts(self, where: Truths) -> Codes:
        """Return of how many things in each group this is true."""
        return np.bincount(self.code[where & (self.code >= 0)], minlength=self.count)

    def lowest(self, values: Floats, where: Truths) -> Floats:
        """Return the lowest value of each group; NaN where there is none."""
        found = np.full(self.count, np.nan)
        told = where & (self.code >= 0)
        np.fmin.at(found, self.code[told], values[told])
        return found

    def highest(self, values: Floats, where: Truths) -> Floats:
        """Return the highest value of each group; NaN where there is none."""
        return -self.lowest(-values, where)

    def sets(self, kind: npt.NDArray[Any], kinds: int, where: Truths | None = None) -> npt.NDArray[np.bool_]:
        """Return which of so many kinds of things each group has: a row of truths for each."""
        told = self.code >= 0 if where is None else where & (self.code >= 0)
        found = np.zeros((self.count, kinds), dtype=np.bool_)
        found[self.code[told], kind[told]] = True
        return found

    def _added(self, code: Codes, values: Floats) -> Floats:
        return np.bincount(code, weights=values, minlength=self.count).astype(np.float64)
