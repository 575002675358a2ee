"""Look at files that a request names with no more rights than its user has."""

from contextlib import AbstractContextManager, nullcontext

from greenrun.api.service import ServiceSettings
from greenrun.executors.units.account import account_of, acting_as


def looking_as(uid: int, settings: ServiceSettings) -> AbstractContextManager[None]:
    """Return a context in which this thread opens files as this user, where jobs run as who submitted them.

    Nothing of the daemon's own, such as its database, is to be opened in it. Raise ExecutorError without an account.
    """
    return acting_as(account_of(uid)) if settings.is_shared else nullcontext()
