"""The sampler process and the parent that keeps it: fresh readings fast, and no hang, crash or orphan harms anyone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.core.energy.model import Mark, Quality, Reading
from greenrun.core.energy.slicing import cut
from greenrun.core.errors import MeterError
from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.engine.ports import Phase, RunStatus
from greenrun.executors.local import LocalExecutor
from greenrun.meters.sampler.sampler import POKE_LIMIT_S, Sampler
from greenrun.meters.sampler.wire import Request
from greenrun.meters.settings import EmulatedSettings, MeterSettings
from tests.patience import Watch, at_some_pace, until, watching

pytestmark = pytest.mark.system

BAD = Path(__file__).with_name("bad_sampler.py")
SLACK_S = 0.5  # beyond a limit, in seconds that the machine gives

Start = Callable[..., Sampler]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start samplers, by default of two emulated GPUs; they are closed at the end."""
    opened: list[Sampler] = []

    def begin(fault: str | None = None, **options: Any) -> Sampler:
        settings = MeterSettings(kinds=("emulated",), emulated=EmulatedSettings(gpus=2, watts_idle=60, watts_busy=350))
        request = Request(kind="emulated", settings=settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)
        command = {"command": (sys.executable, str(BAD), fault)} if fault else {}
        opened.append(Sampler(request, **command, **options))
        return opened[-1]

    yield begin
    for sampler in opened:
        sampler.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def of_first(sampler: Sampler, since: Mapping[str, datetime] | None = None) -> list[Reading]:
    device = sampler.devices()[0].id
    return [reading for reading in sampler.read(since or {}) if reading.device == device]


def test_readings_arrive_once_a_second_by_themselves(start: Start) -> None:
    sampler = start()
    with watching() as watch:
        until(lambda: watch.elapsed_s > 3.2)
        at_s = [reading.at.timestamp() for reading in of_first(sampler)[:-1]]
    late_s = watch.late_s(at_s[0], at_s[-1])
    steps_s = [after_s - before_s for before_s, after_s in pairwise(at_s)]
    assert len(steps_s) >= 2 - late_s
    assert all(0.9 - late_s < step_s < 1.0 + SLACK_S + late_s for step_s in steps_s)


def test_a_poke_brings_a_fresh_reading_at_once(start: Start) -> None:
    """Long before the sampler's own next second, and again and again."""
    sampler = start()
    until(lambda: sampler.last_sample_at)
    with watching() as watch:
        for _ in range(5):
            asked_at = utc_now()
            until(lambda asked_at=asked_at: sampler.read({})[-1].at >= asked_at)  # type: ignore[misc]
    assert watch.seconds < 1.0 + SLACK_S


def test_a_fresh_sampler_lags_by_no_more_than_its_period(start: Start) -> None:
    sampler = start()
    with watching() as watch:
        until(lambda: sampler.lag_s is not None)
        lag_s = sampler.lag_s or 0
    now_s = utc_now().timestamp()
    assert lag_s < 1.0 + SLACK_S + watch.late_s(now_s - lag_s, now_s)
    assert sampler.restarts == 0


def test_a_killed_sampler_is_replaced_and_its_counter_goes_on(start: Start) -> None:
    """The energy of the gap is in the counter, so it is bridged, and nothing of it is lost."""
    sampler = start()
    until(lambda: sampler.last_sample_at)
    before = of_first(sampler)[-1]
    os.kill(sampler.pid, signal.SIGKILL)
    until(lambda: sampler.restarts == 1)
    until(lambda: of_first(sampler, {before.device: before.at}))
    after = of_first(sampler, {before.device: before.at})[0]
    assert after.counter == before.counter
    assert after.session != before.session
    assert after.energy_j - before.energy_j == pytest.approx(60 * (after.at - before.at).total_seconds(), rel=1e-9)
    mark = Mark(
        device=before.device, at=before.at, energy_j=before.energy_j, counter=before.counter, session=before.session
    )
    slices, _ = cut(mark, [after], [], [after.at], after.at)
    assert [(piece.quality, piece.energy_j) for piece in slices] == [
        (Quality.BRIDGED, after.energy_j - before.energy_j)
    ]


def test_a_hung_sampler_delays_no_reader_beyond_the_limit(start: Start) -> None:
    """The first reader after it hangs waits for the limit, the next ones not at all."""
    sampler = start("hang", silence_limit_s=30)
    until(lambda: sampler.last_sample_at)
    until(lambda: (sampler.lag_s or 0) > 0.3)
    with watching() as watch:
        waits_s = [time_to_read(sampler, watch) for _ in range(5)]
    assert waits_s[0] < POKE_LIMIT_S + SLACK_S
    assert sum(waits_s[1:]) < POKE_LIMIT_S


def time_to_read(sampler: Sampler, watch: Watch) -> float:
    """Return how many seconds a reader had to wait."""
    before_s = watch.look()
    assert len(sampler.read({})) == 1
    return watch.look() - before_s


def test_a_silent_sampler_is_replaced(start: Start) -> None:
    sampler = start("hang", silence_limit_s=0.5)
    first = sampler.pid
    until(lambda: sampler.restarts >= 1)
    assert not is_running(first)
    assert len(sampler.read({})) >= 1


