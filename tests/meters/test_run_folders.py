"""The load told by run folders: exactly from a command's recorded start to its recorded end, or not told yet."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.clock import both_clocks
from greenrun.meters.host import boot_id
from greenrun.meters.run_folders import RunFolders, RunSpan, record_of

T0 = datetime(2024, 1, 1, tzinfo=UTC)
SHIM, COMMAND = 4242, 4243


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


class Host:
    """A folder of runs and a process table, both made by hand."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.proc = folder / "runs", folder / "proc"
        self.runs.mkdir()
        self.proc.mkdir()
        self.load = RunFolders(self.runs, self.proc)

    def write(self, run: str, name: str, **facts: object) -> None:
        """Write a record as the shim does: padded, and renamed into place."""
        (self.runs / run).mkdir(exist_ok=True)
        new = self.runs / run / f"{name}.new"
        new.write_text(json.dumps({"version": 1} | facts).ljust(4096))
        new.rename(self.runs / run / name)

    def place(self, run: str = "1.1", devices: tuple[str, ...] = ("A",), boot: str | None = None) -> None:
        boot = boot or boot_id()
        self.write(run, "run.json", token="t", devices=devices, boot_id=boot, pid=SHIM, start_ticks=7)

    def start(self, second: float, run: str = "1.1") -> None:
        self.write(run, "started.json", pid=COMMAND, start_ticks=8, started_at=at(second).timestamp())

    def end(self, started: float | None, ended: float, run: str = "1.1") -> None:
        start = None if started is None else at(started).timestamp()
        self.write(run, "exit.json", started_at=start, ended_at=at(ended).timestamp(), exit_code=0)

    def process(self, pid: int, start_ticks: int, *, state: str = "S", children: str | None = "") -> None:
        folder = self.proc / str(pid) / "task" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        stat = f"{pid} (a ) name) {state} " + "0 " * 18 + f"{start_ticks} 0 0"
        (self.proc / str(pid) / "stat").write_text(stat)
        if children is not None:
            (folder / "children").write_text(children)

    def kill(self, pid: int) -> None:
        (self.proc / str(pid) / "stat").unlink()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_no_folder_is_no_load(tmp_path: Path) -> None:
    assert RunFolders(tmp_path / "missing")(T0) == {}


def test_a_run_loads_all_its_devices_from_its_start(host: Host) -> None:
    host.process(SHIM, 7, children="4243 ")
    host.place(devices=("A", "B"))
    host.start(1.5)
    assert host.load(at(2)) == {"A": [RunSpan(at(1.5), None)], "B": [RunSpan(at(1.5), None)]}


def test_a_run_loads_its_devices_until_its_end_and_is_told_of_once(host: Host) -> None:
    host.place()
    host.start(1)
    host.end(1, 4)
    assert host.load(at(5)) == {"A": [RunSpan(at(1), at(4))]}
    assert host.load(at(6)) == {}


def test_an_end_after_the_instant_asked_for_is_told_of_again(host: Host) -> None:
    """The record was written between the asker's look at the clock and the look at the folder."""
    host.place()
    host.end(1, 4)
    spans = {"A": [RunSpan(at(1), at(4))]}
    assert [host.load(at(3)), host.load(at(5)), host.load(at(6))] == [spans, spans, {}]


def test_a_start_on_its_way_to_the_disk_is_waited_for(host: Host) -> None:
    host.process(SHIM, 7, children="4243 ")
    host.place()
    assert host.load(at(2)) is None
    host.start(1.9)
    assert host.load(at(2.1)) == {"A": [RunSpan(at(1.9), None)]}


def test_an_end_on_its_way_to_the_disk_is_waited_for(host: Host) -> None:
    host.process(SHIM, 7, children="")
    host.place()
    host.start(1)
    assert host.load(at(3)) is None
    host.end(1, 2.9)
    assert host.load(at(3.1)) == {"A": [RunSpan(at(1), at(2.9))]}


def test_waiting_for_a_start_has_a_limit(host: Host) -> None:
    """A supervisor that hangs before its command holds up no other device's readings for long."""
    host.process(SHIM, 7)
    host.place()
    assert [host.load(at(0)), host.load(at(1.9)), host.load(at(2))] == [None, None, {}]
    host.process(SHIM, 7, children="4243 ")
    host.start(3)
    assert host.load(at(4)) == {"A": [RunSpan(at(3), None)]}


def test_waiting_for_an_end_has_a_limit(host: Host) -> None:
    """A supervisor that cannot write its record does not keep its GPU busy."""
    host.process(SHIM, 7, children="")
    host.place()
    host.start(1)
    assert [host.load(at(3)), host.load(at(4)), host.load(at(5))] == [None, None, {"A": [RunSpan(at(1), at(3))]}]
    assert host.load(at(6)) == {}


def test_what_a_killed_supervisor_left_running_loads_its_device_until_it_is_gone(host: Host) -> None:
    host.place()
    host.start(1)
    host.process(COMMAND, 8)
    assert host.load(at(60)) == {"A": [RunSpan(at(1), None)]}
    host.kill(COMMAND)
    assert [host.load(at(61)), host.load(at(63))] == [None, {"A": [RunSpan(at(1), at(61))]}]


def test_a_process_number_that_was_used_again_is_not_the_run(host: Host) -> None:
    host.place()
    host.start(1)
    host.process(SHIM, 99, children="5 ")
    host.process(COMMAND, 98)
    assert [host.load(at(3)), host.load(at(5)), host.load(at(6))] == [None, {"A": [RunSpan(at(1), at(3))]}, {}]


