"""The threads of notifications: one that looks for what happened by itself, and one for each hook."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from greenrun.clock import utc_now
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.conditions import Condition
from greenrun.core.errors import StoreError
from greenrun.core.planning.model import Plan
from greenrun.engine.polling import RequestCounts
from greenrun.notifications.delivery import Deliveries
from greenrun.notifications.hook import Hook
from greenrun.notifications.watching import Watch
from greenrun.store import Store

log = structlog.get_logger("greenrun.notifications")


class Notifier:
    """Runs beside the ticks: no hook, and no look at what happened, is waited for by one."""

    def __init__(
        self,
        store: Store,
        hooks: Sequence[Hook],
        host: str,
        *,
        counts: RequestCounts,
        plan: Callable[[], Plan],
        conditions: Callable[[], Sequence[Condition]],
        budgets: Callable[[], Sequence[Standing]] = tuple,
    ) -> None:
        """Take up what is left of the last daemon; raise StoreError."""
        self._deliveries = Deliveries(hooks, store.outbox, host)
        self._watch = Watch(store, counts, plan, conditions, self._deliveries.tell_unstored, budgets)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, every: timedelta) -> None:
        """Begin, and look for what happened `every` so often."""
        self._thread = threading.Thread(
            target=self._run, args=[every.total_seconds()], name="greenrun-notify", daemon=True
        )
        self._thread.start()
        self._deliveries.start()

    def stop(self) -> None:
        """Stop soon; idempotent, also before the start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._deliveries.stop()

    def _run(self, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                self._watch.look(utc_now())
            except StoreError as exc:
                log.warning("what happened cannot be looked for", error=str(exc))
            except Exception as exc:
                log.error("failed, will be tried again", call="notify", exc_info=exc)
