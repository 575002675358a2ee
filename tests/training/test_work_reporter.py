"""What a training program says of its work: cheap, quiet outside greenrun, whole in its file, and never in the way."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from timeit import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenrun
from greenrun import training
from greenrun.executors.progress_file import MOST_BYTES, work_of
from greenrun.executors.run_folder import PROGRESS
from greenrun.training import work_reporter
from tests.patience import HANGS_S

LOOP = "from greenrun.training import report\nfor done in range(1, 2001): report(samples=done * 32)\n"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that this process is to write, as in a run."""
    monkeypatch.setenv(work_reporter.VARIABLE, str(tmp_path / PROGRESS))
    work_reporter._reset_in_child()
    yield tmp_path / PROGRESS
    work_reporter._reset_in_child()


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=HANGS_S, check=False
    )


# the caller's side


def test_outside_greenrun_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(work_reporter.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    training.report(samples=1)
    assert list(tmp_path.iterdir()) == []


def test_the_first_word_is_written_at_once_and_later_ones_at_most_once_a_second(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(work_reporter.time, "monotonic", lambda: now)
    seen = []
    for step in range(31):
        now = 100.0 + step / 10
        training.report(samples=step)
        seen.append(json.loads(told.read_text())["work"])
    assert sorted(set(seen)) == [0.0, 10.0, 20.0, 30.0]


def test_the_last_word_of_a_program_is_written_when_it_ends(tmp_path: Path) -> None:
    done = run_python(LOOP, GREENRUN_PROGRESS=str(tmp_path / PROGRESS))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / PROGRESS).read_text()) == {"work": 64000.0, "unit": "samples"}
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]


@pytest.mark.parametrize("work", [None, "many", object(), float("nan"), 10**400, [1]])
def test_whatever_is_reported_and_wherever_to_it_never_raises(told: Path, work: object) -> None:
    training.report(samples=work, unit=work)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["/proc/nowhere/progress", "", "/"])
def test_a_file_that_cannot_be_written_disturbs_nobody(where: str) -> None:
    done = run_python(LOOP, GREENRUN_PROGRESS=where)
    assert (done.returncode, done.stderr) == (0, "")


def test_many_threads_leave_a_whole_file_and_the_last_word(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_reporter, "EVERY_S", 0.0)
    start, over = threading.Barrier(9), threading.Event()
    broken = []

    def work(first: int) -> None:
        start.wait()
        for step in range(200):
            training.report(samples=first + step)

    def read() -> None:
        start.wait()
        while not over.is_set():
            if told.exists():
                broken.extend([] if "work" in work_of(told.parent) else [told.read_text()])

    threads = [threading.Thread(target=work, args=(index * 200,)) for index in range(8)]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    reader.join()
    training.report(samples=1e6)
    assert (broken, work_of(told.parent)["work"]) == ([], 1e6)


def test_a_forked_child_says_nothing_for_its_parent_and_can_speak_for_itself(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom greenrun import training\nfrom greenrun.training import work_reporter\n"
        "training.report(samples=1)\ntraining.report(samples=2)\n"  # the second waits to be written
        "work_reporter._reporter._writing.acquire()\n"  # as another thread may hold it while this one forks
        "child = os.fork()\n"
        "if child == 0:\n    training.report(samples=7, unit='child'); sys.exit(0)\n"
        "os.waitpid(child, 0)\nprint(open(os.environ['GREENRUN_PROGRESS']).read())\n"
        "work_reporter._reporter._writing.release()\n"
    )
    done = run_python(code, GREENRUN_PROGRESS=str(tmp_path / PROGRESS))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"work": 7.0, "unit": "child"}
    assert json.loads((tmp_path / PROGRESS).read_text()) == {"work": 2.0, "unit": "samples"}


def test_it_needs_nothing_but_the_standard_library_and_is_quick(told: Path) -> None:
    code = "import sys, greenrun.training\nprint(sorted(n for n in sys.modules if n.startswith('greenrun')))"
    alone = subprocess.run(
        [sys.executable, "-S", "-c", code],  # without the packages that are installed
        env={"PYTHONPATH": str(Path(greenrun.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=True,
    )
    assert alone.stdout.strip() == (
        "['greenrun', 'greenrun.training', 'greenrun.training.checkpoint_request', 'greenrun.training.work_reporter']"
    )
    calls = 20_000
    each_us = min(timeit(lambda: training.report(samples=1), number=calls) for _ in range(5)) / calls * 1e6
    assert each_us < 20  # it takes one or two; the bound leaves room for a busy machine


# the reader's side: the file may be anybody's


def read(folder: Path, said: bytes) -> dict[str, object]:
    """What is made of a file with this in it."""
    (folder / PROGRESS).write_bytes(said)
    return work_of(folder)


@pytest.mark.parametrize(
    ("said", "work", "unit"),
    [
        (b'{"work": 12000, "unit": "samples"}\n', 12000.0, "samples"),
        (b"12000", 12000.0, "units"),
        (b" 0.5 \n", 0.5, "units"),
        (b'{"work": 3}', 3.0, "units"),
        ('{"work": 1e6, "unit": "größe"}'.encode(), 1e6, "größe"),
    ],
)
def test_a_line_of_json_or_a_bare_number_is_understood(tmp_path: Path, said: bytes, work: float, unit: str) -> None:
    found = read(tmp_path, said)
    assert (found["work"], found["work_unit"]) == (work, unit)
    written_at = datetime.fromtimestamp((tmp_path / PROGRESS).stat().st_mtime, UTC)
    assert found["work_at"] == written_at


@pytest.mark.parametrize(
    "said",
    [
        b" ", b"many", b"-1", b"NaN", b"Infinity", b"1e999", b"1e19", b"true", b"null", b"[1]", b'{"unit": "x"}',
        b'{"work": "12"}', b'{"work": 1, "unit": 3}', b'{"work": 1, "unit": ""}', b'{"work": 1, "unit": "a\\nb"}',
        b"\xff\xfe", b"9" * MOST_BYTES, b"1" + b" " * MOST_BYTES, b"[" * MOST_BYTES,
        b'{"work": 1, "unit": "' + b"x" * 40 + b'"}',
    ],
)  # fmt: skip
def test_garbage_is_said_to_be_garbage(tmp_path: Path, said: bytes) -> None:
    assert list(read(tmp_path, said)) == ["work_fault"]


def test_a_file_that_a_shell_has_only_just_emptied_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, b"") == {}


@given(st.binary(max_size=2 * MOST_BYTES))
def test_no_content_whatever_raises_or_passes_for_an_absurd_number(
    tmp_path_factory: pytest.TempPathFactory, said: bytes
) -> None:
    found = read(tmp_path_factory.mktemp("any"), said)
    assert set(found) in ({"work_fault"}, {"work", "work_unit", "work_at"}, *([] if said else [set()]))
    assert 0 <= float(str(found.get("work", 0))) <= 1e18


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling"])
def test_what_is_no_regular_file_is_not_waited_for_nor_followed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("7")
    place = tmp_path / PROGRESS
    {
        "fifo": lambda: os.mkfifo(place),
        "folder": place.mkdir,
        "link": lambda: place.symlink_to(tmp_path / "secret"),
        "dangling": lambda: place.symlink_to(tmp_path / "nothing"),
    }[kind]()
    assert list(work_of(tmp_path)) == ["work_fault"]


def test_where_nothing_is_said_there_is_nothing(tmp_path: Path) -> None:
    assert work_of(tmp_path) == {}
