"""What runs of all users leave: units that no database knows, and checkpoints in the folders of their users."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders, is_over
from greenrun.executors.leftovers.strays import StrayRuns
from greenrun.executors.run_folder import RUN, read_record
from greenrun.executors.units.account import acting_as
from greenrun.executors.units.bus import ServiceManager
from greenrun.executors.units.unit_properties import DESCRIPTION, PREFIX, unit_name
from greenrun.executors.units.user_folders import RUNS, UserFolders


class StrayUnits(StrayRuns):
    """The units of runs that are alive, whoever knows of them; `state` is the daemon's state folder."""

    def __init__(self, state: Path, manager: ServiceManager) -> None:
        super().__init__(state / RUNS)
        self._folder, self._manager = state / RUNS, manager

    def is_alive(self, stray: StrayRun) -> bool:
        """Whether anything of it is alive; assumed when that cannot be told."""
        try:
            return self._manager.state(unit_name(stray.token)).is_alive
        except ExecutorError:
            return True

    def end(self, stray: StrayRun, by: str) -> None:
        """Have systemd stop it; raise ExecutorError."""
        self._manager.stop(unit_name(stray.token))

    def _live(self) -> Iterator[tuple[Path, dict[str, object]]]:
        for name, description in self._manager.running(f"{PREFIX}*.service"):
            token, label = name.removeprefix(PREFIX).removesuffix(".service"), description.removeprefix(DESCRIPTION)
            folder = self._folder / label.replace("/", "_")
            record = read_record(str(folder), RUN) or {}
            yield folder, record if record.get("token") == token else {"token": token}


class UserCheckpoints(CheckpointFolders):
    """The checkpoint folders of all users, each looked through as its user."""

    def __init__(self, users: UserFolders) -> None:
        super().__init__(users.folder)
        self._users = users

    def last_id(self) -> int:
        """Return 0: what a user calls a folder says nothing about ids of jobs."""
        return 0

    def prune(self, find: Callable[[int], Job | None], before: datetime, *, keep: Collection[int] = ()) -> list[str]:
        """Delete the folders of jobs that ended before `before`; return their names."""
        pruned = []
        with suppress(OSError):
            for account in self._users.accounts():
                own = CheckpointFolders(self._users.of(account.uid) / CHECKPOINTS)
                with acting_as(account):
                    names = own.unchanged(before, keep)
                over = [name for name in names if is_over(name, find, before)]  # not as the user: that reads the store
                with acting_as(account):
                    own.delete(over)
                pruned += [f"{account.uid}/{name}" for name in over]
        return pruned
