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
    """A board: its own counter `raw_j` (None without one) at `at_s` of the wall clock, when greenrun had told `told_j`.

    `base` names what greenrun's joules count from; those of one base may be subtracted. `least_j` is what it has told
    since, by other means than the counter, and does not take back.
    """

    base: str
    told_j: float
    raw_j: float | None
    at_s: float
    least_j: float = 0.0

    def after(self, raw_j: float | None, at_s: float, limit_w: float) -> "CounterState | None":
        """Return where it stands now that its counter says `raw_j`; None when that cannot be the same counter."""
        if raw_j is None or self.raw_j is None or at_s < self.at_s:
            return None
        step_j = raw_j - self.raw_j
        if not 0 <= step_j <= MARGIN * limit_w * (at_s - self.at_s + LAG_S):
            return None
        return CounterState(base=self.base, told_j=max(self.least_j, self.told_j + step_j), raw_j=raw_j, at_s=at_s)


def new_state(raw_j: float | None, at_s: float) -> CounterState:
    """Return a board that is seen for the first time: a base of its own, from 0 J on."""
    return CounterState(base=uuid4().hex[:8], told_j=0.0, raw_j=raw_j, at_s=at_s)


class CounterFile:
    """The file with the state of each board's counter, valid for one boot and one driver."""

    def __init__(self, folder: Path, kind: str, driver: str) -> None:
        self._path = folder / f"meter-{kind}.json"
        self._is = {"boot": boot_id(), "driver": driver}

    def load(self) -> dict[str, CounterState]:
        """Return where each board stood, by id; empty where that cannot be told, or was of another boot or driver."""
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            known = {device: CounterState(**values) for device, values in record["boards"].items()}
            return known if {name: record[name] for name in self._is} == self._is else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def save(self, boards: Mapping[str, CounterState]) -> None:
        """Write down where they stand; a full disk costs a restart its continuity, never a meter its readings."""
        record = {**self._is, "boards": boards}
        with suppress(OSError):
            replace_text(self._path, json.dumps(record, default=_fields))


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old text or the new, without waiting for the disk."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _fields(state: CounterState) -> dict[str, object]:
    return {name: getattr(state, name) for name in CounterState.__slots__}
