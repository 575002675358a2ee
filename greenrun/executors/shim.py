"""Supervise one run: start its command, bound it in time, outlive the daemon, and record how it ended.

One runs beside each job, in its own session, as `python -I -S shim_entry.py LABEL`, on the standard library and the
light modules beside it alone: `run_folder` (the format of what it leaves behind), `launch`, `memory_events`,
`output_pipe`, `log_file`, `waiting`, `termination` and `descendants`, and `greenrun.procfs`.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable

from greenrun.executors import run_folder
from greenrun.executors.command_files.noted_files import changed_since_submission
from greenrun.executors.descendants import Members, has_children, live_children, reap, signal_one
from greenrun.executors.launch import Launch, NotStarted, environment, launch, moment
from greenrun.executors.log_file import Log
from greenrun.executors.memory_events import oom_kills
from greenrun.executors.output_pipe import OutputPipe
from greenrun.executors.run_folder import VERSION, write_record
from greenrun.executors.termination import (
    FOREVER,
    ITSELF,
    NOT_STARTED,
    STOPPED,
    TIME_LIMIT,
    Termination,
    signal_command,
)
from greenrun.executors.waiting import Waiter
from greenrun.host_shortage import marked
from greenrun.procfs import boot_id, process_name, start_ticks

RECORD_TRIES = 3600
LINGER_S = 1.0  # for what the command left behind to end by itself, as a `tee` does that its shell does not wait for
LEFTOVER_GRACE_S = 5.0
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
MOST_NAMED = 5  # of the processes left behind


class Spec:
    """What the daemon passes as JSON on standard input: never in a file, since an environment may hold secrets."""

    token: str
    job: int
    number: int
    devices: list[str]
    runs_dir: str
    folder: str
    command: list[str]
    helpers: list[str]
    noted_files: dict[str, str]
    workdir: str
    default_env: dict[str, str]
    env: dict[str, str]
    env_file: str | None
    own_env: dict[str, str]
    umask: int | None
    umask_of_command: int
    limits: dict[str, str]
    log: str | None
    log_cap_bytes: int
    time_limit_s: float | None
    grace_s: float
    checkpoint_signal: int
    gpu_locks: list[int]

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


def main() -> int:
    """Supervise the run that standard input describes; return 0 once its end is recorded, 3 if nothing was started."""
    with open(0, encoding="utf-8", closefd=False) as stream:
        spec = Spec(json.load(stream))
    try:
        ready = settle_in(spec)
        waiter = Waiter()
        inherited = os.umask(0)  # its own files have modes of their own
        spec.umask_of_command = inherited if spec.umask is None else spec.umask
        lock, log = take_folder(spec)
        ctypes.CDLL(None).prctl(PR_SET_NAME, run_folder.IN_PLACE.encode())  # now it is found without its folder, too
        home = os.open(spec.folder, os.O_RDONLY | os.O_DIRECTORY)  # it is this run's folder wherever it is moved to
    except OSError as error:
        with contextlib.suppress(OSError):  # the daemon may have ended
            text = f"nothing was started, because the run's folder could not be put in place: {error}"
            os.write(2, marked(error, text).encode())
        return 3
    os.dup2(log.descriptor, 1)
    os.dup2(log.descriptor, 2)
    end = run(spec, [lock, *spec.gpu_locks], log, waiter, ready)
    for descriptor in spec.gpu_locks:  # the process tree is gone: readers of the exit record must find the GPUs free
        os.close(descriptor)
    record_exit(f"/proc/self/fd/{home}", {"version": VERSION, "token": spec.token, **end})
    return 0


def settle_in(spec: Spec) -> int:
    """Detach from the parent process; return the descriptor whose closing signals readiness."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    low = 3
    for kept in sorted(spec.gpu_locks):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("this kernel does not let a supervisor inherit orphans")
    return os.dup(2)


