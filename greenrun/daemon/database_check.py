"""Tell whether the database can be written and is still there, and save what was deleted while it is open."""

from datetime import datetime
from itertools import count

import structlog

from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import StorageFull, StoreDamaged, StoreError, StoreLost
from greenrun.store import Store

MOST_COPIES = 100

log = structlog.get_logger("greenrun.daemon.database_check")

_CODES = {
    StorageFull: ConditionCode.DISK_FULL,
    StoreLost: ConditionCode.DATABASE_LOST,
    StoreDamaged: ConditionCode.DATABASE_DAMAGED,
}


class DatabaseCheck:
    """The check of the database, for HealthWatch. Of a file that was deleted it makes a copy beside it, once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copied = ""

    def __call__(self, now: datetime) -> list[Condition]:
        """Return what is wrong with the database."""
        trouble = self._store.database.trouble()
        if trouble is None:
            return []
        if isinstance(trouble, StoreLost):
            self._copied = self._copied or self._copy()
        # Of a StoreError, the sentence is what happened, a colon, and what a person can do.
        text, _, remedy = str(trouble).partition(": ")
        code = _CODES.get(type(trouble), ConditionCode.DATABASE_UNUSABLE)
        remedy = f"{remedy or 'the log has the reason; greenrun tries again by itself'}{self._copied}"
        return [Condition(code=code, effect=Effect.FAILING, text=text, remedy=remedy, since=now)]

    def _copy(self) -> str:
        path = self._store.path
        for number in count(1):
            target = path.with_name(f"{path.name}.rescued-{number}")
            try:
                if not self._store.database.rescue(target):
                    return ""
            except FileExistsError:
                if number < MOST_COPIES:
                    continue
                return ""
            except (OSError, StoreError) as exc:
                log.error("the deleted database could not be copied", error=str(exc))
                return ""
            log.warning("the database was deleted and what it held was copied", copy=str(target))
            return f"; all that the deleted file held is in {target}, which may take its place once greenrun is stopped"
        return ""
