"""Execute runs on this machine, each under a shim that outlives the daemon."""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM
from types import MappingProxyType

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device
from greenrun.core.errors import DeviceBusy, ExecutorError, HostShort, StartPostponed
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import GpuIds, Job, Run
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors import run_folder
from greenrun.executors.containers.engines import ContainerEngine
from greenrun.executors.inspection import has_begun, own_record, status_of
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders
from greenrun.executors.locks import DeviceLocks, is_locked
from greenrun.executors.owners import ProcessOwners
from greenrun.executors.processes import Identity, send, this_boot
from greenrun.executors.run_folder import (
    BARRED,
    CHECKPOINT,
    HOW,
    KILLED,
    LOCK,
    STOP,
    TEMPORARY,
    VERSION,
    read_record,
    write_record,
)
from greenrun.executors.spawn import shim_spec, spawn_shim
from greenrun.executors.watcher import Watcher
from greenrun.host_shortage import FILES_LACKING, LOOKS_TAKE, hold_room, lacking, let_go
from greenrun.procfs import start_ticks

LOG_CAP_BYTES = 1 << 30
MOST_SPAWNED = 1000  # a run that has started is never asked to be started again
SHIM_GRACE_S = 10.0  # for a shim to end its run, besides the job's own grace


class LocalExecutor:
    """The Executor of one machine and one user.

    Run folders are `runs_dir/JOB.NUMBER` (format: `run_folder`), checkpoint folders lie in `runs_dir/../checkpoints`.
    Devices are locked in `locks_dir`, which all daemons of the host must share. `on_change` is called from another
    thread, some milliseconds after a run has started or ended; it must not block or raise. `devices` returns those of
    the host, so that a run's GPUs are made visible to it in their vendor's way; `gpu_ids` is how their names are
    written for a job that does not say.
    """

    def __init__(
        self,
        *,
        runs_dir: Path,
        locks_dir: Path,
        on_change: Callable[[], None] | None = None,
        log_cap_bytes: int = LOG_CAP_BYTES,
        devices: Callable[[], Sequence[Device]] = tuple,
        gpu_ids: GpuIds = GpuIds.UUID,
        limits: Mapping[str, str] = MappingProxyType({}),
        container_engine: ContainerEngine = ContainerEngine.AUTO,
        free_descriptors: Callable[[], int] = lambda: 0,
    ) -> None:
        """Create `runs_dir` if it is missing; raise ExecutorError if that fails."""
        self._runs_dir = runs_dir.absolute()
        self._locks = DeviceLocks(locks_dir.absolute())
        self._checkpoints = CheckpointFolders(self._runs_dir.parent / CHECKPOINTS)
        self._log_cap_bytes = log_cap_bytes
        self._devices, self._gpu_ids, self._container_engine = devices, gpu_ids, container_engine
        self._limits, self._free_descriptors = limits, free_descriptors
        self._held: list[int] = []  # for the start that is about to be made
        try:
            self._runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._inode = self._runs_dir.stat().st_ino
        except OSError as exc:
            raise ExecutorError(
                f"the folder for runs cannot be had ({exc}); correct it and start greenrun again"
            ) from exc
        self._stops: dict[str, float] = {}  # since when runs are asked to stop, by token
        self._opened_at = utc_now()
        self._spawned: deque[str] = deque(maxlen=MOST_SPAWNED)  # tokens of runs
        self._watcher = Watcher(on_change or (lambda: None))
        self._owners = ProcessOwners(self._runs_dir, self._folder)

    def close(self) -> None:
        """Stop watching; runs keep running."""
        self._watcher.close()

    @contextmanager
    def room(self, gpus: int = 0) -> Iterator[None]:
        """Keep ready what a start with so many GPUs takes, for the block; raise HostShort while that is lacking."""
        try:
            self._check_reachable()
            self._held = self._hold_room(gpus)
        except OSError as exc:
            # A folder that is not there is no shortage, and no job's fault either.
            what = lacking(exc) or f"its folder of runs ({exc})"
            raise HostShort(f"nothing can be started, because this machine is short of {what}", what) from exc
        try:
            yield
        finally:
            let_go(self._held)

    def _hold_room(self, gpus: int) -> list[int]:
        try:
            return hold_room(str(self._runs_dir), gpus)
        except OSError as exc:
            if exc.errno not in FILES_LACKING or not self._free_descriptors():
                raise
        return hold_room(str(self._runs_dir), gpus)

    def start(self, run: Run, job: Job) -> None:
        """Spawn the run's shim, which starts the command once; idempotent.

        Raise ExecutorError if nothing was spawned: a device is locked, or the run's folder is not available.
        """
        try:
            self._check_reachable()
            let_go(self._held, LOOKS_TAKE)
            if not self._is_in_place(run) and not self._has_begun(run):
                let_go(self._held)
                self._start(run, job)
        except DeviceBusy as busy:
            if not self._is_own(self._locks.signature(busy.device), run):
                raise
        except OSError as exc:
            text = f"run {run.label} was not started, because its supervisor could not be: {exc}"
            if what := lacking(exc):
                raise HostShort(text, what) from exc
            raise ExecutorError(text) from exc

    def poll(self, run: Run) -> RunStatus:
        """Return the run's current status: RUNNING from the start of its command on, ABSENT before."""
        try:
            self._check_reachable()
            return status_of(self._folder(run), run, self._watcher.follow, self._watcher.said(run.token))
        except OSError as exc:
            return RunStatus(phase=Phase.UNKNOWN, detail=f"its run folder cannot be read: {exc}")

    def fence(self, run: Run) -> bool:
        """Put a fence in place of the run's folder, so that it cannot start; return False if that exists, or it began.

        A folder of another run in that place fences it as well. Raise ExecutorError if the outcome is unknown.
        """
        fence = self._runs_dir / f"{TEMPORARY}{run.token}-barred-{os.getpid()}"
        try:
            self._check_reachable()
            if not self._folder(run).exists() and self._has_begun(run):
                return False
            fence.mkdir(mode=0o700, exist_ok=True)
            write_record(str(fence), BARRED, {"version": VERSION, "token": run.token}, sync=True)
            return self._take_place(fence, run) or own_record(self._folder(run), run) is None
        except OSError as exc:
            raise ExecutorError(f"whether run {run.label} has started cannot be told ({exc}); greenrun waits") from exc
        finally:
            run_folder.discard(str(fence))

    def stop(self, run: Run, by: str) -> None:
        """Have the shim send TERM, wait for the grace period and send KILL. Without a live shim, do nothing."""
        try:
            self._ask(run, {"by": by, HOW: "stop"})
        except OSError as exc:
            raise ExecutorError(f"run {run.label} could not be stopped ({exc}); greenrun tries again") from exc

    def checkpoint(self, run: Run, by: str) -> None:
        """Have the shim send the checkpoint signal, wait for the job's grace period, then stop the run.

        Without a live shim, or while the run is being stopped, do nothing. Raise ExecutorError, sending nothing,
        if the shim is of a release that knew only stops.
        """
        try:
            self._ask(run, {"by": by, HOW: CHECKPOINT})
        except OSError as exc:
            raise ExecutorError(f"run {run.label} could not be checkpointed ({exc}); greenrun tries again") from exc

    def held_elsewhere(self, devices: Sequence[str]) -> Mapping[str, str]:
        """Return those devices whose host-wide lock is held, and by whom; raise ExecutorError."""
        return self._locks.held_by_others(devices)

    def owners(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        """Return whose these processes are, as far as that can be told; raise ExecutorError."""
        return self._owners.of(pids, live)

    def prune(self, keep: set[str], before: datetime) -> int:
        """Delete the folders last changed before `before`, except the labels in `keep`; return how many.

        `keep` must hold the label of every live run. A folder whose lock is held is never touched.
        """
        try:
            old = [
                folder for folder in self._runs_dir.iterdir() if folder.name not in keep and _is_over(folder, before)
            ]
        except OSError as exc:
            raise ExecutorError(f"old run folders could not be listed ({exc}); they stay") from exc
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _ask(self, run: Run, request: Mapping[str, str]) -> None:
        """Write a request, unless the same one or a stop exists, and wake the shim to read it."""
        folder = self._folder(run)
        self._check_reachable()
        record = own_record(folder, run) or {}
        shim = Identity.from_record(record)
        if shim is None or not shim.is_alive():
            self._stops.pop(run.token, None)
            return
        if request[HOW] == CHECKPOINT and record.get("version") == 1:
            raise ExecutorError(
                f"run {run.label} was started by an older greenrun, which knew no checkpoints; it goes on"
            )
        asked = read_record(str(folder), STOP)
        if asked is None or (asked.get(HOW), request[HOW]) == (CHECKPOINT, "stop"):
            write_record(str(folder), STOP, {"version": VERSION, **request}, sync=False)
        if request[HOW] == CHECKPOINT or not self._has_given_up(run, shim, record.get("grace_s")):
            send(shim, SIGTERM)
            send(shim, SIGCONT)  # one that somebody stopped would not notice
            return
        killed = {"version": VERSION, "supervisor": shim.pid, "processes": 0}
        write_record(str(folder), KILLED, killed, sync=False)
        send(shim, SIGKILL)  # the next poll finds the tree without a supervisor, and ends it

    def _has_given_up(self, run: Run, shim: Identity, grace_s: object) -> bool:
        """Return whether a shim is stopped again and again, well past the grace since it was first asked to stop."""
        since = self._stops.setdefault(run.token, time.monotonic())
        grace = grace_s if isinstance(grace_s, int | float) else 0.0
        return time.monotonic() > since + grace + SHIM_GRACE_S and shim.is_stopped()

    def _folder(self, run: Run) -> Path:
        return self._runs_dir / run.label

    def _check_reachable(self) -> None:
        """Raise OSError unless `runs_dir` is the folder it was: an empty mount point must not mean "never started"."""
        if self._runs_dir.stat().st_ino != self._inode:
            raise OSError(f"{self._runs_dir} is not the folder it was when greenrun started")

    def _is_in_place(self, run: Run) -> bool:
        folder = self._folder(run)
        if folder.exists() and own_record(folder, run) is None:
            raise StartPostponed(f"{folder} is there already and not of this run, so nothing was started; move it away")
        return folder.exists()

    def _has_begun(self, run: Run) -> bool:
        """Whether a run without a folder is alive, or was: then somebody removed it. Raise OSError.

        Processes are looked through only for a run that may have been spawned before.
        """
        if self._watcher.said(run.token).has_started:
            return True
        is_new = run.token not in self._spawned and self._opened_at <= run.claimed_at <= utc_now()
        return not is_new and has_begun(self._folder(run), run)

    def _start(self, run: Run, job: Job) -> None:
        checkpoints = self._checkpoints.make(run, job)
        spec = shim_spec(
            run, job, folder=self._folder(run), checkpoints=checkpoints, log_cap_bytes=self._log_cap_bytes,
            devices=self._devices(), gpu_ids=self._gpu_ids, limits=self._limits,
            container_engine=self._container_engine,
        )  # fmt: skip
        signature = {"run": run.label, "runs_dir": str(self._runs_dir), "uid": os.getuid(), "pid": os.getpid()}
        with self._locks.held(run.devices, signature) as locks:
            pid, ready = spawn_shim(spec, locks, run.label)
            self._spawned.append(run.token)
        with suppress(
            OSError
        ):  # the shim is running: without the watcher it is found at the next tick instead of at once
            self._watcher.expect_ready(ready, run.token)
            self._watcher.follow(Identity(boot_id=this_boot(), pid=pid, start_ticks=start_ticks(pid)))

    def _is_own(self, signature: Mapping[str, object], run: Run) -> bool:
        return (signature.get("run"), signature.get("runs_dir")) == (run.label, str(self._runs_dir))

    def _take_place(self, fence: Path, run: Run) -> bool:
        """Rename a fence to the name of the run's folder; return False if that exists."""
        try:
            fence.rename(self._folder(run))
        except OSError:
            if not self._folder(run).exists():
                raise
            return False
        run_folder.sync_folder(str(self._runs_dir))
        return True


def _is_over(folder: Path, before: datetime) -> bool:
    try:
        return folder.stat().st_mtime < before.timestamp() and not is_locked(folder / LOCK)
    except OSError:
        return False