def take_folder(spec: Spec) -> tuple[int, Log]:
    """Put the run's folder in place; return its held lock and its log. Raise OSError if it is taken or barred."""
    temporary = f"{spec.runs_dir}/{run_folder.TEMPORARY}{spec.token}-{os.getpid()}"
    os.mkdir(temporary, 0o700)
    try:
        lock = os.open(f"{temporary}/{run_folder.LOCK}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log = Log(f"{temporary}/{run_folder.LOG}", spec.log_cap_bytes)
        log.path = f"{spec.folder}/{run_folder.LOG}"
        run_folder.reserve_record(temporary, run_folder.EXIT)
        write_record(temporary, run_folder.RUN, facts(spec), sync=True)
        os.rename(temporary, spec.folder)
    except OSError:
        run_folder.discard(temporary)
        raise
    run_folder.sync_folder(spec.runs_dir)
    return lock, log


def facts(spec: Spec) -> dict[str, object]:
    """Return the content of run.json; nothing of the environment."""
    whose = {"version": VERSION, "token": spec.token, "job": spec.job, "number": spec.number, "devices": spec.devices}
    whose["grace_s"] = spec.grace_s
    shim = {"boot_id": boot_id(), "pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
    return {**whose, **shim, "log": log_path(spec), "at": time.time()}


def log_path(spec: Spec) -> str:
    """Return the path of the command's output."""
    return os.path.join(spec.workdir, spec.log) if spec.log else f"{spec.folder}/{run_folder.LOG}"


def run(spec: Spec, kept: list[int], log: Log, waiter: Waiter, ready: int) -> dict[str, object]:
    """Start the command and wait until its whole process tree is gone; return how it ended."""
    try:
        since = changed_since_submission(spec.noted_files)
        own_log = open_log(spec) if spec.log else log
        output = OutputPipe(own_log) if own_log.is_regular else None
        command, started = launch(
            spec.folder, launch_of(spec), kept, output.write_end if output else own_log.descriptor
        )
    except (NotStarted, OSError) as error:
        from greenrun.executors.command_files.start_failure import why_not_started  # for the few starts that fail

        own_env = {**spec.default_env, **spec.env}
        why = why_not_started(error, spec.command, spec.workdir, own_env, log=log_path(spec), env_file=spec.env_file)
        log.say(f"the command was not started: {why}")
        number = error.errno if isinstance(error, OSError) else error.errno_of_machine
        return outcome(getattr(error, "exit_code", 126), None, NOT_STARTED, why[:1000]) | {"errno": number}
    told = own_log if own_log.is_regular else log
    if since:
        told.say(since)
    with contextlib.suppress(OSError):  # the daemon may have ended
        os.write(ready, run_folder.STARTED_MARK)
    os.close(ready)
    supervision = Supervision(spec, command, waiter, output)
    status = supervision.wait()
    left = {pid: name for pid, name in supervision.sweep().items() if name not in spec.helpers}
    if left:
        told.say(f"the command left {processes(len(left))}, ended: {named(left)}")
    cause = supervision.end.cause
    detail = "" if cause in (ITSELF, TIME_LIMIT) else asked_by(spec.folder)
    ended = outcome(os.waitstatus_to_exitcode(status), started, cause, detail)
    killed, is_own_limit = oom_kills()
    return {**ended, "left": len(left), "changed": since, "oom_kills": killed, "is_own_limit": is_own_limit}


def open_log(spec: Spec) -> Log:
    """Open the log that the job names, made as its submitter would have made it; raise OSError."""
    return Log(log_path(spec), spec.log_cap_bytes, 0o600 if spec.umask is None else 0o666 & ~spec.umask)


def launch_of(spec: Spec) -> Launch:
    """Return the command with all that it is executed with; raise OSError if its environment cannot be read."""
    env_file = os.path.join(spec.workdir, spec.env_file) if spec.env_file else None
    env = environment(spec.default_env, spec.env, env_file, spec.own_env)
    return Launch(words=spec.command, workdir=spec.workdir, env=env, umask=spec.umask_of_command, limits=spec.limits)


def outcome(code: int, started: dict[str, float] | None, cause: str, detail: str) -> dict[str, object]:
    """Return the exit record of an end now; `code` is -N for signal N. The end is never before the start."""
    ended = moment("ended")
    return {
        "exit_code": code if code >= 0 else 128 - code,
        "signal": -code if code < 0 else None,
        **(started or {"started_at": None}),
        **ended,
        "ended_at": max(ended["ended_at"], started["started_at"] if started else 0.0),
        "ended_by": cause,
        "detail": detail,
    }


class Supervision:
    """A running command, what becomes of its output, and how it is terminated."""

    def __init__(self, spec: Spec, command: int, waiter: Waiter, output: OutputPipe | None) -> None:
        self.end = Termination()
        self._spec = spec
        self._command = command
        self._waiter = waiter
        self._output = output
        self._members = Members(spec.folder)
        if output:
            output.begin()
            waiter.watch(output.read_end)

    def wait(self) -> int:
        """Wait for the command, enforcing its time limit and requests; return its wait status."""
        spec, end = self._spec, self.end
        limit = FOREVER if spec.time_limit_s is None else time.monotonic() + spec.time_limit_s
        while (status := reap().get(self._command)) is None:
            if time.monotonic() >= limit:
                end.begin(TIME_LIMIT, self._command, spec.grace_s)
            end.follow_up(self._command, spec.grace_s)
            if time.monotonic() >= end.kill_at:
                signal_command(self._command, signal.SIGKILL)
            self._members.note()
            if self._look(limit, end.term_at, end.kill_at, self._members.look_at) == signal.SIGTERM:
                self._obey()
        return status

    def sweep(self) -> dict[int, str]:
        """Terminate what the command left behind: TERM, a grace period, KILL, until nothing is left.

        Return the names of those that were signalled, by pid. Orphans become this subreaper's children, and the pid of
        a child is not reused before it is reaped, so only the run's own processes are signalled. Those that already got
        TERM with the command's group get no second one, and the job's full grace period.
        """
        end, now = self.end, time.monotonic()
        grace_s = min(self._spec.grace_s, LEFTOVER_GRACE_S)
        term_at = now + LINGER_S if end.cause == ITSELF else now
        kill_at = end.kill_at if end.was_termed else term_at + grace_s
        signalled: dict[int, str] = {}
        termed: set[int] = set()
        self._members.look_at = now  # of what is left, too, it has to be known whose it is
        while has_children():
            self._members.note()
            is_last = time.monotonic() >= kill_at
            for pid in live_children(os.getpid()) if time.monotonic() >= term_at else ():
                had_term = pid in termed or (end.was_termed and os.getpgid(pid) == self._command)
                if (is_last or not had_term) and signal_one(pid, signal.SIGKILL if is_last else signal.SIGTERM):
                    signalled.setdefault(pid, process_name(pid))
                    termed.add(pid)
            self._look(term_at, kill_at, time.monotonic() + 0.5)
            termed -= reap().keys()
        self._drain()
        return signalled

    def _look(self, *instants: float) -> int:
        """Wait for a signal until the next of these instants, taking what output comes; return the signal, or 0."""
        number = self._waiter.wait(*instants, quiet_until=self._output.quiet_until if self._output else 0.0)
        if self._output and not self._output.pump():
            self._forget_output()
        return number

    def _drain(self) -> None:
        """Take what is left of the output; nobody is there any more to write."""
        while self._output and self._output.pump() and self._output.took_much:
            pass
        self._forget_output()

    def _forget_output(self) -> None:
        if self._output:
            self._waiter.forget(self._output.read_end)
            os.close(self._output.read_end)
            self._output = None

    def _obey(self) -> None:
        """Do what stop.json requests: a checkpoint, or else (also if it is missing or unreadable) a stop."""
        spec = self._spec
        if request(spec.folder).get(run_folder.HOW) == run_folder.CHECKPOINT:
            self.end.checkpoint(self._command, spec.checkpoint_signal, spec.grace_s)
        else:
            self.end.begin(STOPPED, self._command, spec.grace_s)


def processes(count: int) -> str:
    """Return a number of processes in words."""
    return "1 process" if count == 1 else f"{count} processes"


def named(left: dict[int, str]) -> str:
    """Return names and pids of processes, the first ones if there are many."""
    shown = [f"{name} (pid {pid})" for pid, name in list(left.items())[:MOST_NAMED]]
    return ", ".join([*shown, *(["…"] if len(left) > MOST_NAMED else [])])


def asked_by(folder: str) -> str:
    """Return who requested the end, as far as is known."""
    asked = request(folder)
    how = "asked to checkpoint" if asked.get(run_folder.HOW) == run_folder.CHECKPOINT else "stopped"
    return f"{how} by {asked.get('by', 'a TERM signal to its supervisor')}"


def request(folder: str) -> dict[str, object]:
    """Return the content of stop.json; empty without it."""
    with contextlib.suppress(OSError):
        return run_folder.read_record(folder, run_folder.STOP) or {}
    return {}


def record_exit(folder: str, record: dict[str, object], pause: Callable[[float], None] = time.sleep) -> None:
    """Record the end; on a full or failing disk retry every second for an hour, unless the folder was removed."""
    for _ in range(RECORD_TRIES):
        try:
            return write_record(folder, run_folder.EXIT, record, sync=True)
        except FileNotFoundError:
            return None
        except OSError:
            pause(1.0)
    return None
