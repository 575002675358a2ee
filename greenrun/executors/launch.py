"""Launch a run's command: its environment, its limits, and a child that executes it only once its start is recorded."""

import errno
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence

from greenrun.executors import run_folder
from greenrun.executors.command_files.env_file import variables_in
from greenrun.executors.run_folder import VERSION, write_record
from greenrun.procfs import start_ticks

UNLIMITED = "unlimited"
LAST_LIMITS = ("data", "stack", "rss", "as")  # with these set, the little that is left to do may lack memory
NO_MEMORY = b"126 cannot execute it: the memory limit (ulimit -v or -d) of its submitter leaves no room for it"


class NotStarted(Exception):
    """The command could not be executed; `exit_code` is what a shell would return."""

    def __init__(self, detail: str, exit_code: int) -> None:
        super().__init__(detail)
        self.exit_code = exit_code
        # With the limits of its submitter in force, what else is lacking may be theirs.
        self.errno_of_machine = errno.ENFILE if f"[Errno {errno.ENFILE}]" in detail else None


class Launch:
    """What to execute, where, and with which environment and limits."""

    words: Sequence[str]
    workdir: str
    env: Mapping[str, str]
    umask: int
    limits: Mapping[str, str]

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


def environment(
    default: Mapping[str, str], own: Mapping[str, str], env_file: str | None, greenruns: Mapping[str, str]
) -> dict[str, str]:
    """Return a command's whole environment: defaults, the job's own, the KEY=VALUE lines of its file, greenrun's."""
    return {**default, **own, **(variables_in(env_file) if env_file else {}), **greenruns}


def launch(folder: str, what: Launch, kept: Sequence[int], output: int) -> tuple[int, dict[str, float]]:
    """Record the start and execute the command; return its pid and start time. Raise NotStarted or OSError."""
    go, release = os.pipe()
    failure, fail = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        become(what, kept, output, go, fail)
    os.close(fail)
    try:
        os.setpgid(pid, pid)
        started = moment("started")
        record = {"version": VERSION, "pid": pid, "start_ticks": start_ticks(pid), **started}
        write_record(folder, run_folder.STARTED, record, sync=False)
        os.write(release, b"!")
    finally:
        os.close(release)  # a child that is not released exits without executing anything
    problem = os.read(failure, run_folder.RECORD_BYTES).decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        raise NotStarted(problem[4:], int(problem[:3]))
    return pid, started


def moment(name: str) -> dict[str, float]:
    """Return the present instant as the fields of a record, such as `started_at` and `started_s`."""
    return {f"{name}_at": time.time(), f"{name}_s": time.clock_gettime(time.CLOCK_BOOTTIME)}


def become(what: Launch, kept: Sequence[int], output: int, go: int, fail: int) -> None:
    """Execute the command in this forked child: default signals, only output and locks open. Never return."""
    doing = f"change to its working folder {what.workdir}"
    try:
        if os.read(go, 1):
            os.chdir(what.workdir)
            doing = f"execute {what.words[0]!r}"
            os.dup2(output, 1)
            os.dup2(output, 2)
            for descriptor in kept:
                os.set_inheritable(descriptor, True)
            restore_signals()
            os.umask(what.umask)
            tell(take_limits(what.limits))
            os.execvpe(what.words[0], list(what.words), what.env)
    except (OSError, ValueError) as error:
        code = 127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126
        os.write(fail, f"{code} cannot {doing}: {error}".encode(errors="replace")[: run_folder.RECORD_BYTES])
    except MemoryError:
        os.write(fail, NO_MEMORY)
    finally:
        os._exit(126)


def restore_signals() -> None:
    """Give every signal its default disposition and block none."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def tell(problems: Sequence[str]) -> None:
    """Begin the log with those limits that are not the submitter's."""
    if problems:
        why = "greenrun's own hard limits are lower (LimitNOFILE= and the like in its unit raise them)"
        os.write(1, f"greenrun: not all limits are those of its submitter: {'; '.join(problems)}: {why}\n".encode())


def take_limits(limits: Mapping[str, str]) -> list[str]:
    """Set this process's limits (`{"nofile": "1024:4096"}`: soft and hard); return in words what could not be had.

    A hard limit can be lowered only, so a higher one stays as it is, and the soft limit below it.
    """
    problems = []
    for name in sorted(limits, key=lambda name: (LAST_LIMITS.index(name) if name in LAST_LIMITS else -1, name)):
        which = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if which is None:
            continue
        soft, hard = (_number(text) for text in limits[name].split(":"))
        try:
            resource.setrlimit(which, (soft, hard))
        except (ValueError, OSError):
            most = resource.getrlimit(which)[1]
            had = (_lower(soft, most), _lower(hard, most))
            resource.setrlimit(which, had)
            problems.append(f"{name} is {_shown(*had)}, not {_shown(soft, hard)}")
    return problems


def _number(text: str) -> int:
    return resource.RLIM_INFINITY if text == UNLIMITED else int(text)


def _lower(first: int, second: int) -> int:
    if resource.RLIM_INFINITY in (first, second):
        return second if first == resource.RLIM_INFINITY else first
    return min(first, second)


def _shown(soft: int, hard: int) -> str:
    soft_text, hard_text = (UNLIMITED if n == resource.RLIM_INFINITY else str(n) for n in (soft, hard))
    return f"{soft_text} (hard: {hard_text})"
