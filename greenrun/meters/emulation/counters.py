"""Counters that persist over restarts, as hardware counters do: their state is kept in the state folder."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from greenrun.meters.counter_state import replace_text
from greenrun.meters.emulation.power_model import Charge, Counters
from greenrun.meters.host import boot_id


def counters_in(folder: Path, kind: str, now: datetime) -> Counters:
    """Return counters that continue over restarts of the sampler, as hardware's do, and restart with each boot.

    A file that is missing, unreadable, of another boot or dated in the future starts a new base, with a new name.
    """
    path, boot = folder / f"meter-{kind}.json", boot_id()
    base, charges = _restored(path, boot, now) or (uuid4().hex[:8], {})

    def keep(charges: Mapping[str, Charge]) -> None:
        record = {"boot": boot, "base": base, "charges": {device: _packed(one) for device, one in charges.items()}}
        with suppress(OSError):  # a full disk costs continuity over a restart, never a reading
            replace_text(path, json.dumps(record))

    return Counters(name=f"{boot}/{kind}/{base}", charges=charges, keep=keep)


def _restored(path: Path, boot: str, now: datetime) -> tuple[str, dict[str, Charge]] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        charges = {device: _unpacked(values) for device, values in record["charges"].items()}
        fits = record["boot"] == boot and all(charge.at <= now for charge in charges.values())
        return (record["base"], charges) if fits else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _packed(charge: Charge) -> tuple[str, float]:
    return charge.at.isoformat(), charge.energy_j


def _unpacked(values: tuple[str, float]) -> Charge:
    at, energy_j = values
    return Charge(at=datetime.fromisoformat(at), energy_j=energy_j)
