"""A run's part of the CPU is what its processes used of what the host did; whatever came and went, it never shrinks."""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.meters.cpu.cpu_time import CpuClock, CpuTimes, cgroup_seconds, shares
from greenrun.meters.cpu.process_tree import LOOK_AT_ALL_EVERY, Trees, Used
from greenrun.meters.host import boot_id
from greenrun.meters.run_folders import Process
from greenrun.procfs import ProcessStat
from tests.sampling import examples

T0 = datetime(2026, 3, 2, tzinfo=UTC)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
INIT = 1


def process(*, parent: int, start_ticks: int, own: int, reaped: int) -> ProcessStat:
    return ProcessStat(
        state="S", parent=parent, group=0, session=0, own_ticks=own, reaped_ticks=reaped, start_ticks=start_ticks
    )


class Kernel:
    """A /proc with a folder of runs, made by hand: processes use CPU, are waited for or not, and go."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.runs, self.cgroups = folder / "proc", folder / "runs", folder / "cgroup"
        for path in (self.proc, self.runs, self.cgroups):
            path.mkdir()
        self.processes: dict[int, ProcessStat] = {}
        self.busy = 0
        self.write_host()
        self.add(INIT, 0)
        self.clock = CpuClock(self.runs, self.proc, self.cgroups)

    def add(self, pid: int, parent: int, start_ticks: int = 7) -> None:
        self.write(pid, process(parent=parent, start_ticks=start_ticks, own=0, reaped=0))

    def write(self, pid: int, stat: ProcessStat) -> None:
        self.processes[pid] = stat
        fields = ["0"] * 52
        fields[0], fields[1], fields[19] = "S", str(stat.parent), str(stat.start_ticks)
        fields[11], fields[12] = str(stat.own_ticks - stat.own_ticks // 3), str(stat.own_ticks // 3)
        fields[13], fields[14] = str(stat.reaped_ticks - stat.reaped_ticks // 3), str(stat.reaped_ticks // 3)
        (self.proc / str(pid)).mkdir(exist_ok=True)
        (self.proc / f"{pid}/stat").write_text(f"{pid} (a) b (c) {' '.join(fields)}\n")

    def write_host(self) -> None:
        user, system = self.busy - self.busy // 4, self.busy // 4
        (self.proc / "stat").write_text(f"cpu  {user} 0 {system} 999999 5 0 0 77 0 0\ncpu0 1 2 3\n")

    def use(self, pid: int, ticks: int) -> None:
        """Let a process use CPU."""
        stat = self.processes[pid]
        self.write(pid, stat._replace(own_ticks=stat.own_ticks + ticks))
        self.idle(-ticks)

    def idle(self, ticks: int = 0) -> None:
        """Let the host be busy with something else, or (-ticks) with what a process did."""
        self.busy += abs(ticks)
        self.write_host()

    def end(self, pid: int, *, is_reaped: bool = True, heir: int = INIT) -> None:
        """Let a process go; its children become the heir's, and its parent has waited for it or not."""
        gone = self.processes.pop(pid)
        (self.proc / f"{pid}/stat").unlink()
        (self.proc / str(pid)).rmdir()
        for child, stat in list(self.processes.items()):
            if stat.parent == pid:
                self.write(child, stat._replace(parent=heir))
        if is_reaped and gone.parent in self.processes:
            stat = self.processes[gone.parent]
            self.write(gone.parent, stat._replace(reaped_ticks=stat.reaped_ticks + gone.own_ticks + gone.reaped_ticks))

    def start(self, label: str, shim: int, start_ticks: int = 7, boot: str | None = None) -> None:
        """Start a run: its shim, and its folder."""
        if shim not in self.processes:
            self.add(shim, INIT, start_ticks)
        folder = self.runs / label
        folder.mkdir()
        record = {"boot_id": boot or boot_id(), "pid": shim, "start_ticks": start_ticks, "devices": []}
        (folder / "run.json").write_text(json.dumps(record))

    def look(self) -> CpuTimes:
        times = self.clock.look(T0)
        assert times is not None
        return times


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def part(kernel: Kernel, before: CpuTimes) -> dict[str, float]:
    return {label: round(share, 9) for label, share in shares(before, kernel.look()).items()}


