"""`greenrun logs`: read a run's log file directly, so that it works with the daemon down."""

import io
import os
import pwd
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from greenrun.cli.command import FAILED, NOT_FOUND, NOT_PERMITTED, Command, LocalError
from greenrun.cli.jobs.addressing import job_argument, one
from greenrun.cli.jobs.log_reader import LogReader
from greenrun.cli.jobs.waiting_teller import WaitingTeller
from greenrun.cli.options import OptionReader, chosen, config_option, connect, socket_option, whole
from greenrun.core.formatting import count_text
from greenrun.core.jobs.job import FINISHED, State
from greenrun.paths import find_state

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_LOOK_EVERY_S = 0.2
_ASK_EVERY = 5  # looks at the file between two questions to the daemon


class Log(NamedTuple):
    """A run's log file, the folder where its exit is recorded, and which run it is of (`12.1`); `user` is whose.

    Of one that was found without the daemon it is not known whose it is.
    """

    path: Path
    folder: Path
    label: str
    user: str | None = None


@click.command("logs", cls=Command)
@job_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is finished.")
@click.option("--tail", metavar="N", help="Only the last N lines of what there is.")
@click.option("--run", metavar="N", help="The job's run number N, not its latest.")
@socket_option
@config_option
@click.pass_context
def logs(
    ctx: click.Context,
    job: str,
    follow: bool,
    tail: str | None,
    run: str | None,
    socket: str | None,
    config: str | None,
) -> None:
    """Print what a job has written. The log is a file, read as it is: the daemon need not be up. Of one that has passed
    jobs.log_cap its last part is left, which begins by saying so.

    With --follow a job that has not started is waited for, and so is the next run of one that was suspended or is run
    again; with --run too, until that run ends. Another user's log, which admins and root may read, comes from the
    daemon, which opens it with that user's rights: its last 16 MiB, and not with --follow.

    \b
    greenrun logs 12
    greenrun logs -f 12
    greenrun logs --tail 20 train
    greenrun logs 12 --run 1 | grep loss
    """
    reader = OptionReader()
    number = reader.read("--run", run, lambda text: whole(text, "a run's number; `greenrun show` lists them"))
    lines = reader.read("--tail", tail, _lines)
    reader.stop()
    client = connect(ctx, socket, config)
    finder = Finder(client, find_state(chosen(ctx, "config", config)), one(client, job), number)
    if follow:
        first = finder.wait()
        if _is_anothers(first):
            raise LocalError(
                f"the log of {first.label} is {first.user}'s, so it comes from the daemon, which gives its end as it "
                "is now: leave --follow out"
            )
        _follow_all(finder, first, lines)
        return
    found = finder.find()
    if _is_anothers(found):
        _print_from_daemon(client, found, lines)
        return
    with closing(LogReader(found.path, _opened)) as log:
        if lines is not None:
            log.skip_to_last(lines)
        log.copy(_copy)


