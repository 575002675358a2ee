"""The daemon's side of a sampler process: keep one alive, keep its readings, and never block on it for long."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Any, Protocol

from greenrun.clock import utc_now
from greenrun.core.energy.gpu_parts import board_of, share_of
from greenrun.core.energy.model import Component, Device, GpuUse, MeterHealth, Reading
from greenrun.core.errors import MeterError
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.sampler.child import COMMAND, Child, ChildGone
from greenrun.meters.sampler.health import HealthTracker
from greenrun.meters.sampler.wire import Message, Request, pack_request

HELLO_LIMIT_S = 10.0
SILENCE_LIMIT_S = 5.0
POKE_LIMIT_S = 0.25
CLOSING_LIMIT_S = 1.0
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
NOT_LISTED = "the driver does not list it any more"
STEADY_S = 60.0  # after a sampler has lived this long, the back-off starts over


class Log(Protocol):
    """Where a sampler logs warnings."""

    def info(self, event: str, **facts: Any) -> object:
        """Log an event that needs nothing done, with key-value pairs."""

    def warning(self, event: str, **facts: Any) -> object:
        """Log an event with key-value pairs."""


class Sampler:
    """A `ports.Meter` over a sampler process, which is replaced when it dies or falls silent. Thread-safe."""

    def __init__(
        self,
        request: Request,
        *,
        refusals: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        hello_limit_s: float = HELLO_LIMIT_S,
        silence_limit_s: float = SILENCE_LIMIT_S,
        log: Log | None = None,
    ) -> None:
        """Start the process and wait for its hello; raise MeterError if it refuses or sends none in time."""
        self.refusals = tuple(refusals)
        self.restarts = 0
        self._kind = request.kind
        self._log: Log = log or _program_log()
        self._command = (*command, pack_request(request))
        self._hello_limit_s = hello_limit_s
        self._silence_limit_s = silence_limit_s
        self._history = RecentReadings()
        self._last: Reading | None = None
        self._heard_at: float | None = None
        self._trouble: str | None = None
        self._pokes = _Pokes()
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._noted: set[str] = set()
        self._child, hello = self._first_child()
        self._unlowered_w = dict(request.settings.unlowered_w)
        self._devices = tuple(map(self._at_full_power, hello.devices or ()))
        self._health = HealthTracker(_read(self._devices), monotonic())
        self._health.count(hello.troubles or {})
        self._uses: dict[str, GpuUse] = {}
        self._thread = threading.Thread(target=self._keep_sampling, name=f"meter-{self._kind}", daemon=True)
        self._thread.start()

    def devices(self) -> Sequence[Device]:
        """Return the devices that were ever reported, in index order."""
        return self._devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return the readings after `since[device]`, in time order; wait at most POKE_LIMIT_S for a fresh one.

        Ten minutes are kept. It does not wait at all while the sampler is known to be stalled or gone.
        """
        with self._news:
            self._poke()
            return self._history.since(since)

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return what was last told of who uses each GPU; if it `is_urgent`, wait at most POKE_LIMIT_S for news."""
        with self._news:
            if is_urgent:
                self._poke(is_urgent=True)
            return dict(self._uses)

    def _poke(self, *, is_urgent: bool = False) -> None:
        poke = self._pokes.next(monotonic())
        if poke is not None:
            self._child.poke(poke, is_urgent=is_urgent)
            self._news.wait_for(lambda: self._pokes.is_answered(poke), POKE_LIMIT_S)

    @property
    def pid(self) -> int:
        """The pid of the present sampler."""
        return self._child.pid

    @property
    def last_sample_at(self) -> datetime | None:
        """The time of the latest reading, None before the first."""
        return self._last.at if self._last else None

    @property
    def lag_s(self) -> float | None:
        """Seconds since the last reading arrived, None before the first."""
        return None if self._heard_at is None else monotonic() - self._heard_at

    def health(self) -> MeterHealth:
        """Return the health of the devices, from memory."""
        with self._news:
            devices = self._health.devices(monotonic())
            return MeterHealth(devices=devices, restarts=self.restarts, lag_s=self.lag_s)

    def close(self) -> None:
        """End the process and its thread; idempotent."""
        self._closing.set()
        self._child.hang_up()
        self._thread.join(CLOSING_LIMIT_S)
        if self._thread.is_alive():  # an unresponsive process, or one just started
            self._child.kill()
            self._thread.join()

    # --- the process

    def _first_child(self) -> tuple[Child, Message]:
        try:
            child = Child(self._command)
            return child, self._hello(child)
        except OSError as exc:
            raise MeterError(f"The sampler process could not be started: {exc}.") from exc
        except ChildGone as exc:
            raise MeterError(f"The sampler process gave no account of its devices: it {exc}.") from exc

    def _hello(self, child: Child) -> Message:
        """Return the hello message of a new process; end it and raise ChildGone or MeterError if there is none."""
        try:
            hello = child.hear(self._hello_limit_s)
            if hello.refusal is not None:
                raise MeterError(hello.refusal)
            if hello.devices is None:
                raise ChildGone("did not begin with its devices")
        except BaseException:  # also a KeyboardInterrupt in a notebook
            child.end()
            raise
        for note in hello.notes:
            if note not in self._noted:
                self._noted.add(note)
                self._log.info("devices", meter=self._kind, cause=note)
        return hello

    def _keep_sampling(self) -> None:
        """Receive from the process, and replace it when it ends, until closed."""
        retry_s = FIRST_RETRY_S
        while not self._closing.is_set():
            began = monotonic()
            cause = self._listen()
            self._child.end()
            retry_s = FIRST_RETRY_S if monotonic() - began > STEADY_S else retry_s
            while cause and not self._closing.is_set():
                self._log.warning("sampler stopped", meter=self._kind, cause=cause, retry_s=retry_s)
                self._closing.wait(retry_s)
                retry_s = min(LAST_RETRY_S, 2 * retry_s)
                cause = self._replace()
        self._child.end()

    def _listen(self) -> str:
        """Process messages until there are no more; return why."""
        try:
            while True:
                self._take_in(self._child.hear(self._silence_limit_s))
        except ChildGone as exc:
            with self._news:
                self._pokes.stop()
                self._news.notify_all()
            return str(exc)

    def _take_in(self, message: Message) -> None:
        if message.trouble and message.trouble != self._trouble:
            self._log.warning("no readings", meter=self._kind, cause=message.trouble)
        known = {device.id for device in self._devices}
        readings = [reading for reading in message.readings if reading.device in known]
        with self._news:
            self._trouble = message.trouble
            self._history.add(readings)
            if readings:
                self._last, self._heard_at = readings[-1], monotonic()
                self._health.hear(readings, self._heard_at)
            if message.troubles is not None:
                self._health.count(message.troubles)
            self._health.note(message.telemetry, monotonic())
            self._uses |= {device: use for device, use in message.gpu_uses.items() if device in known}
            self._pokes.answer(message.poke, monotonic())
            self._news.notify_all()

    def _replace(self) -> str:
        """Start a new process; return "" or why that failed."""
        if self._closing.is_set():
            return "closed"
        try:
            self._child = Child(self._command)
            hello = self._hello(self._child)
        except MeterError as exc:
            self._lose(self._devices, str(exc))
            return str(exc)
        except (OSError, ChildGone) as exc:
            return str(exc)
        known = {device.id: device for device in self._devices}
        there = {device.id: self._at_full_power(device) for device in hello.devices or ()}
        self._lose([device for device in self._devices if device.id not in there], NOT_LISTED)
        with self._news:  # one that was lost at first may be there, and where one is lost the others are counted anew
            self._devices = tuple(sorted({**known, **there}.values(), key=lambda device: device.index))
            self._health.add(_read(self._devices), monotonic())
            self.restarts += 1
            self._health.start_new_process()
            self._health.count(hello.troubles or {})
            self._pokes.start()
        return ""

    def _at_full_power(self, device: Device) -> Device:
        """Return a device with what it draws under load at the most, also where its limit is lowered just now."""
        if device.power_w is None:
            return device
        if device.part:  # its board comes before it
            power_w = self._unlowered_w.get(board_of(device.id), device.power_w) * share_of(device.id)
            return replace(device, power_w=power_w)
        power_w = max(device.power_w, self._unlowered_w.get(device.id, 0.0))
        self._unlowered_w[device.id] = power_w
        return replace(device, power_w=power_w)

    def _lose(self, devices: Sequence[Device], why: str) -> None:
        """Note that the driver, opened anew, does not know these GPUs."""
        lost = GpuUse(at=utc_now(), fault=why.rstrip("."))
        with self._news:
            self._uses |= {device.id: lost for device in devices if device.kind is Component.GPU and not device.part}


def _read(devices: Sequence[Device]) -> list[Device]:
    """Return the devices that can be read: no part of a board ever is."""
    return [device for device in devices if not device.part]


class _Pokes:
    """Which pokes were answered; the age of the oldest open one shows whether the sampler is stalled."""

    def __init__(self) -> None:
        self._asked = self._answered = 0
        self._open_since = 0.0
        self._is_away = False

    def next(self, now_s: float) -> int | None:
        """Return the number of a new poke; None if waiting for an answer is pointless."""
        is_open = self._answered < self._asked
        if self._is_away or (is_open and now_s - self._open_since >= POKE_LIMIT_S):
            return None
        self._open_since = self._open_since if is_open else now_s
        self._asked += 1
        return self._asked

    def answer(self, number: int, now_s: float) -> None:
        """Note the last poke that a message answers."""
        if number > self._answered:
            self._answered, self._open_since = number, now_s

    def is_answered(self, number: int) -> bool:
        """Whether this poke was answered or never will be."""
        return self._is_away or self._answered >= number

    def stop(self) -> None:
        """Note that the process is gone."""
        self._is_away = True

    def start(self) -> None:
        """Note that a new process is running, which got no pokes yet."""
        self._is_away = False
        self._answered = self._asked


def _program_log() -> Log:
    import structlog  # slow to import, and `greenrun measure` does not need it

    log: Log = structlog.get_logger(__name__)
    return log
