"""A run's log keeps its limit however it is written to, and says what was dropped."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from greenrun.executors.local import LocalExecutor
from greenrun.executors.log_file import MARK, Log, parts
from tests.executors.bench import Bench
from tests.patience import until

CAP = 10_000


def lines(first: int, last: int) -> bytes:
    """Numbered lines of eight bytes."""
    return b"".join(b"%07d\n" % number for number in range(first, last))


def size(path: Path) -> int:
    return sum(Path(part).stat().st_size for part in parts(str(path)))


def test_a_log_is_never_larger_than_its_limit_and_keeps_whole_lines_of_its_last_half(tmp_path: Path) -> None:
    path, sizes = tmp_path / "log", []
    log = Log(str(path), CAP)
    for first in range(0, 4000, 7):
        log.write(lines(first, first + 7))
        sizes.append(size(path))
    old, new = (Path(part).read_bytes().splitlines(keepends=True) for part in parts(str(path)))
    assert max(sizes) <= CAP
    assert b"".join([*old[1:], *new[1:]]) == lines(int(old[1]), 4004)
    assert (tmp_path / "log.1").stat().st_size > CAP // 2 - 8


def test_a_part_says_what_is_before_it_and_what_was_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(str(path), CAP)
    log.write(lines(0, 700))
    first = "greenrun: this log passed half of its limit of 10000 bytes; the 5000 bytes before this line are in log.1\n"
    assert path.read_text().splitlines(keepends=True)[0] == first
    log.write(lines(700, 1300))
    told = re.fullmatch(
        r"greenrun: this log passed half of its limit of 10000 bytes; the (\d+) bytes before this line are in log.1, "
        r"and 5000 bytes before those were dropped",
        path.read_text().splitlines()[0],
    )
    assert told
    assert int(told[1]) == (tmp_path / "log.1").stat().st_size


@pytest.mark.parametrize("data", [b"x" * 70_000, b"x" * 4999 + b"\n" + b"y" * 30_000, lines(0, 9000)])
@pytest.mark.parametrize("cap", [1, 700, CAP])
def test_lines_longer_than_a_part_and_tiny_limits_are_written_in_pieces(tmp_path: Path, data: bytes, cap: int) -> None:
    log = Log(str(tmp_path / "log"), cap)
    log.write(data)
    assert size(tmp_path / "log") <= max(cap, 1024)
    assert (tmp_path / "log").read_bytes().endswith(data[-8:])


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(lines(0, 5000))
    log = Log(str(path), CAP)
    log.write(b"new\n")
    assert (tmp_path / "log.1").read_bytes() == lines(0, 5000)
    assert path.read_bytes().endswith(b"new\n")


def test_two_runs_with_one_log_both_go_on_in_its_latest_part(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first, second = Log(str(path), CAP), Log(str(path), CAP)
    for number in range(3000):
        (first, second)[number % 2].write(lines(number, number + 1))
        assert size(path) <= CAP
    kept = b"".join(Path(part).read_bytes() for part in parts(str(path)))
    numbers = [int(line) for line in kept.splitlines() if not line.startswith(b"greenrun:")]
    assert numbers == list(range(numbers[0], 3000))


def test_a_log_that_was_moved_or_deleted_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(str(path), CAP)
    log.write(b"one\n")
    path.rename(tmp_path / "kept")
    log.write(b"two\n")
    path.unlink()
    log.write(b"three\n")
    assert ((tmp_path / "kept").read_text(), path.read_text()) == ("one\n", "three\n")


def test_a_log_whose_part_cannot_be_moved_is_emptied_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    log = Log(str(tmp_path / "log"), CAP)
    log.write(lines(0, 1000))
    text = (tmp_path / "log").read_text()
    assert text.startswith("greenrun: this log passed half of its limit of 10000 bytes; all before this line, 5000 ")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert "dropped, as it could not be kept: [Errno 13] Permission denied" in text
    assert text.endswith("0000999\n")


def test_a_disk_without_room_for_another_part_costs_no_byte_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, write = Log(str(tmp_path / "log"), CAP), os.write
    log.write(lines(0, 625))

    def full(descriptor: int, data: bytes) -> int:
        if bytes(data).startswith(MARK):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    log.write(lines(625, 626))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_bytes() == lines(0, 625)
    monkeypatch.setattr(os, "write", write)
    log.write(lines(626, 627))
    assert (tmp_path / "log.1").read_bytes().startswith(lines(0, 625))
    assert (tmp_path / "log").read_bytes().endswith(lines(626, 627))


def test_what_a_full_disk_took_is_said_once_it_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = Log(str(tmp_path / "log"), CAP), os.write

    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    log.write(b"before\n")
    monkeypatch.setattr(os, "write", full)
    log.write(b"1234")
    log.write(b"5678")
    monkeypatch.setattr(os, "write", write)
    log.write(b"after\n")
    lost = "greenrun: 8 bytes of output could not be written and are lost: [Errno 28] No space left on device"
    assert (tmp_path / "log").read_text() == f"before\n{lost}\nafter\n"


def test_what_greenrun_says_begins_a_line(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), CAP)
    log.write(b"no end of line")
    log.say("hello")
    log.say("again")
    assert (tmp_path / "log").read_text() == "no end of line\ngreenrun: hello\ngreenrun: again\n"


def test_a_part_before_is_read_only_where_the_log_says_that_it_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("of somebody else\n")
    (tmp_path / "log").write_text("mine\n")
    assert parts(str(tmp_path / "log")) == [str(tmp_path / "log")]
    assert parts(str(tmp_path / "missing")) == [str(tmp_path / "missing")]


# of real runs


FAST = "import os\nfor n in range(6000): os.write(1, b'%07d\\n' % n * 1000)\nos.write(1, b'end')"


@pytest.mark.system
@pytest.mark.parametrize("ended", [False, True])
def test_the_limit_holds_for_a_fast_writer_while_it_writes_and_when_it_has_ended(
    bench: Bench, make: Callable[..., LocalExecutor], tmp_path: Path, ended: bool
) -> None:
    bench.executor, cap = make(cap=1_000_000), 1_000_000
    tail = "" if ended else "\nopen('written', 'w').write('all'); import time; time.sleep(60)"
    run = bench.start(sys.executable, "-c", FAST + tail)
    log = tmp_path / "state" / "runs" / run.label / "log"
    if ended:
        bench.end(run)
    else:
        bench.file("written")
        until(lambda: _ends_with(log, b"end"))
    assert size(log) <= cap
    assert sorted(path.name for path in log.parent.glob("log*")) == ["log", "log.1"]
    kept = b"".join(Path(part).read_bytes() for part in parts(str(log)))
    numbers = [int(line) for line in kept.splitlines()[1:] if line[:1].isdigit()]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 5999


def _ends_with(log: Path, data: bytes) -> bool:
    """Whether the log does so; while it is put aside for its next part, it is not there."""
    with suppress(FileNotFoundError):
        return log.read_bytes().endswith(data)
    return False
