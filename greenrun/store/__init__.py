"""The store: SQLite is the only truth, and nothing outside this folder knows SQL."""

from pathlib import Path
from types import TracebackType
from typing import Self

from greenrun.store.credential_rows import CredentialRepository
from greenrun.store.database import CONNECTIONS, Database
from greenrun.store.devices.drains import DrainRepository
from greenrun.store.devices.reservations import ReservationRepository
from greenrun.store.free_pages import rebuild_if_mostly_free, shrink
from greenrun.store.gpus.capping_effects import CappingEffectRepository
from greenrun.store.gpus.power_limits import PowerLimitRepository
from greenrun.store.grid import GridRepository, Reach
from greenrun.store.history import FinishedJobRepository
from greenrun.store.jobs import JobRepository
from greenrun.store.ledger.archive import Archive
from greenrun.store.ledger.baselines import BaselineRepository
from greenrun.store.ledger.books import BookRepository
from greenrun.store.migrate import migrate
from greenrun.store.outbox import OutboxRepository
from greenrun.store.plans import PlanRepository
from greenrun.store.prices import PriceRepository
from greenrun.store.runs import RunRepository
from greenrun.store.trail import TrailRepository

__all__ = ["Reach", "Store"]


class Store:
    """One SQLite file, and a repository over it for each subject; safe for many threads.

    Acknowledged means durable: what a repository returned from is on the disk. Each call is one short transaction.
    """

    def __init__(self, path: Path, connections: int = CONNECTIONS) -> None:
        """Open the database; create it (0600, its folder 0700) or bring it up to date first; raise StoreError."""
        migrate(path)
        rebuild_if_mostly_free(path)
        self.path = path
        self.database = Database(path, connections)
        self.jobs = JobRepository(self.database)
        self.runs = RunRepository(self.database)
        self.trail = TrailRepository(self.database)
        self.outbox = OutboxRepository(self.database)
        self.grid = GridRepository(self.database)
        self.books = BookRepository(self.database)
        self.baselines = BaselineRepository(self.database)
        self.drains = DrainRepository(self.database)
        self.power_limits = PowerLimitRepository(self.database)
        self.reservations = ReservationRepository(self.database)
        self.credentials = CredentialRepository(self.database)
        self.capping_effects = CappingEffectRepository(self.database)
        self.plans = PlanRepository(self.database)
        self.prices = PriceRepository(self.database)
        self.history = FinishedJobRepository(self.database)
        self.archive = Archive(self.database)

    def shrink(self) -> int:
        """Give room that is free inside the file back to the disk; return how many pages; raise StoreError."""
        return shrink(self.database)

    def close(self) -> None:
        """Close all connections; the store cannot be used after that."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
