"""For whom a report is: of whose jobs it may tell, and whom it may name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from greenrun.core.accounting.grouping import Truths
from greenrun.core.accounting.period import JobTable
from greenrun.core.accounting.usage import Owner

OTHERS = "others"

MayTell = Callable[[Owner], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whose jobs a report may tell of one by one (`tells`), and which users and their projects it may name (`names`).

    What others used is one row, so that sums close.
    """

    tells: MayTell = lambda owner: True
    names: MayTell = lambda owner: True
    is_told_all: bool = True


EVERYTHING = Reader()


def told_jobs(jobs: JobTable, may_tell: MayTell) -> Truths:
    """Return of which jobs a reader may be told, by whose they are."""
    return np.array([may_tell(owner) for owner in jobs.owners], dtype=np.bool_)[jobs.owner]