def test_a_run_has_the_part_of_its_whole_tree_and_the_host_the_rest(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.start("2.1", 20)
    kernel.add(11, 10)
    kernel.add(12, 11)
    kernel.add(21, 20)
    before = kernel.look()
    for pid, ticks in ((10, 1), (11, 20), (12, 29), (21, 10)):
        kernel.use(pid, ticks)
    kernel.idle(40)
    assert part(kernel, before) == {"1.1": 0.5, "2.1": 0.1}


def test_a_run_that_did_nothing_is_told_with_nothing_and_one_that_is_over_not_at_all(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.start("2.1", 20)
    before = kernel.look()
    kernel.end(20)
    kernel.idle(50)
    assert part(kernel, before) == {"1.1": 0.0}


def test_what_came_and_went_between_two_looks_counts(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    before = kernel.look()
    kernel.add(11, 10)
    kernel.use(11, 30)
    kernel.end(11)
    kernel.idle(70)
    assert part(kernel, before) == {"1.1": 0.3}


def test_orphans_stay_in_the_tree_of_the_supervisor_that_inherits_them(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.add(11, 10)
    kernel.add(12, 11)
    kernel.look()
    kernel.end(11, heir=10)
    before = kernel.look()
    kernel.use(12, 50)
    kernel.idle(50)
    assert part(kernel, before) == {"1.1": 0.5}


def test_a_run_that_is_new_since_the_last_look_counts_from_its_beginning(kernel: Kernel) -> None:
    before = kernel.look()
    kernel.start("1.1", 10)
    kernel.use(10, 25)
    kernel.idle(75)
    assert part(kernel, before) == {"1.1": 0.25}


def test_a_supervisor_that_was_there_before_its_folder_is_found_with_its_command(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.look()
    kernel.add(20, INIT)
    kernel.add(21, 20)
    before = kernel.look()
    kernel.start("2.1", 20)
    kernel.use(21, 50)
    kernel.idle(50)
    assert part(kernel, before) == {"1.1": 0.0, "2.1": 0.5}


def test_what_runs_had_used_before_the_first_look_is_nobodys(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.use(10, 1000)
    before = kernel.look()
    kernel.idle(10)
    assert part(kernel, before) == {"1.1": 0.0}


@pytest.mark.parametrize("boot", ["another-boot", None])
def test_a_number_that_another_process_has_now_is_no_run(kernel: Kernel, boot: str | None) -> None:
    kernel.add(10, INIT, start_ticks=99)
    kernel.start("1.1", 10, start_ticks=99 if boot else 7, boot=boot)
    kernel.start("1.2", 10, start_ticks=8)
    before = kernel.look()
    kernel.use(10, 50)
    assert part(kernel, before) == {}


def test_a_supervisor_that_ended_and_was_not_reaped_yet_tells_what_its_run_used_last(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.add(11, 10)
    before = kernel.look()
    kernel.use(11, 40)
    kernel.end(11)
    kernel.idle(60)
    stat = kernel.proc / "10/stat"
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert part(kernel, before) == {"1.1": 0.4}


def test_a_host_that_did_nothing_or_does_not_tell_divides_nothing(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    before = kernel.look()
    assert part(kernel, before) == {}
    assert shares(None, before) == shares(before, None) == {}
    (kernel.proc / "stat").write_text("nothing\n")
    assert kernel.clock.look(T0) is None


def test_more_than_the_host_says_it_did_is_scaled_to_the_whole(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.start("2.1", 20)
    before = kernel.look()
    kernel.use(10, 300)
    kernel.use(20, 100)
    kernel.busy = 200
    kernel.write_host()
    assert part(kernel, before) == {"1.1": 0.75, "2.1": 0.25}


def test_a_number_used_again_by_a_process_of_a_run_is_found_in_time(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.add(50, INIT)
    kernel.look()
    kernel.add(50, 10, start_ticks=200)
    before = kernel.look()
    kernel.use(50, 100)
    for _ in range(LOOK_AT_ALL_EVERY):
        after = kernel.look()
    assert shares(before, after) == {"1.1": pytest.approx(1.0)}


def test_a_number_that_was_free_for_a_look_is_found_at_once_when_a_run_gets_it(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.add(50, INIT)
    kernel.look()
    kernel.end(50)
    before = kernel.look()
    kernel.add(50, 10, start_ticks=200)
    kernel.use(50, 100)
    assert part(kernel, before) == {"1.1": 1.0}


def test_processes_that_seem_to_be_each_others_parents_are_nobodys(kernel: Kernel) -> None:
    """As when numbers are used again while /proc is read."""
    kernel.start("1.1", 10)
    kernel.add(50, 51)
    kernel.add(51, 50)
    before = kernel.look()
    kernel.use(50, 30)
    kernel.use(10, 10)
    assert part(kernel, before) == {"1.1": 0.25}


def test_a_process_that_is_waited_for_late_is_counted_once() -> None:
    """Its parent was read before it went, and told only at the next look that it had waited for it."""
    parent, child = (
        process(parent=1, start_ticks=1, own=5, reaped=0),
        process(parent=9, start_ticks=2, own=1000, reaped=0),
    )
    used = Used({9: parent, 10: child})
    assert used.ticks({9: parent}) == 0
    assert used.ticks({9: process(parent=1, start_ticks=1, own=6, reaped=1010)}) == 1 + 10


def test_a_process_that_nobody_waits_for_hides_nothing_of_the_others() -> None:
    parent, child = (
        process(parent=1, start_ticks=1, own=5, reaped=0),
        process(parent=9, start_ticks=2, own=1000, reaped=0),
    )
    used = Used({9: parent, 10: child})
    assert used.ticks({9: process(parent=1, start_ticks=1, own=8, reaped=0)}) == 3
    assert used.ticks({9: process(parent=1, start_ticks=1, own=9, reaped=0)}) == 1
    assert used.ticks({9: process(parent=1, start_ticks=1, own=9, reaped=40)}) == 40


def test_a_process_whose_number_another_of_its_run_took_over_is_counted_once() -> None:
    shim, child = (
        process(parent=1, start_ticks=1, own=5, reaped=0),
        process(parent=9, start_ticks=2, own=1000, reaped=0),
    )
    used = Used({9: shim, 10: child})
    later = {9: shim._replace(reaped_ticks=1003), 10: process(parent=9, start_ticks=50, own=4, reaped=0)}
    assert used.ticks(later) == 3 + 4


ACTS = st.lists(
    st.tuples(st.sampled_from(["fork", "use", "end", "look", "other"]), st.integers(0, 30), st.integers(0, 50)),
    max_size=40,
)


@examples(60)
@given(acts=ACTS)
def test_every_tick_of_a_tree_is_counted_once_whatever_comes_and_goes(acts: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        kernel, pids, true, label = Kernel(Path(folder)), [10, 20], {"1.1": 0, "2.1": 0}, {10: "1.1", 20: "2.1"}
        kernel.start("1.1", 10)
        kernel.start("2.1", 20)
        first = kernel.look()
        for act, which, ticks in acts:
            pid = pids[which % len(pids)]
            if act == "fork":
                new = 100 + len(label)
                kernel.add(new, pid, start_ticks=new)
                pids.append(new)
                label[new] = label[pid]
            elif act == "use":
                kernel.use(pid, ticks)
                true[label[pid]] += ticks
            elif act == "end" and pid not in (10, 20):
                kernel.end(pid, heir=10 if label[pid] == "1.1" else 20)
                pids.remove(pid)
            elif act == "look":
                kernel.look()
            else:
                kernel.idle(ticks)
        last = kernel.look()
        found = {name: round((last.runs_s[name] - first.runs_s[name]) / TICK_S) for name in true}
        assert found == true
        assert 0.0 <= sum(shares(first, last).values()) <= 1.0 + 1e-12


# --- cgroups


def member(kernel: Kernel, group: str, pids: Iterable[int], usage_us: int) -> None:
    folder = kernel.cgroups / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    (folder / "cpu.stat").write_text(f"usage_usec {usage_us}\nuser_usec 1\n")


def test_a_cgroup_that_is_the_runs_alone_tells_its_time(kernel: Kernel) -> None:
    kernel.start("1.1", 10)
    kernel.add(11, 10)
    (kernel.proc / "10/cgroup").write_text("5:cpu:/x\n0::/runs/1\n")
    member(kernel, "runs/1", [10], 1_000_000)
    member(kernel, "runs/1/below", [11], 10)
    before = kernel.look()
    member(kernel, "runs/1", [10], 1_400_000)
    kernel.idle(100)
    assert part(kernel, before) == {"1.1": 0.4}


@pytest.mark.parametrize(("own", "below"), [([10, 99], [11]), ([10], [11, 99])])
def test_a_cgroup_with_others_in_it_is_not_gone_by(kernel: Kernel, own: list[int], below: list[int]) -> None:
    kernel.start("1.1", 10)
    kernel.add(11, 10)
    kernel.add(99, INIT)
    (kernel.proc / "10/cgroup").write_text("0::/runs/1\n")
    member(kernel, "runs/1", own, 1_000_000)
    member(kernel, "runs/1/below", below, 10)
    before = kernel.look()
    kernel.use(11, 30)
    kernel.idle(70)
    member(kernel, "runs/1", own, 9_000_000)
    assert part(kernel, before) == {"1.1": 0.3}


def test_a_cgroup_that_a_part_of_the_run_has_left_is_not_gone_by(kernel: Kernel) -> None:
    """As for what systemd-run --scope starts: its time is told elsewhere, and is the run's all the same."""
    kernel.start("1.1", 10)
    kernel.add(11, 10)
    (kernel.proc / "10/cgroup").write_text("0::/runs/1\n")
    member(kernel, "runs/1", [10], 1_000_000)
    member(kernel, "scope", [11], 0)
    before = kernel.look()
    kernel.use(11, 30)
    kernel.idle(70)
    assert part(kernel, before) == {"1.1": 0.3}


@pytest.mark.parametrize("says", ["0::/\n", "0::/gone\n", "4:cpu:/runs\n", ""])
def test_without_a_cgroup_of_its_own_there_is_no_time_of_it(kernel: Kernel, says: str) -> None:
    kernel.add(10, INIT)
    (kernel.proc / "10/cgroup").write_text(says)
    tree = Trees(kernel.proc).look({"1.1": Process(10, 7)})["1.1"]
    assert cgroup_seconds(kernel.proc, kernel.cgroups, 10, tree) is None