class Finder:
    """Finds the log of a job's run: from the daemon when it answers, else from the run folders."""

    def __init__(self, client: "ApiClient", state: Path, job: int, number: int | None) -> None:
        self._client = client
        self._runs_folder = state / "runs"
        self._job = job
        self._number = number

    def find(self) -> Log:
        """Return the log; raise LocalError saying why there is none."""
        answer = self._ask()
        found = self._on_disk() if answer is None else self._told(answer)
        if found is None:
            raise LocalError(*self._none(answer))
        return found

    def wait(self) -> Log:
        """Return the log as soon as there is one; raise LocalError when the job can have none any more."""
        teller = WaitingTeller()
        while True:
            answer = self._ask()
            found = self._on_disk() if answer is None else self._told(answer)
            if found is not None and (_is_anothers(found) or found.path.exists()):
                return found
            if answer is None or answer["state"] in FINISHED:
                raise LocalError(*self._none(answer))
            teller.tell(answer)
            threading.Event().wait(_LOOK_EVERY_S)

    def next(self, log: Log) -> Log | None:
        """Return the log of the job's next run as soon as there is one; None when none is to come, or asked for."""
        teller = WaitingTeller()
        while self._number is None and (answer := self._ask()) and answer["state"] not in FINISHED:
            found = self._told(answer)
            if found is not None and found.label != log.label and found.path.exists():
                return found
            teller.tell(answer)
            threading.Event().wait(_LOOK_EVERY_S)
        return None

    def has_ended(self, log: Log) -> bool:
        """Return whether the daemon says that this run has ended; False without an answer."""
        answer = self._ask()
        runs = answer["runs"] if answer else ()
        return any(_label(self._job, run) == log.label and run["outcome"] for run in runs)

    def _ask(self) -> "Answer | None":
        from greenrun.client import NotReachable

        try:
            return self._client.job(self._job)
        except NotReachable:
            if self._client.is_far:  # what is in this machine's folders is another daemon's
                raise
            return None

    def _told(self, answer: "Answer") -> Log | None:
        if answer.get("access", "all") != "all":
            raise LocalError(
                f"job {self._job} belongs to {answer['user']}, and a log is for its owner, root and admins alone; "
                f"ask {answer['user']} for it",
                NOT_PERMITTED,
            )
        runs = [run for run in answer["runs"] if run["log"] and self._number in (None, run["number"])]
        if not runs:
            return None
        path, label = Path(runs[-1]["log"]), _label(self._job, runs[-1])
        folder = path.parent if path.parent.name == label else self._runs_folder / label
        elsewhere = " on another machine" if self._client.is_far else ""  # whose files are not to be opened here
        return Log(path, folder, label, f"{answer['user']}{elsewhere}")

    def _on_disk(self) -> Log | None:
        folders = [
            folder for folder in self._runs_folder.glob(f"{self._job}.*") if folder.name.split(".")[-1].isdigit()
        ]
        by_number = {int(folder.name.split(".")[-1]): folder for folder in folders}
        folder = by_number.get(self._number or max(by_number, default=0))
        return Log(folder / "log", folder, folder.name) if folder else None

    def _none(self, answer: "Answer | None") -> tuple[str, int]:
        which = f"job {self._job}" if self._number is None else f"run {self._job}.{self._number}"
        if answer is None:
            return f"there is no log of {which} in {self._runs_folder}, and the daemon does not answer", NOT_FOUND
        runs = len(answer["runs"])
        if self._number is not None and self._number not in {run["number"] for run in answer["runs"]}:
            return f"job {self._job} has no run {self._number}: it has had {count_text(runs, 'run')}", FAILED
        state = State(answer["state"]).said
        return f"{which} has no log: job {self._job} {state} (see greenrun explain {self._job})", FAILED


def _is_anothers(log: Log) -> bool:
    """Whether it is another user's: who opened it could be led to a file that this user may not read."""
    return log.user not in (None, _own_name())


def _own_name() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _print_from_daemon(client: "ApiClient", log: Log, lines: int | None) -> None:
    job, number = map(int, log.label.split("."))
    file = io.BytesIO(client.log(job, number))
    rows = file.read().splitlines(keepends=True)
    _copy(io.BytesIO(b"".join(rows if lines is None else rows[len(rows) - lines :] if lines else [])))


def _label(job: int, run: Any) -> str:
    return f"{job}.{run['number']}"


def _has_exited(log: Log) -> bool:
    return (log.folder / "exit.json").exists() and (log.folder / "exit.json").stat().st_size > 0


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except PermissionError as exc:
        raise LocalError(f"you may not read {path}; ask the user whose job it is", NOT_PERMITTED) from exc
    except OSError as exc:
        raise LocalError(f"cannot read the log {path}: {exc.strerror}; it may have been removed", NOT_FOUND) from exc


def _copy(file: BinaryIO) -> None:
    sys.stdout.flush()
    shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _lines(tail: str) -> int:
    if not (tail.isascii() and tail.isdigit() and len(tail) < 10):
        raise ValueError(f"'{tail}' is not a number of lines from 0 up")
    return int(tail)


def _follow_all(finder: Finder, first: Log, lines: int | None) -> None:
    """Print the log of run after run as they come; what they share, by the job's own --log, is printed once.

    Of the first log only the last `lines` of what there is are printed, if that is not None.
    """
    log: Log | None = first
    readers: dict[Path, LogReader] = {}
    with ExitStack() as open_readers:
        while log is not None:
            if log.path not in readers:
                readers[log.path] = open_readers.enter_context(closing(LogReader(log.path, _opened)))
                if log is first and lines is not None:
                    readers[log.path].skip_to_last(lines)
            _follow(readers[log.path], _ends(finder, log))
            log = finder.next(log)


def _ends(finder: Finder, log: Log) -> Callable[[int], bool]:
    return lambda turn: _has_exited(log) or (turn % _ASK_EVERY == 0 and finder.has_ended(log))


def _follow(reader: LogReader, ended: Callable[[int], bool]) -> None:
    """Print what comes; the end is looked for before each read, so that nothing written before it is left out."""
    pause, turn, is_over = threading.Event(), 0, False
    while not is_over:
        turn += 1
        is_over = ended(turn)
        reader.copy(_copy)
        if not is_over:
            pause.wait(_LOOK_EVERY_S)
