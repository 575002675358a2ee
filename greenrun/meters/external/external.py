"""Read an external counter (a smart PDU, IPMI, Redfish) by a command or over HTTP.

Runs only in a sampler process. A separate thread queries the counter, so that a slow one blocks nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from math import inf
from pathlib import Path
from uuid import uuid4

from greenrun.clock import boot_s, utc_now
from greenrun.core.energy.model import Component, Device, GpuUse, Quality, Reading, Telemetry
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
PATIENCE_S = 2.0  # beyond the timeout, before a query without an answer is reported


def asked(settings: ExternalSettings) -> float:
    """Query a counter once and return its raw J; raise MeterError saying what is wrong."""
    if settings.command:
        body = output_of(settings.command, settings.timeout_s)
    else:
        body = body_at(settings.url, settings.header_file, settings.timeout_s)
    try:
        return joules_in(body, settings.value, settings.unit)
    except ValueError as exc:
        raise MeterError(f"its answer cannot be used: {exc}") from exc


class ExternalBackend:
    """Queries one counter: `ask` once, `keep_asking` for ever; `sample` returns the results."""

    def __init__(
        self,
        settings: ExternalSettings,
        state_dir: Path,
        *,
        cpu: CpuClock | None = None,
        asked: Callable[[ExternalSettings], float] = asked,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = boot_s,
    ) -> None:
        """Continue from the counter's last saved state, if it is the same counter; send no query yet.

        `cpu` reads the CPU time of runs, by which the energy of a CPU or DRAM counter is allocated.
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
        """Return the readings since the last sample; raise MeterError if the last query failed or hangs."""
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
        """Return its reading errors so far: their number by cause."""
        with self._lock:
            return {self.devices[0].id: dict(self._troubles)}

    def gpu_uses(self, *, is_urgent: bool) -> Mapping[str, GpuUse]:
        """Return nothing: this is no GPU."""
        return {}

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return none: it reports only energy."""
        return {}

    def ask(self) -> None:
        """Query once, and keep the result for the next sample."""
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
        """Query every `every_s` in a separate thread, for ever."""
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
        self._state = self._followed(raw_j)
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

    def _followed(self, raw_j: float) -> CounterState:
        """Continue from the last reading, or from the last process's state; else start a new base.

        The saved time is when the counter last moved, so that a coarse one is accepted after a restart too.
        """
        now_s, before = self._clock(), self._state or self._kept
        if before is None:
            self._read_at_s = self._moved_at_s = now_s
            return new_state(raw_j, now_s)
        is_new = self._state is None
        known = following(
            before, raw_j, now_s,
            now_s - before.at_s if is_new else now_s - self._read_at_s,
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
        return known or new_state(raw_j, now_s)


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
    """Return what distinguishes its counter from another under the same name, without revealing the query."""
    asked = repr((settings.command, settings.url, settings.value, settings.unit, settings.wraps_at))
    return sha256(asked.encode()).hexdigest()[:16]
