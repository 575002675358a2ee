"""`greenrun logs` reads the file itself: with the daemon down too, and to its very end when it follows."""

import functools
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenrun.cli.app import main
from greenrun.cli.jobs.log_reader import LogReader
from greenrun.executors.log_file import MARK
from tests.cli.conftest import Run
from tests.cli.examples import job, run_of
from tests.fake_api import FakeApi


@pytest.fixture(autouse=True)
def _as_ada(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose job 12 is."""
    monkeypatch.setattr("greenrun.cli.jobs.logs._own_name", lambda: "ada")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folders, of two runs of job 12."""
    monkeypatch.setenv("GREENRUN_PATHS__STATE", str(tmp_path / "state"))
    for number in (1, 2):
        folder = tmp_path / "state" / "runs" / f"12.{number}"
        folder.mkdir(parents=True)
        (folder / "log").write_bytes(b"run %d\n" % number)
    return tmp_path / "state" / "runs"


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GREENRUN_SOCKET", str(tmp_path / "none"))


def test_the_latest_runs_log_is_read_from_where_the_daemon_says(
    api: FakeApi, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "own.txt").write_bytes(b"caf\xe9\n")
    api.get("/v1/jobs/12", job(runs=[run_of(1, log="/none"), run_of(2, log=str(tmp_path / "own.txt"))]))
    assert main(["logs", "12"]) == 0
    assert capfdbinary.readouterr().out == b"caf\xe9\n"


@pytest.mark.usefixtures("down", "runs")
@pytest.mark.parametrize(("words", "expected"), [((), "run 2"), (("--run", "1"), "run 1")])
def test_with_the_daemon_down_the_run_folders_are_read(run: Run, words: tuple[str, ...], expected: str) -> None:
    ran = run("logs", "12", *words)
    assert (ran.code, ran.out[:5]) == (0, expected)


@pytest.mark.usefixtures("down", "runs")
@pytest.mark.parametrize("words", [("13",), ("12", "--run", "3"), ("13", "-f")])
def test_without_a_daemon_and_a_folder_nothing_is_found(run: Run, words: tuple[str, ...]) -> None:
    ran = run("logs", *words)
    assert ran.code == 3
    assert "and the daemon does not answer" in ran.err


def test_a_job_that_has_not_run_has_no_log(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job())
    ran = run("logs", "12")
    assert (ran.code, ran.err) == (1, "error: job 12 has no log: job 12 is queued (see greenrun explain 12)\n")


def test_following_a_job_that_will_never_run_ends(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job(state="cancelled"))
    assert run("logs", "-f", "12").code == 1


def test_a_log_that_is_gone_is_told(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job(runs=[run_of(log="/nowhere/log")]))
    ran = run("logs", "12")
    assert (ran.code, "it may have been removed" in ran.err) == (3, True)


@pytest.mark.usefixtures("down")
def test_following_ends_when_the_exit_is_recorded_and_prints_all_before_it(
    run: Run, runs: Path, writer: "Writer"
) -> None:
    writer.do(
        lambda: append(runs / "12.2/log", "more\n"),
        lambda: append(runs / "12.2/log", "last\n"),
        lambda: (runs / "12.2/exit.json").write_text("{}"),
    )
    ran = run("logs", "-f", "12")
    assert (ran.code, ran.out.splitlines()[1:]) == (0, ["more", "last"])


def test_following_waits_for_the_run_and_ends_when_the_daemon_says_so(api: FakeApi, run: Run, runs: Path) -> None:
    log = str(runs / "12.2/log")
    live = [run_of(2, log=log, outcome=None, exit_code=None)]
    answers = iter([job(), job(state="starting"), job(state="running", runs=live), job(state="running", runs=live)])
    over = job(state="failed", runs=[run_of(2, log=log)])
    api.answers["GET", "/v1/jobs/12"] = lambda _: (200, next(answers, over))
    ran = run("logs", "-f", "12")
    assert (ran.code, ran.out[:5]) == (0, "run 2")


def test_following_goes_on_with_the_next_run_of_a_job_that_was_suspended(api: FakeApi, run: Run, runs: Path) -> None:
    first = run_of(1, log=str(runs / "12.1/log"), outcome="checkpointed", exit_code=85)
    second = run_of(2, log=str(runs / "12.2/log"), outcome=None, exit_code=None)
    (runs / "12.1/exit.json").write_text("{}")
    begun = [job(state="running", runs=[{**first, "outcome": None}]), job(state="queued", runs=[first])]
    answers = iter([*begun, job(state="running", runs=[first, second])])
    over = job(state="succeeded", runs=[first, {**second, "outcome": "succeeded", "exit_code": 0}])
    api.answers["GET", "/v1/jobs/12"] = lambda _: (200, next(answers, over))
    ran = run("logs", "-f", "12")
    assert (ran.code, ran.out.splitlines()) == (0, ["run 1", "run 2"])


def test_following_runs_that_share_a_log_prints_it_once(api: FakeApi, run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("all of it\n")
    first = run_of(1, log=str(own), outcome="checkpointed", exit_code=85)
    second = run_of(2, log=str(own))
    answers = iter([job(state="queued", runs=[first]), job(state="queued", runs=[first])])
    over = job(state="succeeded", runs=[first, second])
    live = iter([job(state="running", runs=[first, {**second, "outcome": None}])])
    api.answers["GET", "/v1/jobs/12"] = lambda _: (200, next(answers, None) or next(live, over))
    ran = run("logs", "-f", "12")
    assert (ran.code, ran.out) == (0, "all of it\n")


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


class Writer:
    """Does things one after the other in a thread, a little apart."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._steps: list[Callable[[], object]] = []

    def do(self, *steps: Callable[[], object]) -> None:
        """Begin with the steps."""
        self._steps = list(steps)
        self._thread.start()

    def stop(self) -> None:
        """End after the step at hand."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        for step in self._steps:
            if not self._stopped.wait(0.1):
                step()


@pytest.fixture
def writer() -> Iterator[Writer]:
    it = Writer()
    yield it
    it.stop()


def rotate(log: Path, text: str) -> None:
    """Do what a shim does with a full part."""
    log.rename(log.with_name("log.1"))
    log.write_text(f"{MARK.decode()} of 8 bytes; the 8 bytes before this line are in log.1\n{text}")


def printed(text: str) -> str:
    """What was printed, without what the log says of its parts."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("greenrun:"))


@pytest.mark.usefixtures("down")
def test_both_parts_of_a_log_are_printed(run: Run, runs: Path) -> None:
    log = runs / "12.2" / "log"
    rotate(log, "new\n")
    assert run("logs", "12").out == f"run 2\n{log.read_text()}"
    (log.with_name("log.1")).unlink()
    assert run("logs", "12").out == log.read_text()


@pytest.mark.usefixtures("down")
def test_another_file_of_that_name_is_no_part_of_a_log(run: Run, runs: Path) -> None:
    (runs / "12.2" / "log.1").write_text("of somebody else\n")
    assert run("logs", "12").out == "run 2\n"


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize("between", [1, 2, 3])
def test_following_goes_on_past_the_limit_and_neither_stops_nor_repeats(
    runs: Path, capfd: pytest.CaptureFixture[str], between: int
) -> None:
    """`between`: how many parts begin from one look to the next; what was dropped before it was read is gone."""
    log, reader = runs / "12.2" / "log", LogReader(runs / "12.2" / "log", lambda path: path.open("rb"))
    shown = io.BytesIO()
    kept = ["run 2\n"]
    copy = functools.partial(shutil.copyfileobj, fdst=shown)
    reader.copy(copy)
    for look in range(4):
        with log.open("a") as file:
            file.write(f"last of {look}\n")
        parts = [f"part {look}.{number}\n" for number in range(between)]
        for part in parts:
            rotate(log, part)
        reader.copy(copy)
        kept += [f"last of {look}\n", *parts[-2:]]
    reader.close()
    assert printed(shown.getvalue().decode()) == "".join(kept)


def test_following_a_log_that_was_emptied_goes_on_at_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("long before\n")
    reader, shown = LogReader(log, lambda path: path.open("rb")), io.BytesIO()
    copy = functools.partial(shutil.copyfileobj, fdst=shown)
    reader.copy(copy)
    log.write_text("")
    reader.copy(copy)
    log.write_text("after\n")
    reader.copy(copy)
    reader.close()
    assert shown.getvalue() == b"long before\nafter\n"


@pytest.mark.usefixtures("down")
def test_a_follower_on_the_command_line_prints_all_parts(run: Run, runs: Path) -> None:
    log = runs / "12.2" / "log"
    turns = iter(range(30))

    def work(seconds: float) -> None:
        turn = next(turns, None)
        if turn is None:
            (log.parent / "exit.json").write_text("{}")
        elif turn % 3 == 2:
            rotate(log, f"line {turn}\n")
        else:
            with log.open("a") as file:
                file.write(f"line {turn}\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Event, "wait", lambda self, seconds=0: work(seconds))
        ran = run("logs", "12", "-f")
    assert printed(ran.out) == "run 2\n" + "".join(f"line {turn}\n" for turn in range(30))


@pytest.mark.parametrize(
    ("text", "lines", "left"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"), ("a\nb\nc", 2, "b\nc"), ("a\nb\nc\n", 3, "a\nb\nc\n"), ("a\nb\n", 9, "a\nb\n"),
        ("a\n\n\n", 2, "\n\n"), ("a\n", 0, ""), ("", 3, ""), ("\n", 1, "\n"), ("x" * 200_000 + "\nlast", 1, "last"),
        ("y\n" * 100_000, 70_000, "y\n" * 70_000), ("one", 1, "one"),
    ],
)  # fmt: skip
def test_the_last_lines_are_printed(down: None, run: Run, runs: Path, text: str, lines: int, left: str) -> None:
    (runs / "12.2" / "log").write_text(text)
    ran = run("logs", "12", "--tail", str(lines))
    assert (ran.code, ran.out) == (0, left)


def test_the_last_lines_reach_into_the_part_before(down: None, run: Run, runs: Path) -> None:
    log = runs / "12.2" / "log"
    log.write_bytes(b"1\n2\n3\n")
    rotate(log, "4\n")
    mark, *_ = log.read_text().splitlines(keepends=True)
    assert [run("logs", "12", "--tail", str(lines)).out for lines in (1, 2, 3, 99)] == [
        "4\n",
        f"{mark}4\n",
        f"3\n{mark}4\n",
        f"1\n2\n3\n{mark}4\n",
    ]


def test_following_may_begin_with_the_last_lines(down: None, run: Run, runs: Path) -> None:
    (runs / "12.2" / "log").write_text("1\n2\n3\n")
    (runs / "12.2" / "exit.json").write_text("{}")
    assert run("logs", "-f", "--tail", "1", "12").out == "3\n"


@pytest.mark.parametrize("lines", ["-1", "x", "1.5", "9" * 20])
def test_a_number_of_lines_that_is_none_is_refused(run: Run, lines: str) -> None:
    ran = run("logs", "12", "--tail", lines)
    assert (ran.code, "--tail" in ran.err) == (2, True)


def test_another_users_log_comes_from_the_daemon_and_its_file_is_not_opened(
    api: FakeApi, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which opens it as that user: a link in its place would lead root, or an admin, to a file of their own."""
    monkeypatch.setattr("greenrun.cli.jobs.logs._own_name", lambda: "root")
    (tmp_path / "roots").write_text("of root\n")
    (tmp_path / "link").symlink_to(tmp_path / "roots")
    api.get("/v1/jobs/12", job(access="all", runs=[run_of(2, log=str(tmp_path / "link"))]))
    api.get("/v1/jobs/12/logs", b"one\ntwo\nthree")
    assert run("logs", "12").out == "one\ntwo\nthree"
    assert run("logs", "12", "--tail", "2").out == "two\nthree"
    assert run("logs", "12", "--tail", "0").out == ""
    asked = [each for each in api.asked if each.path.endswith("/logs")]
    assert [each.query["run"] for each in asked] == [["2"]] * 3
    followed = run("logs", "-f", "12")
    assert (followed.code, "leave --follow out" in followed.err) == (1, True)
