"""The store: SQLite is the only truth, and nothing outside this folder knows SQL."""

from pathlib import Path
from types import TracebackType
from typing import Self

from greenrun.store.baselines import Baselines
from greenrun.store.books import Books
from greenrun.store.experience import Experience
from greenrun.store.grid import Grid
from greenrun.store.jobs import Jobs
from greenrun.store.migrate import migrate
from greenrun.store.periods import Periods
from greenrun.store.plans import Plans
from greenrun.store.powers import Powers
from greenrun.store.prices import ElectricityPrices
from greenrun.store.reach import Reach, Reaches
from greenrun.store.running import RunningTotals
from greenrun.store.runs import Runs
from greenrun.store.watching import Watching

__all__ = ["Reach", "Store"]


class Store(
    Jobs,
    Runs,
    Watching,
    Grid,
    Reaches,
    Books,
    Baselines,
    RunningTotals,
    Periods,
    Plans,
    Powers,
    ElectricityPrices,
    Experience,
):
    """`greenrun.engine.ports.Store` on one SQLite file: what it returned from is durable; safe for many threads."""

    def __init__(self, path: Path) -> None:
        """Open the database; create it (0600, its folder 0700) or bring it up to date first; raise StoreError."""
        migrate(path)
        super().__init__(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
