"""For whom a report is: of whose jobs it may tell, and whom it may name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from greenrun.core.accounting.grouping import Truths
from greenrun.core.accounting.period import JobTable

OTHERS = "others"

MayTell = Callable[[str], bool]  # of a user's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whose jobs a report may tell of one by one (`tells`), and which users and their projects it may name (`names`).

    What others used is one row, so that sums close.
    """

    tells: MayTell = lambda user: True
    names: MayTell = lambda user: True
    is_told_all: bool = True


EVERYTHING = Reader()


def told_jobs(jobs: JobTable, may_tell: MayTell) -> Truths:
    """Return of which jobs a reader may be told, by whose they are."""
    users, code = jobs.users
    return np.array([may_tell(user) for user in users], dtype=np.bool_)[code]
