"""Run a measurement: open meters, read them from start to end, and combine the readings into one result."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import TracebackType
from typing import Any, Self

from greenrun.clock import utc_now
from greenrun.core.energy.model import Component, Device, Quality, Reading
from greenrun.core.energy.window import GAP_S, DeviceWindow, counted, total_j
from greenrun.core.errors import MeterError
from greenrun.measuring.choosing import Choice, choose
from greenrun.measuring.result import (
    MeanIntensity,
    MeasuredDevice,
    Result,
    mean_intensity,
    measured_device,
    notes_of,
    power_w,
    quality_of,
    uncertainty_pct,
    why_unknown,
    without_jump,
)
from greenrun.measuring.visible_gpus import chosen
from greenrun.measuring.window_intensity import WindowIntensity
from greenrun.meters import OpenMeter, open_meter
from greenrun.meters.none import NoMeter

EXTERNAL = "external"  # the source of devices that are asked as seldom as the settings say
READING_LIMIT_S = 2.0  # how long a reading of every device is waited for, at either end
FRESH_S = 0.5  # a reading that is no further from it is where a measurement starts or ends
UNFOLDED = timedelta(seconds=30)  # what an end that is being waited for may still need in pieces
SET_BACK = timedelta(seconds=1)  # a reading so far ahead of now shows that the clock was set back
BEAT_S = 20.0  # between two looks at the meters, which keep ten minutes
ASK_EVERY_S = 600.0
INTENSITY_LIMIT_S = 5.0  # how long the end of a measurement waits for an intensity
_PAUSE_S = 0.05


class _Troubles:
    """Collects the log lines of samplers, which would be noise on a terminal, as notes for the result."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def info(self, event: str, **facts: Any) -> None:
        """Note what a meter found, once."""
        self.warning(event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Note what happened to a meter, once."""
        note = f"{facts.get('meter')}: {event}: {facts.get('cause')}"
        if note not in self.notes:
            self.notes.append(note)


class Measurement:
    """Measures what happens while it is entered; get one from `measure`. Its figures are there once it is left.

    It needs neither daemon nor settings, and never stops what it measures: what cannot be read is unknown. Several may
    be open at once, each with sampler processes of its own, which end with this process however that ends.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._is_begun = False
        self._troubles = _Troubles()
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._result: Result | None = None
        self.is_hurried: Callable[[], bool] = lambda: False  # whether its end is to wait for no counter elsewhere

    def __enter__(self) -> Self:
        """Open the meters and begin; raise ConfigError for a name that is no meter."""
        if self._is_begun:
            raise RuntimeError("a measurement measures once; begin another one with measure()")
        with ExitStack() as opening:
            folder = opening.enter_context(TemporaryDirectory(prefix="greenrun-measure-", ignore_cleanup_errors=True))
            self._meter = self._opened(Path(folder))
            opening.callback(self._meter.close)
            self._begin()
            self._parts = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, also when the block failed, and let what the block raised pass."""
        self._over.set()
        with self._parts:
            ends = self._end_after(utc_now(), monotonic(), READING_LIMIT_S + self._seldom_s())
            self._thread.join(INTENSITY_LIMIT_S)
            self._ask_in_time(ends[0])
            self._result = self._result_at(*ends)

    def so_far(self) -> Result:
        """Return what was used up to now; everything once it is over."""
        if self._result is not None:
            return self._result
        if not self._is_begun:
            raise RuntimeError("the measurement has not begun; enter it first")
        return self._result_at(*self._end_after(utc_now(), monotonic(), READING_LIMIT_S))

    @property
    def result(self) -> Result:
        """The result; raise RuntimeError before the measurement is over."""
        if self._result is None:
            raise RuntimeError("the measurement is not over yet; so_far() returns what was used up to now")
        return self._result

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why meters that were tried are not read, once it is entered."""
        return tuple(self._meter.refusals)

    @property
    def energy_j(self) -> float | None:
        """What all devices used, in joules; None where any part of it is unknown."""
        return self.result.energy_j

    @property
    def emissions_g(self) -> float | None:
        """What that emitted, in g CO2e; None where the energy or the intensity is unknown."""
        return self.result.emissions_g

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        return self.result.duration_s

    @property
    def devices(self) -> tuple[MeasuredDevice, ...]:
        """What each device used."""
        return self.result.devices

    @property
    def intensity(self) -> MeanIntensity | None:
        """The mean intensity over what was used; None where it is unknown."""
        return self.result.intensity

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `greenrun measure --json` prints it."""
        return self.result.to_dict()

    def __str__(self) -> str:
        return "a measurement that is not over" if self._result is None else str(self._result)

    # --- from the start to the end

    def _opened(self, folder: Path) -> OpenMeter:
        """Open the meters; where one that cannot be done without fails, there are none, and the result says why."""
        choice = self._choice
        try:
            return open_meter(choice.meters, runs_dir=choice.runs_dir, state_dir=folder, log=self._troubles)
        except MeterError as exc:
            return NoMeter((str(exc),))

    def _begin(self) -> None:
        """Read every device once, and let the window start there: no joule of what follows can be before it."""
        readings = self._first_readings()
        now, now_s = utc_now(), monotonic()
        ago_s = (now - max((reading.at for reading in readings), default=now)).total_seconds()
        ago_s = ago_s if 0 <= ago_s <= FRESH_S else 0.0
        self._start, self._start_s = now - timedelta(seconds=ago_s), now_s - ago_s
        self._is_begun = True
        devices = [device for device in self._meter.devices() if not device.part]
        self._chosen = chosen(self._choice.visible, devices)
        self._watches = [
            DeviceWindow(device, self._start, self._gap_s(device)) for device in devices if self._is_read(device)
        ]
        for watch in self._watches:
            watch.hear(readings)
        self._intensity = WindowIntensity(self._choice, self._start)
        self._thread = threading.Thread(target=self._look, name="measure", daemon=True)
        self._thread.start()

    def _is_read(self, device: Device) -> bool:
        """Whether a device is read: what is no GPU, and the GPUs that are meant, or all where that is unclear."""
        return device.kind is not Component.GPU or self._chosen.ids is None or device.id in self._chosen.ids

    def _first_readings(self) -> Sequence[Reading]:
        devices = {device.id for device in self._meter.devices() if device.within is None}
        deadline, pause = monotonic() + READING_LIMIT_S, threading.Event()
        while True:
            readings = self._meter.read({})
            if devices <= {reading.device for reading in readings} or monotonic() >= deadline:
                return readings
            pause.wait(_PAUSE_S)

    def _gap_s(self, device: Device) -> float:
        """Return how long a device goes unread where all is well; counters elsewhere are asked now and then."""
        return GAP_S if device.source != EXTERNAL else GAP_S * max(1.0, self._seldom_s())

    def _seldom_s(self) -> float:
        return max((each.every_s for each in self._choice.meters.external), default=0.0)

    def _look(self) -> None:
        """Look at the meters from time to time, until it is over, so that nothing they keep is lost."""
        self._intensity.ask_daemon()
        asked_s = monotonic()
        while not self._over.wait(BEAT_S):
            with self._turn:
                self._hear()
                for watch in self._watches:
                    watch.fold(utc_now() - UNFOLDED)
            if monotonic() - asked_s >= ASK_EVERY_S:
                self._intensity.ask()
                asked_s = monotonic()

    def _end_after(self, now: datetime, now_s: float, limit_s: float) -> tuple[datetime, float]:
        """Return where to end, by the clock and in monotonic seconds: at the next reading, so that no joule is lost."""
        self._note_set_back()
        self._read_until(now, limit_s)
        times = [watch.last_at for watch in self._watches if watch.last_at is not None]
        later_s = (min(times, default=now) - now).total_seconds()
        later_s = later_s if 0 <= later_s <= FRESH_S else 0.0
        return now + timedelta(seconds=later_s), now_s + later_s

    def _note_set_back(self) -> None:
        """Where the clock was set back and readings have not caught up, what was used since then is not known."""
        with self._turn:
            self._is_set_back = any(watch.last_at and watch.last_at > utc_now() + SET_BACK for watch in self._watches)

    def _read_until(self, instant: datetime, limit_s: float) -> None:
        """Read until every device that was ever read was read after `instant`, or the limit is over."""
        began_s, pause = monotonic(), threading.Event()
        while True:
            with self._turn:
                self._hear()
                if all(watch.last_at is None or watch.last_at >= instant for watch in self._watches):
                    return
            if monotonic() - began_s >= (min(limit_s, READING_LIMIT_S) if self.is_hurried() else limit_s):
                return
            pause.wait(_PAUSE_S)

    def _hear(self) -> None:
        readings = self._meter.read({each.device.id: each.last_at for each in self._watches if each.last_at})
        for watch in self._watches:
            watch.hear(readings)

    def _ask_in_time(self, end: datetime) -> None:
        """Ask for the intensity where it is not known up to the end, but keep nobody waiting for it."""
        asking = self._thread
        if not asking.is_alive() and not self._intensity.covers(end):
            asking = threading.Thread(target=self._intensity.ask, name="measure-intensity", daemon=True)
            asking.start()
            asking.join(INTENSITY_LIMIT_S)
        if not asking.is_alive():
            self._intensity.close()

    # --- what came of it

    def _result_at(self, end: datetime, end_s: float) -> Result:
        with self._turn:
            uses = [watch.nothing() if self._is_set_back else watch.used(end) for watch in self._watches]
        uses = without_jump(uses, (end - self._start).total_seconds(), end_s - self._start_s)
        summed = counted(uses)
        unclear = self._chosen.why
        duration_s, energy_j = end_s - self._start_s, None if unclear else total_j(summed)
        emitted, why = self._intensity.price([piece for use in summed for piece in use.pieces], end, self._choice.pue)
        grams = emitted.emissions_g if emitted and energy_j is not None else None
        is_marginal = emitted is not None and emitted.is_marginal
        unknown = why or ("only a marginal intensity is known" if is_marginal else "the energy is unknown")
        emissions_g = None if is_marginal else grams
        return Result(
            started_at=self._start,
            ended_at=end,
            duration_s=duration_s,
            energy_j=energy_j,
            power_w=power_w(energy_j, duration_s),
            uncertainty_pct=None if unclear else uncertainty_pct(summed, self._choice.widths),
            quality=(Quality.UNKNOWN if unclear else quality_of(summed)).value,
            reason=unclear or why_unknown(summed, self.refusals),
            emissions_g=emissions_g,
            emissions_marginal_g=grams if is_marginal else None,
            emissions_reason=unknown if emissions_g is None else None,
            zone=self._intensity.zone,
            pue=self._choice.pue,
            intensity=mean_intensity(emitted) if emitted else None,
            devices=tuple(measured_device(use, duration_s, in_total=use in summed) for use in uses),
            refusals=self.refusals,
            notes=(*([self._chosen.note] if self._chosen.note else []), *notes_of(uses), *self._troubles.notes),
        )


def measure(
    *,
    meter: str | Sequence[str] = (),
    cpu_meter: str | Sequence[str] = (),
    config: str | Path | None = None,
    socket: str | None = None,
) -> Measurement:
    """Return a context manager that measures its block: `with greenrun.measure() as m: ...`, then `m.energy_j`.

    `meter` and `cpu_meter` name meters to try, in order; else those of the settings (`config`, or where they usually
    are), else whatever hardware there is. `socket` names the daemon that is asked for the intensity. Raise ConfigError
    for settings that cannot be used.
    """
    file = Path(config).expanduser() if config else None
    return Measurement(choose(file, _names(meter), _names(cpu_meter), socket))


def _names(raw: str | Sequence[str]) -> tuple[str, ...]:
    names = raw.split(",") if isinstance(raw, str) else raw
    return tuple(name.strip() for name in names if name.strip())
