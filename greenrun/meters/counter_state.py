"""Persist the state of hardware counters, so that a restart accounts for the energy used meanwhile."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from greenrun.meters.gpu.accumulator import LAG_S, MARGIN
from greenrun.meters.host import boot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterState:
    """A board's own counter `raw_j` (None without one) `at_s` after the boot, when greenrun had reported `told_j`.

    `base` names the zero point of greenrun's joules; those of one base may be subtracted. `least_j` is what it has
    reported since, by other means than the counter; no later value is below it.
    """

    base: str
    told_j: float
    raw_j: float | None
    at_s: float
    least_j: float = 0.0

    def after(self, raw_j: float | None, at_s: float, limit_w: float) -> "CounterState | None":
        """Return the state now that the counter reads `raw_j`; None if that cannot be the same counter."""
        if raw_j is None or self.raw_j is None or at_s < self.at_s:
            return None
        step_j = raw_j - self.raw_j
        if not 0 <= step_j <= MARGIN * limit_w * (at_s - self.at_s + LAG_S):
            return None
        return CounterState(base=self.base, told_j=max(self.least_j, self.told_j + step_j), raw_j=raw_j, at_s=at_s)


def new_state(raw_j: float | None, at_s: float) -> CounterState:
    """Return the state of a board seen for the first time: a new base, from 0 J on."""
    return CounterState(base=uuid4().hex[:8], told_j=0.0, raw_j=raw_j, at_s=at_s)


class CounterFile:
    """The file with the state of each board's counter, valid for one boot and one driver."""

    def __init__(self, folder: Path, kind: str, driver: str) -> None:
        self._path = folder / f"meter-{kind}.json"
        self._is = {"boot": boot_id(), "driver": driver, "clock": "boot"}

    def load(self) -> dict[str, CounterState]:
        """Return the state of each board by id; empty if it cannot be read, or is of another boot or driver."""
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            known = {device: CounterState(**values) for device, values in record["boards"].items()}
            return known if {name: record[name] for name in self._is} == self._is else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def save(self, boards: Mapping[str, CounterState]) -> None:
        """Write the states; a full disk costs continuity over a restart, never a reading."""
        record = {**self._is, "boards": boards}
        with suppress(OSError):
            replace_text(self._path, json.dumps(record, default=_fields))


def replace_text(path: Path, text: str) -> None:
    """Replace a file atomically, without waiting for the disk."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _fields(state: CounterState) -> dict[str, object]:
    return {name: getattr(state, name) for name in CounterState.__slots__}
