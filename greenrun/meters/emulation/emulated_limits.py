"""Power limits of emulated GPUs, kept in a file of the state folder as a driver would; the power model obeys them."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from greenrun.clock import utc_now
from greenrun.core.energy.power_limit import LimitFaultKind, LimitReading
from greenrun.meters.counter_state import replace_text
from greenrun.meters.emulation.power_model import Limits
from greenrun.meters.gpu.driver import PowerLimitError

LEAST_SHARE = 0.4  # of the busy draw; about what boards allow: an H100 from 200 of 700 W, an A100 from 100 of 400 W
KEPT = 16  # changes of a device: more than come between two samples


class EmulatedLimits:
    """The limits that were set on the emulated GPUs of one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "emulated-power-limits.json"
        self._read: tuple[int, Mapping[str, Limits]] = (-1, {})

    def since(self) -> Mapping[str, Limits]:
        """Return the latest limits of each device, with since when each held; read again only when they changed."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except OSError:
            return {}
        if changed_ns != self._read[0]:
            self._read = changed_ns, self._load()
        return self._read[1]

    def power_limit(self, device: str, busy_w: float) -> LimitReading:
        """Return the power limit of a device that draws so much while busy."""
        last = self._load().get(device, ())[-1:]
        limit_w = last[0][1] if last else busy_w
        return LimitReading(limit_w=limit_w, least_w=LEAST_SHARE * busy_w, most_w=busy_w, default_w=busy_w)

    def set_power_limit(self, device: str, limit_w: float) -> None:
        """Set it from now on; raise PowerLimitError if that cannot be kept."""
        known = dict(self._load())
        known[device] = [*known.get(device, ())[1 - KEPT :], (utc_now(), limit_w)]
        packed = {name: [(at.isoformat(), watts) for at, watts in rows] for name, rows in known.items()}
        try:
            replace_text(self._path, json.dumps(packed))
        except OSError as exc:
            raise PowerLimitError(LimitFaultKind.UNREACHABLE, f"{self._path} cannot be written ({exc})") from exc

    def _load(self) -> Mapping[str, Limits]:
        try:
            packed = json.loads(self._path.read_text(encoding="utf-8"))
            return {
                name: [(datetime.fromisoformat(at), float(watts)) for at, watts in rows]
                for name, rows in packed.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
