"""Supervise one run: start its command, bound it in time, outlive the daemon, and record how it ended.

One runs beside each job, in its own session, as `python -I -S shim_entry.py LABEL`, on the standard library and the
light modules `run_folder` (the format of what it leaves behind), `termination`, `children` and `greenrun.procfs` alone.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import time

from greenrun.executors import run_folder
from greenrun.executors.children import has_children, live_children, reap, signal_one
from greenrun.executors.env_file import variables_in
from greenrun.executors.run_folder import VERSION, Log, write_record
from greenrun.executors.termination import (
    FOREVER,
    ITSELF,
    NOT_STARTED,
    STOPPED,
    TIME_LIMIT,
    Termination,
    signal_command,
)
from greenrun.procfs import boot_id, start_ticks

RECORD_TRIES = 3600
LEFTOVER_GRACE_S = 5.0
LOOK_EVERY_S = 5.0
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
PR_SET_CHILD_SUBREAPER = 36


class Spec:
    """What the daemon passes as JSON on standard input: never in a file, since an environment may hold secrets."""

    token: str
    job: int
    number: int
    devices: list[str]
    runs_dir: str
    folder: str
    command: list[str]
    workdir: str
    env: dict[str, str]
    env_file: str | None
    own_env: dict[str, str]
    log: str | None
    log_cap_bytes: int
    time_limit_s: float | None
    grace_s: float
    checkpoint_signal: int
    gpu_locks: list[int]

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


class NotStarted(Exception):
    """The command could not be executed; `exit_code` is what a shell would return."""

    def __init__(self, detail: str, exit_code: int) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


def main() -> int:
    """Supervise the run that standard input describes; return 0 once its end is recorded, 3 if nothing was started."""
    with open(0, encoding="utf-8", closefd=False) as stream:
        spec = Spec(json.load(stream))
    try:
        ready = settle_in(spec)
        lock, log = take_folder(spec)
    except OSError as error:
        with contextlib.suppress(OSError):  # the daemon may have ended
            os.write(2, f"nothing was started, because the run's folder could not be put in place: {error}".encode())
        return 3
    os.dup2(log.descriptor, 1)
    os.dup2(log.descriptor, 2)
    end = run(spec, [lock, *spec.gpu_locks], log, ready)
    for descriptor in spec.gpu_locks:  # the process tree is gone: readers of the exit record must find the GPUs free
        os.close(descriptor)
    record_exit(spec.folder, {"version": VERSION, "token": spec.token, **end})
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
    signal.pthread_sigmask(signal.SIG_SETMASK, SIGNALS)
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
    shim = {"boot_id": boot_id(), "pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
    return {**whose, **shim, "log": log_path(spec), "at": time.time()}


def log_path(spec: Spec) -> str:
    """Return the path of the command's output."""
    return os.path.join(spec.workdir, spec.log) if spec.log else f"{spec.folder}/{run_folder.LOG}"


def run(spec: Spec, kept: list[int], log: Log, ready: int) -> dict[str, object]:
    """Start the command and wait until its whole process tree is gone; return how it ended."""
    end = Termination()
    try:
        output = Log(log_path(spec), spec.log_cap_bytes) if spec.log else log
        command, started_at = launch(spec, kept, output.descriptor, environment(spec))
    except (NotStarted, OSError) as error:
        log.say(f"the command was not started: {error}")
        return outcome(getattr(error, "exit_code", 126), None, NOT_STARTED, str(error)[:1000])
    os.close(ready)
    status = supervise(spec, command, end, output)
    sweep(command, end, min(spec.grace_s, LEFTOVER_GRACE_S))
    detail = "" if end.cause in (ITSELF, TIME_LIMIT) else asked_by(spec.folder)
    return outcome(os.waitstatus_to_exitcode(status), started_at, end.cause, detail)


def outcome(code: int, started_at: float | None, cause: str, detail: str) -> dict[str, object]:
    """Return the exit record of an end now; `code` is -N for signal N. The end is never before the start."""
    return {
        "exit_code": code if code >= 0 else 128 - code,
        "signal": -code if code < 0 else None,
        "started_at": started_at,
        "ended_at": max(time.time(), started_at or 0.0),
        "ended_by": cause,
        "detail": detail,
    }


def environment(spec: Spec) -> dict[str, str]:
    """Return the command's whole environment: the job's, then the KEY=VALUE lines of its file, then greenrun's own."""
    from_file = variables_in(os.path.join(spec.workdir, spec.env_file)) if spec.env_file else {}
    return {**spec.env, **from_file, **spec.own_env}


