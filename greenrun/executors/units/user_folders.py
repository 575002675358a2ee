"""The folder of each user in the state folder: made by root, the user's own from then on."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic

from greenrun.core.errors import ExecutorError, StartPostponed
from greenrun.executors.units.account import Account, account_of
from greenrun.executors.units.bus import ServiceManager
from greenrun.executors.units.unit_properties import folder_properties

MADE_WITHIN_S = 5.0
PAUSE_S = 0.005
USERS = "users"
RUNS = "runs"


class UserFolders:
    """`users/UID` for each user who has run a job. Only root may add or replace one, so its path can be relied on."""

    def __init__(self, state: Path, manager: ServiceManager) -> None:
        self._state, self._manager = state, manager
        self.folder = state / USERS

    def make(self) -> None:
        """Make the folder of all users; each may pass through, and nobody list it. Raise OSError."""
        self._state.mkdir(parents=True, exist_ok=True)
        self._state.chmod(0o711)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o711)

    def of(self, uid: int) -> Path:
        """Return where the folder of a user is, whether it is there or not."""
        return self.folder / str(uid)

    def make_for(self, account: Account) -> Path:
        """Return the folder of a user, made with mode 0700 if it is missing; raise ExecutorError, OSError.

        systemd makes it: this process has not got the right to give files away.
        """
        path = self.of(account.uid)
        if not _is_of(path, account):
            unit = f"greenrun-user-{account.uid}.service"
            is_begun = False

            def is_made() -> bool:
                nonlocal is_begun
                if not is_begun:  # an earlier unit of this name, which systemd has not put away yet, makes none
                    is_begun = self._manager.start_transient(unit, folder_properties(account, path))
                return _is_of(path, account)

            if not within(MADE_WITHIN_S, is_made):
                raise StartPostponed(
                    f"systemd did not make {path} for the user {account.name} in time; greenrun tries again "
                    f"(see: journalctl -u greenrun-user-{account.uid})"
                )
        return path

    def owner_of(self, uid: int) -> Account:
        """Return a user's account, or as much as is needed to open what is in the folder of one who has none any more.

        Raise ExecutorError where there is neither.
        """
        try:
            return account_of(uid)
        except ExecutorError:
            try:
                found = self.of(uid).lstat()
            except OSError:
                found = None
            if found is None or found.st_uid != uid:
                raise
            return Account(uid=uid, gid=found.st_gid, name=str(uid))

    def accounts(self) -> list[Account]:
        """Return the users who have a folder, also those who have no account any more. Raise OSError."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.isascii() and entry.name.isdigit():
                    try:
                        found.append(self.owner_of(int(entry.name)))
                    except ExecutorError:
                        continue
        return found


def _is_of(path: Path, account: Account) -> bool:
    try:
        return path.lstat().st_uid == account.uid
    except FileNotFoundError:
        return False


def within(limit_s: float, is_so: Callable[[], bool]) -> bool:
    """Wait until something is so, looking often; return whether it came about within the limit."""
    deadline = monotonic() + limit_s
    while not is_so():
        if monotonic() >= deadline:
            return False
        Event().wait(PAUSE_S)
    return True
