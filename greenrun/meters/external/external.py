"""Read an external counter (a smart PDU, IPMI, Redfish) by a command or over HTTP.

Runs in a sampler process alone. It is asked in a thread of its own, so that one that takes its time holds up nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from math import inf
from pathlib import Path
from time import monotonic
from uuid import uuid4

from greenrun.clock import utc_now
from greenrun.core.energy.model import Component, Device, Quality, Reading, Telemetry
from greenrun.core.errors import MeterError
from greenrun.meters.counter_state import CounterFile, CounterState, new_state
from greenrun.meters.cpu.cpu_time import CpuClock, CpuTimes, shares
from greenrun.meters.cpu.rapl import REBASED, UNREADABLE, following
from greenrun.meters.external.answer import UNITS_J, joules_in
from greenrun.meters.external.command import output_of
from greenrun.meters.external.web import body_at
from greenrun.meters.host import boot_id, host_tag
from greenrun.meters.settings import ExternalSettings

KIND = "external"
PATIENCE_S = 2.0  # beyond the time-out, before a question that does not come back is told of


def asked(settings: ExternalSettings) -> float:
    """Ask a counter once and return its J, as it counts them; raise MeterError with what is wrong."""
    if settings.command:
        body = output_of(settings.command, settings.timeout_s)
    else:
        body = body_at(settings.url, settings.header_file, settings.timeout_s)
    try:
        return joules_in(body, settings.value, settings.unit)
    except ValueError as exc:
        raise MeterError(f"its answer cannot be used: {exc}") from exc


class ExternalBackend:
    """Asks one counter. `ask` does so once, and `keep_asking` does so for ever; `sample` tells what came of it."""

    def __init__(
        self,
        settings: ExternalSettings,
        state_dir: Path,
        *,
        cpu: CpuClock | None = None,
        asked: Callable[[ExternalSettings], float] = asked,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Go on where its counter stood when it was last read, if it is the same one; ask nothing yet.

        `cpu` tells whose CPU time it was, by which the energy of one that counts that is divided.
        """
        self._cpu = None if settings.component == Component.EXTERNAL else cpu
        self._times: CpuTimes | None = None
        self._settings, self._asked, self._now, self._clock = settings, asked, now, clock
        self._session, self._boot = uuid4().hex, boot_id()
        self._file = CounterFile(state_dir, f"{KIND}-{settings.name}", _identity(settings))
        unit_j = UNITS_J[settings.unit]
        self._range_j = None if settings.wraps_at is None else settings.wraps_at * unit_j
        device = _device(settings)
        self.devices: tuple[Device, ...] = (device,)
        self._kept = self._file.load().get(device.id)
        self._state: CounterState | None = None
        self._read_at_s = self._moved_at_s = clock()
        self._troubles = Counter({REBASED: 0, UNREADABLE: 0})
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._wrong: str | None = None
        self._asking_since_s: float | None = None

    def sample(self) -> Sequence[Reading]:
        """Return what was read since the last sample; raise MeterError when asking failed, or does not come back."""
        with self._lock:
            readings, self._readings = self._readings, []
            wrong, since_s = self._wrong, self._asking_since_s
        if not readings and since_s is not None and self._clock() - since_s > self._settings.timeout_s + PATIENCE_S:
            wrong = "it was asked and does not answer"
        if not readings and wrong is not None:
            raise MeterError(
                f"The external meter {self._settings.name} was not read, so what it counts is not known until it is; "
                f"{wrong}. Try it by hand, and see devices.external.{self._settings.name}."
            )
        return readings

    def troubles(self) -> Mapping[str, Mapping[str, int]]:
        """Return what was wrong with its readings so far: how often, by cause."""
        with self._lock:
            return {self.devices[0].id: dict(self._troubles)}

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return none: it tells nothing but energy."""
        return {}

    def ask(self) -> None:
        """Ask once, and keep what came of it for the next sample."""
        self._asking_since_s = self._clock()
        try:
            raw_j, wrong = self._asked(self._settings), None
        except MeterError as exc:
            raw_j, wrong = 0.0, str(exc)
        with self._lock:
            self._asking_since_s, self._wrong = None, wrong
            if wrong is None:
                self._readings.append(self._reading(raw_j))
            else:
                self._troubles[UNREADABLE] += 1

    def keep_asking(self) -> None:
        """Ask every so often in a thread of its own, for ever."""
        threading.Thread(target=self._ask_for_ever, name=f"ask-{self._settings.name}", daemon=True).start()

    def _ask_for_ever(self) -> None:
        rest = threading.Event()
        while True:
            began_s = self._clock()
            self.ask()
            rest.wait(max(0.0, began_s + self._settings.every_s - self._clock()))

    def _reading(self, raw_j: float) -> Reading:
        at = self._now()
        times = self._cpu.look(at) if self._cpu else None
        used, self._times = shares(self._times, times), times
        self._state = self._followed(raw_j, at.timestamp())
        self._file.save({self.devices[0].id: self._state})
        return Reading(
            device=self.devices[0].id,
            at=at,
            energy_j=self._state.told_j,
            quality=Quality.MEASURED,
            counter=f"{self._boot}/{KIND}/{self._state.base}",
            session=self._session,
            shares=used,
        )

    def _followed(self, raw_j: float, at_s: float) -> CounterState:
        """Go on from the last reading, or where the last process stood; else begin a base of its own.

        What is kept is when the counter last moved, so that one of large steps is believed after a restart too.
        """
        now_s, before = self._clock(), self._state or self._kept
        if before is None:
            self._read_at_s = self._moved_at_s = now_s
            return new_state(raw_j, at_s)
        is_new = self._state is None
        known = following(
            before, raw_j, at_s,
            at_s - before.at_s if is_new else now_s - self._read_at_s,
            self._range_j,
            highest_w=self._settings.watts_max,
            least_range_j=inf,
            still_s=0.0 if is_new else self._read_at_s - self._moved_at_s,
        )  # fmt: skip
        self._read_at_s = now_s
        if known and raw_j == before.raw_j:
            return replace(known, at_s=before.at_s)
        self._moved_at_s = now_s
        self._troubles[REBASED] += known is None
        return known or new_state(raw_j, at_s)


def _device(settings: ExternalSettings) -> Device:
    how = "command" if settings.command else "http"
    return Device(
        id=f"{KIND.upper()}-{host_tag()}-{settings.name}",
        index=settings.index,
        model=f"{settings.name} ({how})",
        source=KIND,
        kind=Component(settings.component),
    )


def _identity(settings: ExternalSettings) -> str:
    """What tells its counter from another one under the same name, without saying what is asked."""
    asked = repr((settings.command, settings.url, settings.value, settings.unit, settings.wraps_at))
    return sha256(asked.encode()).hexdigest()[:16]
