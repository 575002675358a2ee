"""Tell whose processes are, by the marks that a run leaves on its own: ancestry, token, session and group."""

import os
import pwd
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from greenrun import procfs
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Run
from greenrun.executors.processes import Identity, this_boot
from greenrun.executors.run_folder import RUN, STARTED, SUPERVISES, read_record

INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel
ENDING_S = 30.0  # how long a driver may still name a process of a run that has ended
MOST_ANCESTORS = 256
SERVICES = ("nvidia-cuda-mps",)  # what the kernel keeps of the name of nvidia-cuda-mps-server
# As Docker, Podman, containerd, CRI-O, LXC and Kubernetes name the groups of their containers.
_CONTAINER = re.compile(
    r"((?:(?:docker[-/]|libpod-|crio-)[0-9a-f]{2,}\b|cri-containerd[-:]|lxc\.payload|kubepods[./-])[^\n]*)"
)
GPU_FILES = ("/dev/nvidia", "/dev/dri/", "/dev/kfd")
TOKEN, LABEL, SHIM = b"GREENRUN_RUN_TOKEN=", b"GREENRUN_RUN=", f"{SUPERVISES}=".encode()


class ProcessOwners:
    """Tells whose processes are; remembers which were a run's, since one that is gone has no marks any more."""

    def __init__(self, runs_dir: Path, folder_of: Callable[[Run], Path]) -> None:
        self._runs_dir, self._folder_of = runs_dir, folder_of
        self._known: dict[int, tuple[str, float]] = {}  # by pid, of which run it was, and when it was last seen

    def of(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        """Return the owner of each process as far as it can be told; `live` are the runs that have not ended.

        Raise ExecutorError.
        """
        try:
            return self._found(pids, live)
        except OSError as exc:
            raise ExecutorError(f"/proc cannot be read ({exc}); whose the processes are is not known") from exc

    def _found(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        now_s = monotonic()
        self._known = {pid: (label, at_s) for pid, (label, at_s) in self._known.items() if now_s - at_s < ENDING_S}
        leaders, tokens = self._leaders(live), {run.token: run.label for run in live}
        owners = {pid: self._owner(pid, leaders, tokens) for pid in pids}
        self._known |= {pid: (owner.run, now_s) for pid, owner in owners.items() if owner.run and owner.is_seen}
        return owners

    def _leaders(self, live: Sequence[Run]) -> Mapping[Identity, str]:
        """Return the shims and commands of live runs, dead or alive, as far as their folders name them."""
        found: dict[Identity, str] = {}
        for run in live:
            for name in (RUN, STARTED):
                with suppress(OSError):
                    record = read_record(str(self._folder_of(run)), name) or {}
                    if leader := Identity.from_record(record, boot=this_boot() if name == STARTED else None):
                        found[leader] = run.label
        return found

    def _owner(self, pid: int, leaders: Mapping[Identity, str], tokens: Mapping[str, str]) -> ProcessOwner:
        if not _is_here(pid):
            known = self._known.get(pid)
            if known is None:
                return ProcessOwner(is_seen=_is_hidden(pid))
            return ProcessOwner(run=known[0], is_seen=False, has_ended=True)
        run = self._run_of(pid, leaders, tokens)
        if run is None and not _may_be_meant(pid):
            return ProcessOwner(is_seen=False)
        is_service = run is None and _name(pid) in SERVICES
        is_contained = _container_of(pid) not in ("", _container_of(os.getpid()))
        return ProcessOwner(user=_user(pid), run=run, is_service=is_service, in_container=is_contained)

    def _run_of(self, pid: int, leaders: Mapping[Identity, str], tokens: Mapping[str, str]) -> str | None:
        return self._by_ancestry(pid, leaders) or self._by_token(pid, tokens) or _by_group(pid, leaders)

    def _by_ancestry(self, pid: int, leaders: Mapping[Identity, str]) -> str | None:
        return next((leaders[each] for each in _lineage(pid) if each in leaders), None)

    def _by_token(self, pid: int, tokens: Mapping[str, str]) -> str | None:
        """Return the run whose token a process or an ancestor has got, also of one that has ended."""
        for each in _lineage(pid):
            variables = _environment(each.pid)
            token, label = _variable(variables, TOKEN) or _variable(variables, SHIM), _variable(variables, LABEL)
            if token and (token in tokens or self._is_of_run(label, token)):
                return tokens.get(token, label)
        return None

    def _is_of_run(self, label: str, token: str) -> bool:
        if not label or "/" in label or label.startswith("."):
            return False
        with suppress(OSError, ValueError):
            return (read_record(str(self._runs_dir / label), RUN) or {}).get("token") == token
        return False


def _lineage(pid: int) -> Iterator[Identity]:
    """Yield a process and its ancestors."""
    for _ in range(MOST_ANCESTORS):
        stat = procfs.process_stat(pid) if pid > 0 else None
        if stat is None:
            return
        yield Identity(boot_id=this_boot(), pid=pid, start_ticks=stat.start_ticks)
        pid = stat.parent


def _by_group(pid: int, leaders: Mapping[Identity, str]) -> str | None:
    """Return the run in whose session or group a process is; a leader's pid is not reused while anybody is in it."""
    stat = procfs.process_stat(pid)
    for leader, label in leaders.items() if stat else ():
        found = procfs.process_stat(leader.pid)
        is_reused = leader.boot_id != this_boot() or (found is not None and found.start_ticks != leader.start_ticks)
        if stat and not is_reused and leader.pid in (stat.group, stat.session):
            return label
    return None


def _is_here(pid: int) -> bool:
    return procfs.process_stat(pid) is not None


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc does not show this user (as with hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _may_be_meant(pid: int) -> bool:
    """Whether a driver's pid can be this process: in a container it may be of another namespace, that has others.

    There, only a process that has a GPU open is believed.
    """
    try:
        if str(Path("/proc/self/ns/pid").readlink()) == INITIAL_PID_NAMESPACE:
            return True
        return any(str(link.readlink()).startswith(GPU_FILES) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _user(pid: int) -> str | None:
    """Return the name of the user as whom a process runs; None where that cannot be told any more."""
    with suppress(OSError, IndexError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        uid = int(next((row for row in lines if row.startswith("Uid:")), "").split()[1])
        with suppress(KeyError):
            return pwd.getpwuid(uid).pw_name
        return str(uid)
    return None


def _container_of(pid: int) -> str:
    """Return which container a process is in by its control groups; "" for one that is in none, as far as they tell."""
    with suppress(OSError):
        found = _CONTAINER.search(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else ""
    return ""


def _name(pid: int) -> str:
    """Return the name of a process's program, as far as the kernel keeps it; "" where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _variable(variables: Sequence[bytes], name: bytes) -> str:
    """Return the value of a variable, which may hold anything; "" where there is none."""
    return next((row.removeprefix(name) for row in variables if row.startswith(name)), b"").decode(errors="replace")


def _environment(pid: int) -> Sequence[bytes]:
    """Return the variables that a process began with; none where they cannot be read."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return ()