def test_a_sampler_that_says_that_it_is_of_no_more_use_is_replaced(start: Start) -> None:
    sampler = start("end", silence_limit_s=30)
    until(lambda: sampler.restarts >= 1)
    until(lambda: len(sampler.read({})) >= 2)


def test_troubles_add_up_over_samplers(start: Start) -> None:
    """Each process counts from 0 on; what the ones before it counted is not forgotten."""
    sampler = start("trouble", silence_limit_s=30)
    until(lambda: trouble_of(sampler) >= 3)
    before = trouble_of(sampler)
    os.kill(sampler.pid, signal.SIGKILL)
    until(lambda: sampler.restarts == 1)
    assert trouble_of(sampler) >= before
    until(lambda: trouble_of(sampler) >= before + 3)


def trouble_of(sampler: Sampler) -> int:
    (health,) = sampler.health().devices
    return health.troubles["silly"]


def test_no_readings_is_no_silence(start: Start) -> None:
    """A sampler that says that it cannot read is alive: replacing it would not help."""

    def is_kept(pace: float) -> None:  # on a busy machine a process is heard late
        for fault in ("trouble", "unsure"):
            sampler = start(fault, silence_limit_s=0.5 * pace)
            until(lambda sampler=sampler: (sampler.lag_s or 0) > 1.0 * pace)  # type: ignore[misc]
            assert sampler.restarts == 0

    at_some_pace(is_kept)


@pytest.mark.parametrize("fault", ["silence", "nonsense", "death"])
def test_a_process_that_gives_no_hello_is_refused_in_time(start: Start, fault: str) -> None:
    with watching() as watch, pytest.raises(MeterError, match="gave no account of its devices"):
        start(fault, hello_limit_s=1.0)
    assert watch.seconds < 1.0 + 2 * SLACK_S


def test_closing_ends_the_process(start: Start) -> None:
    sampler = start()
    pid = sampler.pid
    sampler.close()
    sampler.close()
    assert not is_running(pid)


def test_closing_ends_a_process_that_does_not_answer(start: Start) -> None:
    sampler = start(silence_limit_s=60)
    os.kill(sampler.pid, signal.SIGSTOP)
    with watching() as watch:
        sampler.close()
    assert watch.seconds < 2.0 + SLACK_S
    assert not is_running(sampler.pid)


@pytest.mark.parametrize("fault", ["none", "hang"])
def test_a_sampler_never_outlives_its_parent(tmp_path: Path, fault: str) -> None:
    """Also when the parent is killed, and also when the meter hangs."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(BAD), fault, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    until(lambda: not is_running(pid), limit_s=2.0 + SLACK_S)


PARENT = """
import sys, threading
from pathlib import Path
from greenrun.meters.sampler.sampler import Sampler
from greenrun.meters.settings import MeterSettings
from greenrun.meters.sampler.wire import Request
bad, fault, folder = sys.argv[1:]
request = Request(kind="", settings=MeterSettings(kinds=()), runs_dir=Path(folder), state_dir=Path(folder))
sampler = Sampler(request, command=(sys.executable, bad, fault))
while sampler.last_sample_at is None or (fault == "hang" and sampler.lag_s < 0.3):
    threading.Event().wait(0.02)
print(sampler.pid, flush=True)
threading.Event().wait(60)
"""


def test_the_sampler_loads_nothing_heavy() -> None:
    """It runs all the time beside every daemon: no numpy, pydantic, SQL or HTTP in it."""
    code = "import sys, json, greenrun.meters.sampler.process; print(json.dumps(sorted(sys.modules)))"
    found = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"numpy", "pydantic", "sqlmodel", "sqlalchemy", "structlog", "httpx", "fastapi", "ssl", "asyncio"}
    assert heavy & set(found) == set()


def test_a_real_run_uses_exactly_its_watts_between_its_recorded_start_and_end(start: Start, tmp_path: Path) -> None:
    """The supervisor's own records are the truth; the counter has a reading at both."""
    sampler = start()
    until(lambda: sampler.last_sample_at)
    status = execute(tmp_path, sampler.devices()[0].id, seconds=1.3)
    assert status.started_at is not None
    assert status.ended_at is not None
    until(lambda: of_first(sampler)[-1].at > status.ended_at)
    energies = {reading.at: reading.energy_j for reading in of_first(sampler)}
    held_s = (status.ended_at - status.started_at).total_seconds()
    assert held_s > 1.3
    assert energies[status.ended_at] - energies[status.started_at] == pytest.approx(350 * held_s, rel=1e-9)


def execute(folder: Path, device: str, *, seconds: float) -> RunStatus:
    """Run a command beside a real supervisor, to its end; return how it ended."""
    spec = JobSpec(command=("sleep", str(seconds)), workdir="/", duration=timedelta(seconds=seconds))
    job = Job(id=1, spec=spec, user="tester", uid=os.getuid(), state=State.STARTING, submitted_at=utc_now())
    run = Run(id=1, job_id=1, number=1, token="token", devices=(device,), claimed_at=utc_now())
    executor = LocalExecutor(runs_dir=folder / "runs", locks_dir=folder / "locks")
    try:
        executor.start(run, job)
        until(lambda: executor.poll(run).phase is Phase.EXITED)
        return executor.poll(run)
    finally:
        executor.close()
