"""Look at files that a request names with no more rights than its user has, and without waiting for long.

A path may lead to a file system that hangs. Who looks there waits in a thread of its user, so that requests of one user
never take all the threads that answer everybody's.
"""

from collections.abc import Callable
from typing import TypeVar

from greenrun.api.service import ServiceSettings
from greenrun.core.errors import ExecutorError
from greenrun.executors.units.account import account_of, acting_as
from greenrun.executors.units.folder_guard import FolderGuard, FolderHangs

T = TypeVar("T")
LIMIT_S = 10.0  # for one look: a few files of one job, or of the jobs of one array
_guard = FolderGuard(LIMIT_S)


def look_as(uid: int, settings: ServiceSettings, look: Callable[[], T]) -> T:
    """Return what `look` returns, or raise what it raises; it opens files as this user where jobs run as their users.

    Nothing of the daemon's own, such as its database, is to be opened in it. Raise ExecutorError without an account
    and where a file system does not answer in time: then nothing more is looked at for this user until it does.
    """

    def looked() -> T:
        if not settings.is_shared:
            return look()
        with acting_as(account_of(uid)):
            return look()

    try:
        return _guard.call(uid, looked)
    except FolderHangs as exc:
        raise ExecutorError(
            f"a file or folder of the user {uid} that a request named has not been answered for by its file system, "
            "so greenrun did not do what was asked: see that the file system is there (mount, ls), then ask again"
        ) from exc