def launch(spec: Spec, kept: list[int], output: int, env: dict[str, str]) -> tuple[int, float]:
    """Record the start and execute the command; return its pid and start time. Raise NotStarted or OSError."""
    go, release = os.pipe()
    failure, fail = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        become_command(spec, kept, output, env, go, fail)
    os.close(fail)
    try:
        os.setpgid(pid, pid)
        started_at = time.time()
        record = {"version": VERSION, "pid": pid, "start_ticks": start_ticks(pid), "started_at": started_at}
        write_record(spec.folder, run_folder.STARTED, record, sync=False)
        os.write(release, b"!")
    finally:
        os.close(release)  # a child that is not released exits without executing anything
    problem = os.read(failure, run_folder.RECORD_BYTES).decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        raise NotStarted(problem[4:], int(problem[:3]))
    return pid, started_at


def become_command(spec: Spec, kept: list[int], output: int, env: dict[str, str], go: int, fail: int) -> None:
    """Execute the command in this forked child: default signals, only output and locks open. Never return."""
    doing = f"change to its working folder {spec.workdir}"
    try:
        if os.read(go, 1):
            os.chdir(spec.workdir)
            doing = f"execute {spec.command[0]!r}"
            os.dup2(output, 1)
            os.dup2(output, 2)
            for descriptor in kept:
                os.set_inheritable(descriptor, True)
            restore_signals()
            os.execvpe(spec.command[0], spec.command, env)
    except (OSError, ValueError) as error:
        code = 127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126
        os.write(fail, f"{code} cannot {doing}: {error}".encode(errors="replace")[: run_folder.RECORD_BYTES])
    finally:
        os._exit(126)


def restore_signals() -> None:
    """Give every signal its default disposition and block none."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def supervise(spec: Spec, command: int, end: Termination, log: Log) -> int:
    """Wait for the command, enforcing its time limit, requests and its log's size limit; return its wait status."""
    limit = FOREVER if spec.time_limit_s is None else time.monotonic() + spec.time_limit_s
    while (status := reap().get(command)) is None:
        if time.monotonic() >= limit:
            end.begin(TIME_LIMIT, command, spec.grace_s)
        end.follow_up(command, spec.grace_s)
        if time.monotonic() >= end.kill_at:
            signal_command(command, signal.SIGKILL)
        with contextlib.suppress(OSError):
            log.bound()
        if wait_signal(limit, end.term_at, end.kill_at) == signal.SIGTERM:
            obey(spec, command, end)
    return status


def obey(spec: Spec, command: int, end: Termination) -> None:
    """Do what stop.json requests: a checkpoint, or else (also if it is missing or unreadable) a stop."""
    if request(spec.folder).get(run_folder.HOW) == run_folder.CHECKPOINT:
        end.checkpoint(command, spec.checkpoint_signal, spec.grace_s)
    else:
        end.begin(STOPPED, command, spec.grace_s)


def sweep(group: int, end: Termination, grace_s: float) -> None:
    """Terminate what the command left behind: TERM, a grace period, KILL, until nothing is left.

    Orphans become this subreaper's children, and the pid of a child is not reused before it is reaped, so only the
    run's own processes are signalled. Those that already got TERM with the command's group get no second one, and the
    job's full grace period.
    """
    kill_at = end.kill_at if end.was_termed else time.monotonic() + grace_s
    signalled: set[int] = set()
    while has_children():
        number = signal.SIGKILL if time.monotonic() >= kill_at else signal.SIGTERM
        for pid in live_children(os.getpid()):
            had_term = pid in signalled or (end.was_termed and os.getpgid(pid) == group)
            if number == signal.SIGKILL or not had_term:
                signal_one(pid, number)
                signalled.add(pid)
        wait_signal(kill_at, time.monotonic() + 0.5)
        signalled -= reap().keys()


def wait_signal(*instants: float) -> int:
    """Wait for a signal until the next of these monotonic instants, at most LOOK_EVERY_S; return it, or SIGALRM."""
    now = time.monotonic()
    wait_s = min([LOOK_EVERY_S, *(instant - now for instant in instants if instant > now)])
    signal.setitimer(
        signal.ITIMER_REAL, max(0.001, wait_s)
    )  # sigtimedwait, if stopped past its timeout, returns a bogus signal
    return signal.sigwaitinfo(SIGNALS).si_signo


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


def record_exit(folder: str, record: dict[str, object]) -> None:
    """Record the end; on a full or failing disk retry every second for an hour, unless the folder was removed."""
    for _ in range(RECORD_TRIES):
        try:
            return write_record(folder, run_folder.EXIT, record, sync=True)
        except FileNotFoundError:
            return None
        except OSError:
            wait_signal(time.monotonic() + 1.0)
    return None
