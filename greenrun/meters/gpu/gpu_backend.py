"""Meter GPUs through their driver: one accumulator per board, continued from the last process's state.

Runs only in the sampler process. Boards are identified by UUID, never by index; of a board split by MIG
it alone is read. The driver is NVIDIA's, or another with the same interface (`driver.py`).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from time import monotonic
from uuid import uuid4

from greenrun.clock import boot_s, utc_now
from greenrun.core.energy.gpu_parts import instances_of
from greenrun.core.energy.model import Device, GpuUse, Quality, Reading, Telemetry, worst
from greenrun.core.errors import MeterEnded, MeterError
from greenrun.core.formatting import duration_text
from greenrun.meters.counter_state import CounterFile, CounterState, new_state
from greenrun.meters.gpu import nvidia
from greenrun.meters.gpu.accumulator import GAP_S, Accumulator, Sample
from greenrun.meters.gpu.driver import Driver, Gpu
from greenrun.meters.host import boot_id

FAST_S, JITTER_S = 0.09, 0.02  # between two readings of a board without a counter: jitter avoids aliasing with its load
LOOK_S = 0.9  # minimum between two readings of a board's telemetry
USES_S = 5.0  # minimum between two questions for the processes on a board, which keep a driver busy for a moment
SILENT_S = 5.0  # a board that was read before, and is not for longer, is lost
GIVE_UP_S = 10.0  # after so long without any readable board, a new process reopens the driver


@dataclass(slots=True, kw_only=True)
class _Board:
    """A board, its accumulated energy, and the state that this started from."""

    gpu: Gpu
    accumulator: Accumulator
    start: CounterState | None = None
    at: datetime | None = None
    energy_j: float = 0.0
    counted: CounterState | None = None  # the state at the last accepted counter value
    qualities: list[Quality] = field(default_factory=list)  # of every step since the last reading
    power_w: float | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    looked_at_s: float | None = None
    advanced_at_s: float | None = None  # when it was last read
    is_news: bool = False  # whether this telemetry was not returned yet
    used: list[float] = field(default_factory=list)  # the sampled utilisation since the last reading
    reported_at_s: float | None = None

    @property
    def state(self) -> CounterState | None:
        return self.counted and replace(self.counted, least_j=self.told_j)

    @property
    def told_j(self) -> float:
        return self.energy_j + (self.start.told_j if self.start else 0.0)


class GpuBackend:
    """Reads every board once per sample. Those without a counter also need `integrate` ten times a second."""

    def __init__(
        self,
        choose: Callable[[Sequence[Device]], list[Device]],
        state_dir: Path,
        *,
        driver: Driver = nvidia,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = monotonic,
        boot_clock: Callable[[], float] = boot_s,
    ) -> None:
        """Open the driver; raise MeterError if it cannot be used, or what `choose` raises.

        `clock` returns the seconds over which power is integrated, `boot_clock` those since the machine was started.
        """
        self._driver, self._now, self._clock, self._boot_clock = driver, now, clock, boot_clock
        self._session, self._boot = uuid4().hex, boot_id()
        self._file = CounterFile(state_dir, driver.KIND, driver.open_driver())
        self._kept = self._file.load()
        there, self._lost = _boards(driver)
        wanted = {device.id for device in choose([board.gpu.device for board in there])}
        self._boards = [board for board in there if board.gpu.device.id in wanted]
        self._read_at_s = clock()
        self._asked_at_s: float | None = None  # for who uses the boards
        self._turn = threading.Lock()
        self._keeps_integrating = False
        self._integrator: threading.Thread | None = None
        self.devices = tuple(device for board in self._boards for device in _offered(board.gpu))

    def sample(self) -> Sequence[Reading]:
        """Return a reading of each readable board; raise MeterError if there is none, MeterEnded after GIVE_UP_S."""
        with self._turn:
            read = [board for board in self._boards if self._advance(board)]
            for board in read:
                self._look(board)
            readings = [self._reading(board) for board in read]
            self._keep()
        self._integrate_where_needed()  # a counter may be stuck by now
        self._end_if_useless(bool(readings))
        return readings

    def integrate(self) -> None:
        """Sample the boards that have no counter, or a stuck one."""
        with self._turn:
            for board in self._uncounted():
                self._advance(board)

    def keep_integrating(self) -> None:
        """Integrate at jittered intervals in a separate thread, as soon as a board needs it."""
        self._keeps_integrating = True
        self._integrate_where_needed()

    def _integrate_where_needed(self) -> None:
        if self._keeps_integrating and self._integrator is None and self._uncounted():
            self._integrator = threading.Thread(target=self._integrate_for_ever, name="integrate", daemon=True)
            self._integrator.start()

    def _uncounted(self) -> list[_Board]:
        return [board for board in self._boards if not board.gpu.counts or board.accumulator.is_stuck]

    def troubles(self) -> Mapping[str, Mapping[str, int]]:
        """Return each device's reading errors so far: their number by cause."""
        return {
            board.gpu.device.id: {cause.value: count for cause, count in board.accumulator.troubles.items()}
            for board in self._boards
        }

    def gpu_uses(self, *, is_urgent: bool) -> Mapping[str, GpuUse]:
        """Return who uses each board, at most every USES_S unless it `is_urgent`, and which boards are lost."""
        now_s = self._clock()
        if not is_urgent and self._asked_at_s is not None and now_s - self._asked_at_s < USES_S:
            return {}
        self._asked_at_s = now_s
        with self._turn:
            uses = {board.gpu.device.id: self._use(board) for board in self._boards}
            return uses | {
                part.id: board.gpu.part_use(part, self._now())
                for board in self._boards
                for part in board.gpu.parts or ()
            }

    def _use(self, board: _Board) -> GpuUse:
        processes = () if board.gpu.parts else board.gpu.processes()  # what runs there runs on its parts
        is_silent = board.advanced_at_s is not None and self._clock() - board.advanced_at_s > SILENT_S
        fault = board.gpu.fault or (
            f"{self._driver.MAKER}'s driver tells nothing of it any more" if is_silent else None
        )
        return GpuUse(at=self._now(), processes=processes, fault=fault)

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return the boards' telemetry that is new since the last call, at most once a second."""
        news = [board for board in self._boards if board.is_news]
        for board in news:
            board.is_news = False
        return {board.gpu.device.id: board.telemetry for board in news}

    def _look(self, board: _Board) -> None:
        now_s = self._clock()
        if board.looked_at_s is not None and now_s - board.looked_at_s < LOOK_S:
            return
        board.telemetry, board.looked_at_s, board.is_news = board.gpu.telemetry(board.power_w), now_s, True
        board.used += [] if board.telemetry.utilization is None else [board.telemetry.utilization]

    def _advance(self, board: _Board) -> bool:
        """Sample a board; return whether it returned any usable value."""
        counter_j = board.gpu.counter_j()
        # The time of the counter, however long reading the power takes
        at, at_s, since_boot_s = self._now(), self._clock(), self._boot_clock()
        board.power_w = board.gpu.power_w()
        sample = Sample(at_s, counter_j, board.power_w)
        total = board.accumulator.add(sample)
        if total is None:
            return False
        board.advanced_at_s = at_s
        board.start = board.start or self._start(board, counter_j, since_boot_s)
        board.at, board.energy_j = at, total.energy_j
        board.qualities.append(total.quality)
        counted = board.accumulator.counted
        if counted and counted[0].at_s == at_s:
            told_j = board.start.told_j + counted[1]
            board.counted = replace(board.start, told_j=told_j, raw_j=counter_j, at_s=since_boot_s)
        return True

    def _start(self, board: _Board, counter_j: float | None, at_s: float) -> CounterState:
        """Continue from the last process's state if the counter allows it; else start a new base."""
        kept = self._kept.get(board.gpu.device.id)
        known = kept and kept.after(counter_j, at_s, board.gpu.limit_w)
        return known or new_state(counter_j, at_s)

    def _reading(self, board: _Board) -> Reading:
        assert board.start is not None
        assert board.at is not None
        quality, board.qualities = worst(board.qualities), []
        return Reading(
            device=board.gpu.device.id,
            at=board.at,
            energy_j=board.told_j,
            quality=quality,
            counter=f"{self._boot}/{self._driver.KIND}/{board.start.base}",
            session=self._session,
            utilization=self._utilization(board),
        )

    def _utilization(self, board: _Board) -> float | None:
        """Return the mean since the last reading; None after a gap, since the driver's value covers only a second."""
        now_s, before_s = self._clock(), board.reported_at_s
        used, board.used, board.reported_at_s = board.used, [], now_s
        if before_s is None or now_s - before_s > GAP_S:
            return None
        return sum(used) / len(used) if used else board.telemetry.utilization

    def _keep(self) -> None:
        now = {board.gpu.device.id: board.state for board in self._boards}
        self._kept |= {device: state for device, state in now.items() if state}
        self._file.save(self._kept)

    def _end_if_useless(self, has_readings: bool) -> None:
        if has_readings:
            self._read_at_s = self._clock()
        silent_s = self._clock() - self._read_at_s
        if silent_s > GIVE_UP_S:
            raise MeterEnded(f"No GPU could be read for {duration_text(silent_s)}, so the driver is opened anew.")
        if not has_readings:
            raise MeterError(f"None of the {len(self._boards)} GPUs can be read; is the driver being reloaded?")
        if any(self._driver.board_at(index) for index in self._lost):
            raise MeterEnded("A GPU that was lost is back, so the driver is opened anew.")

    def _integrate_for_ever(self) -> None:
        random, rest = Random(), threading.Event()
        while not rest.wait(FAST_S + random.uniform(-JITTER_S, JITTER_S)):
            self.integrate()


def _offered(gpu: Gpu) -> list[Device]:
    """Return a board and its parts, where it has some to be leased."""
    return [gpu.device] if gpu.parts is None else instances_of(gpu.device, gpu.parts)


def _boards(driver: Driver) -> tuple[list[_Board], list[int]]:
    """Return the boards that can be read, and the indices of those that cannot."""
    there = {index: driver.board_at(index) for index in range(driver.board_count())}
    found = [_Board(gpu=one, accumulator=Accumulator(one.limit_w)) for one in there.values() if one]
    if not found:
        whose = f"{driver.MAKER}'s driver"
        what = f"None of the {len(there)} GPUs of {whose} can be read" if there else f"{whose} has no GPU"
        raise MeterError(f"{what}; see what {driver.SMI} says, or choose another meter.")
    return found, [index for index, one in there.items() if one is None]
