"""`greenrun logs` reads the file itself: with the daemon down too, and to its very end when it follows."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenrun.cli.app import main
from tests.cli.conftest import Run
from tests.cli.examples import job, run_of
from tests.fake_api import FakeApi


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
