"""Execute runs on this machine as their users: each in a transient unit of systemd, under a shim that is in it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from signal import SIGTERM
from types import MappingProxyType
from typing import TypeVar

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device
from greenrun.core.errors import DeviceBusy, ExecutorError, HostShort, StartPostponed
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import GpuIds, Job, Run
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors import run_folder
from greenrun.executors.containers.engines import ContainerEngine
from greenrun.executors.inspection import own_record
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders
from greenrun.executors.locks import DeviceLocks
from greenrun.executors.run_folder import BARRED, CHECKPOINT, HOW, STOP, TEMPORARY, VERSION, read_record, write_record
from greenrun.executors.spawn import shim_spec
from greenrun.executors.units import handover
from greenrun.executors.units.account import Account, account_of, acting_as
from greenrun.executors.units.bus import NotHeard, ServiceManager, UnitState, UnitWatch
from greenrun.executors.units.device_nodes import nodes_of
from greenrun.executors.units.folder_guard import FolderGuard, FolderHangs
from greenrun.executors.units.run_mirror import RunMirror
from greenrun.executors.units.unit_owners import UnitOwners
from greenrun.executors.units.unit_properties import PREFIX, properties, unit_name
from greenrun.executors.units.unit_status import Doubts, is_of_its_user, is_populated, status_of
from greenrun.executors.units.user_folders import RUNS, UserFolders
from greenrun.executors.watcher import Watcher
from greenrun.host_shortage import hold_room, lacking, let_go

LOG_CAP_BYTES = 1 << 30
PRUNED_WITHIN_S = 600.0  # of one user's folders; what is left then goes next time
T = TypeVar("T")
DOUBT = timedelta(seconds=5)  # between how long a run says that it took and its instants


class SystemdExecutor:
    """The Executor of a machine with several users, for a daemon that is root.

    A run's folder is `users/UID/runs/JOB.NUMBER` in the `state` folder, in the format of `run_folder`, written by the
    shim as the user; this process opens nothing in there but as the user. What systemd says goes before what such a
    folder says. `user_of` returns the user id of a job by its id; `on_change` is called from another thread when a run
    has started or ended, and must not block or raise. `devices`, `gpu_ids` and `limits` are as for LocalExecutor;
    `tasks_max` is how many processes and threads a run may have, 0 for systemd's own limit.
    """

    def __init__(
        self,
        *,
        state: Path,
        locks_dir: Path,
        user_of: Callable[[int], int],
        on_change: Callable[[], None] | None = None,
        log_cap_bytes: int = LOG_CAP_BYTES,
        devices: Callable[[], Sequence[Device]] = tuple,
        gpu_ids: GpuIds = GpuIds.UUID,
        limits: Mapping[str, str] = MappingProxyType({}),
        container_engine: ContainerEngine = ContainerEngine.AUTO,
        tasks_max: int = 0,
        manager: ServiceManager | None = None,
    ) -> None:
        """Make the folders that are missing; raise ExecutorError if that fails."""
        self._state = state.absolute()
        self._locks = DeviceLocks(locks_dir.absolute())
        self._user_of, self._uids = user_of, dict[int, int]()
        self._log_cap_bytes = log_cap_bytes
        self._devices, self._gpu_ids, self._limits = devices, gpu_ids, limits
        self._tasks_max, self._container_engine = tasks_max, container_engine
        self._manager = manager or ServiceManager()
        self._users = UserFolders(self._state, self._manager)
        self._mirror = RunMirror(self._state / RUNS)
        try:
            locks_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._state / RUNS).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._users.make()
            self._inode = self._users.folder.stat().st_ino
        except OSError as exc:
            raise ExecutorError(
                f"the folder for runs cannot be had ({exc}); correct it and start greenrun again"
            ) from exc
        changed = on_change or (lambda: None)
        self._asked: dict[str, tuple[float, float]] = {}  # since when runs are to checkpoint, and how long they have
        self._seen_at: dict[str, datetime] = {}  # when a run was last seen alive, by token
        self._doubts = Doubts()
        self._opened_at, self._handed_over = utc_now(), set[str]()
        self._guard, self._pruning = FolderGuard(), FolderGuard(PRUNED_WITHIN_S)
        self._watcher = Watcher(changed)
        self._ends = UnitWatch(PREFIX, changed)
        self._owners = UnitOwners(self._state / RUNS, self._folder)

    def close(self) -> None:
        """Stop watching; runs keep running."""
        self._ends.close()
        self._watcher.close()
        self._manager.close()

    @contextmanager
    def room(self, gpus: int = 0) -> Iterator[None]:
        """Keep ready what a start with so many GPUs takes, for the block; raise HostShort while that is lacking."""
        try:
            self._check_reachable()
            held = hold_room(str(self._users.folder), gpus)
        except OSError as exc:
            what = lacking(exc) or f"its folder of runs ({exc})"
            raise HostShort(f"nothing can be started, because this machine is short of {what}", what) from exc
        let_go(held)
        yield

    def start(self, run: Run, job: Job) -> None:
        """Have systemd start the run's unit, once; idempotent.

        Raise ExecutorError if nothing was started. Where systemd was not heard, that is not known: return then, and
        `poll` tells what became of it.
        """
        self._uids[run.job_id] = job.uid
        try:
            self._check_reachable()
            if not self._is_in_place(run):
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
        name = unit_name(run.token)
        try:
            self._check_reachable()
            unit = self._manager.state(name)
            if not unit.is_alive and is_populated(name):
                return RunStatus(
                    phase=Phase.UNKNOWN, detail="its processes are not gone yet, though systemd killed them"
                )
            status = self._looked_up(run, unit)
        except (OSError, ExecutorError) as exc:
            return RunStatus(phase=Phase.UNKNOWN, detail=f"how it is cannot be told: {exc}")
        return self._kept(run, unit, self._doubts.settled(run, unit, status))

    def fence(self, run: Run) -> bool:
        """Put a fence in place of the run's folder, so that it cannot start; return False if that exists, or it began.

        Raise ExecutorError if the outcome is unknown, as long as its unit lives most of all.
        """
        try:
            self._check_reachable()
            is_alive = self._manager.state(unit_name(run.token)).is_alive
            self._users.make_for(self._users.owner_of(self._uid(run)))
            return self._as_user(run, lambda: self._fenced(run, is_alive=is_alive))
        except (OSError, FolderHangs) as exc:
            if is_of_its_user(exc) and not is_alive and self._was_never_handed_over(run):
                return True  # whatever its user did to the folder
            raise ExecutorError(f"whether run {run.label} has started cannot be told ({exc}); greenrun waits") from exc

    def _fenced(self, run: Run, *, is_alive: bool) -> bool:
        folder = self._folder(run)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        if own_record(folder, run) is not None:
            return False
        if is_alive:
            raise ExecutorError(f"the unit of run {run.label} is alive and may start its command; greenrun waits")
        return self._put_fence(folder, run)

    def _was_never_handed_over(self, run: Run) -> bool:
        """Whether systemd was certainly never asked to start it: this process claimed it, and did not ask."""
        return run.token not in self._handed_over and self._opened_at <= run.claimed_at <= utc_now()

    def stop(self, run: Run, by: str) -> None:
        """Have systemd stop the unit: TERM to the shim, which gives the command its grace, and KILL to all after it.

        How long all of that may take was told to systemd when the unit was made. Without a live unit, do nothing.
        """
        name = unit_name(run.token)
        try:
            unit = self._manager.state(name)
            if unit.is_alive and unit.active != "deactivating":
                with suppress(OSError, ExecutorError):  # its user may have made that impossible
                    self._as_user(run, lambda: self._note_request(run, {"by": by, HOW: "stop"}))
                self._manager.stop(name)
        except OSError as exc:
            raise ExecutorError(f"run {run.label} could not be stopped ({exc}); greenrun tries again") from exc

    def checkpoint(self, run: Run, by: str) -> None:
        """Have the shim send the checkpoint signal, wait for the job's grace period, then stop the run.

        Without a live unit, or while the run is being stopped, do nothing. A shim that does not obey, since its user
        stopped it or changed it, is ended with its unit.
        """
        name = unit_name(run.token)
        try:
            unit = self._manager.state(name)
            if not unit.is_alive or unit.active == "deactivating":
                self._asked.pop(run.token, None)
                return
            since, limit_s = self._asked.setdefault(run.token, (time.monotonic(), self._manager.stop_timeout_s(name)))
            if time.monotonic() - since > limit_s:
                self._manager.stop(name)
                return
            if self._as_user(run, lambda: self._note_request(run, {"by": by, HOW: CHECKPOINT})):
                self._manager.signal_main(name, SIGTERM)
        except OSError as exc:
            raise ExecutorError(f"run {run.label} could not be checkpointed ({exc}); greenrun tries again") from exc

    def held_elsewhere(self, devices: Sequence[str]) -> Mapping[str, str]:
        """Return those devices whose host-wide lock is held, and by whom; raise ExecutorError."""
        return self._locks.held_by_others(devices)

    def owners(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        """Return whose these processes are, as far as that can be told; raise ExecutorError."""
        return self._owners.of(pids, live)

    def prune(self, keep: set[str], before: datetime) -> int:
        """Delete the folders of all users last changed before `before`, except the labels in `keep`; return how many.

        `keep` must hold the label of every live run.
        """
        deleted = 0
        try:
            for account in self._users.accounts():
                folder = self._users.of(account.uid) / RUNS
                with suppress(FolderHangs):
                    deleted += self._pruning.call(
                        account.uid, partial(_acting, account, partial(_prune, folder, keep, before))
                    )
            _prune(self._state / RUNS, keep, before)
        except OSError as exc:
            raise ExecutorError(f"old run folders could not be listed ({exc}); they stay") from exc
        return deleted

    def _start(self, run: Run, job: Job) -> None:
        account = account_of(self._uid(run))
        if account.name != job.user:
            raise ExecutorError(
                f"it was submitted by {job.user}, whose number {account.uid} is now that of the account "
                f"{account.name}, so nothing was started as {account.name}; submit it anew as who is to run it"
            )
        nodes = nodes_of(run.devices, self._devices())
        home = self._users.make_for(account)

        def make() -> Path:
            (home / RUNS).mkdir(mode=0o700, exist_ok=True)
            return CheckpointFolders(home / CHECKPOINTS).make(run, job)

        checkpoints = self._as_user(run, make)
        spec = shim_spec(
            run, job, folder=self._folder(run), checkpoints=checkpoints, log_cap_bytes=self._log_cap_bytes,
            devices=self._devices(), gpu_ids=self._gpu_ids, limits=self._limits,
            container_engine=self._container_engine,
        )  # fmt: skip
        runs_dir = str(self._state / RUNS)
        signature = {"run": run.label, "runs_dir": runs_dir, "uid": account.uid, "pid": os.getpid()}
        with self._locks.held(run.devices, signature) as locks:
            self._hand_over(run, job, account, nodes, {**spec, "gpu_locks": handover.locks_of(len(locks))}, locks)

    def _hand_over(
        self,
        run: Run,
        job: Job,
        account: Account,
        nodes: Sequence[str],
        spec: Mapping[str, object],
        locks: Sequence[int],
    ) -> None:
        """Have the unit started with its specification in anonymous memory: it holds the environment."""
        memory = os.memfd_create("greenrun-spec")
        messages, ready = os.pipe()
        try:
            os.fchmod(memory, 0o600)  # /proc/self/fd leads here a thread that acts as a user, and it was open to all
            with open(memory, "w", encoding="utf-8", closefd=False) as file:
                json.dump(spec, file)
            os.lseek(memory, 0, os.SEEK_SET)
            with handover.send(memory, ready, locks) as its:
                self._handed_over.add(run.token)
                told = properties(run, job, account, nodes, its.fileno(), self._tasks_max)
                self._manager.start_transient(unit_name(run.token), told)
        except NotHeard:  # it may have been started: `poll` asks again
            os.close(messages)
        except BaseException:
            os.close(messages)
            raise
        else:
            self._watcher.expect_ready(messages, run.token)
        finally:
            os.close(memory)
            os.close(ready)

    def _looked_up(self, run: Run, unit: UnitState) -> RunStatus:
        """Return what the folder of a run says, as its user; raise OSError, ExecutorError.

        Where its user hides that, a run that has started goes on as long as its unit does: so it can be stopped.
        """
        said, age_s = self._watcher.said(run.token), partial(self._manager.age_s, unit_name(run.token))
        try:
            return self._as_user(run, lambda: status_of(self._folder(run), run, unit, said, age_s))
        except (OSError, FolderHangs) as exc:
            if not is_of_its_user(exc):
                raise
            if unit.is_alive and run.started_at is not None:
                return RunStatus(phase=Phase.RUNNING, started_at=run.started_at)
            return RunStatus(phase=Phase.UNKNOWN, detail=f"how it is cannot be told: {exc}")

    def _kept(self, run: Run, unit: UnitState, status: RunStatus) -> RunStatus:
        """Return the status with times that agree with what was seen; keep it for the meters and the next daemon."""
        now = utc_now()
        if unit.is_alive:
            self._seen_at[run.token] = now
            if status.phase is Phase.RUNNING and not self._mirror.is_begun(run):
                self._note_supervisor(run)
        seen_at = self._seen_at.get(run.token)
        if status.started_at is not None and status.started_at > now:
            status = replace(status, started_at=now)
        if status.ended_at is not None:
            self._seen_at.pop(run.token, None)
            self._handed_over.discard(run.token)
            self._asked.pop(run.token, None)
            if seen_at is not None and seen_at > status.ended_at:
                status = replace(status, ended_at=seen_at, ran=None)
            if status.ran is not None and abs(replace(status, ran=None).length - status.ran) > DOUBT:
                status = replace(status, ran=None)  # its user may have written anything there
        self._mirror.follow(run, status)
        return status

    def _note_supervisor(self, run: Run) -> None:
        try:
            pid = self._manager.main_pid(unit_name(run.token))
        except ExecutorError:
            return  # the next look may tell
        if pid:
            self._mirror.begin(run, self._uid(run), pid)

    def _note_request(self, run: Run, request: Mapping[str, str]) -> bool:
        """Write a request for the shim to read, unless the same one or a stop is there; False without its folder."""
        folder = self._folder(run)
        if own_record(folder, run) is None:
            return False
        asked = read_record(str(folder), STOP)
        if asked is None or (asked.get(HOW), request[HOW]) == (CHECKPOINT, "stop"):
            write_record(str(folder), STOP, {"version": VERSION, **request}, sync=False)
        return True

    def _put_fence(self, folder: Path, run: Run) -> bool:
        fence = folder.parent / f"{TEMPORARY}{run.token}-barred-{os.getpid()}"
        try:
            fence.mkdir(mode=0o700, exist_ok=True)
            write_record(str(fence), BARRED, {"version": VERSION, "token": run.token}, sync=True)
            try:
                fence.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
                return own_record(folder, run) is None
            run_folder.sync_folder(str(folder.parent))
            return True
        finally:
            run_folder.discard(str(fence))

    def _is_in_place(self, run: Run) -> bool:
        def look() -> bool:
            folder = self._folder(run)
            if os.path.lexists(folder) and own_record(folder, run) is None:
                raise StartPostponed(
                    f"{folder} is there already and not of this run, so nothing was started; move it away"
                )
            return folder.exists()

        return self._as_user(run, look)

    def _uid(self, run: Run) -> int:
        if run.job_id not in self._uids:
            self._uids[run.job_id] = self._user_of(run.job_id)
        return self._uids[run.job_id]

    def _as_user(self, run: Run, look: Callable[[], T]) -> T:
        """Do something in the folder of a run's user, as this user; raise FolderHangs where that takes too long.

        The user may have no account any more: what is in the folder is there all the same.
        """
        owner = self._users.owner_of(self._uid(run))
        return self._guard.call(owner.uid, partial(_acting, owner, look))

    def _folder(self, run: Run) -> Path:
        return self._users.of(self._uid(run)) / RUNS / run.label

    def _check_reachable(self) -> None:
        """Raise OSError unless the folder of users is the one it was: an empty mount point must not mean "no run"."""
        if self._users.folder.stat().st_ino != self._inode:
            raise OSError(f"{self._users.folder} is not the folder it was when greenrun started")

    def _is_own(self, signature: Mapping[str, object], run: Run) -> bool:
        return (signature.get("run"), signature.get("runs_dir")) == (run.label, str(self._state / RUNS))


def _acting(account: Account, look: Callable[[], T]) -> T:
    with acting_as(account):
        return look()


def _prune(folder: Path, keep: Collection[str], before: datetime) -> int:
    """Delete what is old in a folder of runs; return how much. A user who removed it has none."""
    old = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_old = entry.stat(follow_symlinks=False).st_mtime < before.timestamp()
                if entry.name not in keep and entry.is_dir(follow_symlinks=False) and is_old:
                    old.append(entry.path)
    except FileNotFoundError:
        return 0
    for path in old:
        with suppress(RecursionError):  # of folders in folders, by the thousand
            shutil.rmtree(path, ignore_errors=True)
    return len(old)