def test_a_kernel_that_tells_no_children_is_believed_while_the_supervisor_lives(host: Host) -> None:
    host.process(SHIM, 7, children=None)
    host.place()
    host.start(1)
    assert host.load(at(3)) == {"A": [RunSpan(at(1), None)]}


def test_a_command_that_could_not_be_executed_loads_nothing(host: Host) -> None:
    host.place()
    host.start(1)
    host.end(None, 1.1)
    assert host.load(at(2)) == {}


def test_what_is_no_run_of_this_boot_with_devices_is_passed_over(host: Host) -> None:
    host.place("1.1", devices=())
    host.place("2.1", boot="another boot")
    host.place(".tmp-token-7")
    host.write("3.1", "barred.json", token="t")
    (host.runs / "4.1").mkdir()
    (host.runs / "5.1").mkdir()
    (host.runs / "5.1" / "run.json").write_text("{half")
    (host.runs / "a file").touch()
    assert host.load(at(2)) == {}


def test_a_folder_that_vanished_loads_nothing(host: Host) -> None:
    host.process(SHIM, 7, children="4243 ")
    host.place()
    host.start(1)
    host.load(at(2))
    for path in (host.runs / "1.1").iterdir():
        path.unlink()
    (host.runs / "1.1").rmdir()
    host.kill(SHIM)
    assert [host.load(at(3)), host.load(at(5)), host.load(at(6))] == [None, {"A": [RunSpan(at(1), at(3))]}, {}]


def test_a_run_in_the_same_step_of_the_file_systems_clock_as_the_last_look_is_seen(host: Host) -> None:
    """The folder's time of change alone would not tell that there is something new."""
    stamp = at(0).timestamp()
    host.place("1.1")
    host.end(0, 0.01)
    os.utime(host.runs, (stamp, stamp))
    host.load(at(0.02))
    host.place("2.1", devices=("B",))
    host.end(0.03, 0.04, "2.1")
    os.utime(host.runs, (stamp, stamp))
    assert host.load(at(0.05)) == {"B": [RunSpan(at(0.03), at(0.04))]}


def test_a_quiet_folder_is_not_listed_again(host: Host) -> None:
    """Thousands of old run folders cost nothing a second."""
    stamp = at(0).timestamp()
    os.utime(host.runs, (stamp, stamp))
    host.load(at(5))
    host.place("1.1")
    host.end(0, 9)
    os.utime(host.runs, (stamp, stamp))
    assert host.load(at(10)) == {}


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "nested"])
def test_what_a_run_put_in_the_place_of_a_record_is_neither_waited_for_nor_followed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "other.json").write_text('{"pid": 1}')
    place = tmp_path / "run.json"
    {
        "pipe": lambda: os.mkfifo(place),
        "link": lambda: place.symlink_to(tmp_path / "other.json"),
        "folder": place.mkdir,
        "nested": lambda: place.write_text("[" * 100_000),
    }[kind]()
    assert record_of(place) == {}


# --- a clock that is set


@pytest.mark.parametrize("step", [timedelta(hours=5), timedelta(hours=-5), timedelta(seconds=-3)])
def test_a_run_that_is_at_work_is_so_however_the_clock_is_set(host: Host, step: timedelta) -> None:
    host.process(SHIM, 7, children="4243 ")
    host.place()
    host.start(1)
    assert host.load(at(2)) == {"A": [RunSpan(at(1), None)]}
    told = host.load(at(2) + step)
    assert told is not None
    (span,) = told["A"]
    assert (span.start < at(2) + step, span.end) == (True, None)


@pytest.mark.parametrize("step", [timedelta(hours=5), timedelta(hours=-5)])
def test_a_run_seen_at_work_did_not_end_before_that_nor_after_it_was_seen_to_have_ended(
    host: Host, step: timedelta
) -> None:
    """Its end was written down by a clock that is not this one, or was set since; it is told of once all the same."""
    host.process(SHIM, 7, children="4243 ")
    host.place()
    host.start(1)
    host.load(at(2) + step)
    host.end(1, 3)
    told = host.load(at(3) + step)
    assert told is not None
    assert [span.end for span in told["A"]] == [at(3) + step]
    assert host.load(at(4) + step) == {}


def test_a_record_is_not_waited_for_longer_because_the_clock_was_set_back(host: Host) -> None:
    host.process(SHIM, 7)
    host.place()
    assert host.load(at(3600)) is None
    assert host.load(at(0)) is None
    assert host.load(at(2)) == {}


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_run_whose_supervisor_has_another_clock_loads_its_devices_for_as_long_as_it_ran(
    host: Host, hours: int
) -> None:
    now, now_s = both_clocks()
    off_s, start_s, end_s = hours * 3600, now_s - 30, now_s - 20
    host.place()
    wall_s = now.timestamp() - 30 + off_s
    host.write(
        "1.1", "exit.json", started_at=wall_s, started_s=start_s, ended_at=wall_s + 10, ended_s=end_s, exit_code=0
    )
    ((span,),) = (host.load(now) or {}).values()
    assert span.end is not None
    assert abs(span.start - (now - timedelta(seconds=30))) < timedelta(seconds=1)
    assert abs(span.end - (now - timedelta(seconds=20))) < timedelta(seconds=1)
