"""Counters that persist over restarts, as hardware counters do: their state is kept in the state folder."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from greenrun.clock import CLOCK_STEP_S, boot_s, suspended_s, utc_now
from greenrun.meters.counter_state import replace_text
from greenrun.meters.emulation.power_model import Charge, Counters
from greenrun.meters.host import boot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Three clocks at one instant: the wall's, and the seconds since the boot, of them those spent suspended."""

    now_s: float
    boot_s: float
    suspended_s: float

    def agree_with(self, earlier: "Clocks") -> bool:
        """Whether nobody set the wall clock since, and the machine was awake."""
        passed_s = self.boot_s - earlier.boot_s
        slept_s = self.suspended_s - earlier.suspended_s
        return passed_s >= 0 and max(abs(self.now_s - earlier.now_s - passed_s), slept_s) <= CLOCK_STEP_S


def clocks_now() -> Clocks:
    """Return what the clocks show now."""
    return Clocks(now_s=utc_now().timestamp(), boot_s=boot_s(), suspended_s=suspended_s())


def counters_in(folder: Path, kind: str, clocks: Callable[[], Clocks] = clocks_now) -> Counters:
    """Return counters that continue over restarts of the sampler, as hardware's do, and restart with each boot.

    A file that is missing, unreadable, or of another boot starts a new base, with a new name; so does one since when
    the wall clock was set or the machine was suspended: what was used meanwhile cannot be told from the time.
    """
    path, boot = folder / f"meter-{kind}.json", boot_id()
    base, charges = _restored(path, boot, clocks()) or (uuid4().hex[:8], {})

    def keep(charges: Mapping[str, Charge]) -> None:
        packed = {device: _packed(one) for device, one in charges.items()}
        record = {"boot": boot, "base": base, "clocks": asdict(clocks()), "charges": packed}
        with suppress(OSError):  # a full disk costs continuity over a restart, never a reading
            replace_text(path, json.dumps(record))

    return Counters(name=f"{boot}/{kind}/{base}", charges=charges, keep=keep)


def _restored(path: Path, boot: str, now: Clocks) -> tuple[str, dict[str, Charge]] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        charges = {device: _unpacked(values) for device, values in record["charges"].items()}
        fits = record["boot"] == boot and now.agree_with(Clocks(**record["clocks"]))
        return (record["base"], charges) if fits else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _packed(charge: Charge) -> tuple[str, float, str]:
    return charge.at.isoformat(), charge.energy_j, charge.base


def _unpacked(values: tuple[str, float, str]) -> Charge:
    at, energy_j, base = values
    return Charge(at=datetime.fromisoformat(at), energy_j=energy_j, base=base)
