"""Half an hour that a real Prometheus scraped every 15 s, with its script and the books that it has left.

The half hour passes in virtual time. What would have been scraped is put into Prometheus's database with its instants,
and each query is asked as of then, so that nothing here depends on how fast the machine is.
"""

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from greenrun.core.planning.model import Plan
from tests.conftest import require
from tests.metrics.dashboards import RULES, blocks
from tests.metrics.lab import EVERY, HOUR, HUNG, MINUTE, SECOND, Grid, Lab, lab
from tests.patience import HANGS_S
from tests.system.prometheus import Prometheus, serving
from tests.world import SLOT, T0, Process, open_store

FIRST = T0 - 2 * MINUTE  # the first scrape
END = T0 + 31 * MINUTE  # ... and the last one
RANGE = (END - FIRST) // MINUTE  # minutes: what Grafana would put in for a panel over all of it
NEAR, FAR = 5.0, 15.0  # how far forecasts are off, in g/kWh, of the day ahead and of the one after it
CLEAN, LATER = 8, 20  # half hours: the cleanest as forecasts have it up to 0:30, and from then on
UNLIKE = 300.0  # what the forecast of the former is raised by then
SILENT = (6 * MINUTE, 6 * MINUTE + 20 * SECOND)  # GPU 2 cannot be read
DEAD = (13 * MINUTE + 30 * SECOND, 13 * MINUTE + 40 * SECOND)  # the samplers have died, and are replaced after that
FULL = (22 * MINUTE, 24 * MINUTE)  # the disk is full
DOWN = (29 * MINUTE, 30 * MINUTE + 30 * SECOND)  # the grid's source fails
AGAIN = 30 * MINUTE + 40 * SECOND  # ... and is asked once more
HANGS = (14 * MINUTE, 12 * MINUTE)  # when a job begins that holds a GPU and does nothing, and for how long
ASKED = 5 * MINUTE  # between two questions for news of the grid


def truth(start: datetime) -> float:
    """The intensity of a half hour in g/kWh."""
    number = (start - T0) // SLOT
    return {-2: 420.0, -1: 400.0, 0: 300.0, 1: 280.0, CLEAN: 90.0, LATER: 110.0}.get(number, 240.0 + number * 37 % 150)


def error(start: datetime, at: datetime) -> float:
    """How far the forecast of a half hour was off that was made in the one which began at `at`."""
    is_news = at >= T0 + SLOT and start == T0 + CLEAN * SLOT
    return (NEAR if start - at < 24 * HOUR else FAR) + (UNLIKE if is_news else 0.0)


def script(one: Lab) -> list[tuple[timedelta, Callable[[], object]]]:
    """What happens, and when after T0."""
    return [
        (-30 * MINUTE, lambda: one.submit(200, project="vision", max_delay=40 * MINUTE)),  # starts at T0, cleaner
        (2 * MINUTE, lambda: one.submit(402, project="vision", start_now=True)),
        (3 * MINUTE, lambda: one.submit(600, project="vision", max_delay=20 * HOUR)),  # waits, and is put off
        (4 * MINUTE, lambda: one.submit(96, code=3, project="speech", start_now=True)),
        (5 * MINUTE, lambda: one.quality.refresh(one.now)),
        (10 * MINUTE, lambda: one.submit(334, project="vision", start_now=True)),
        (12 * MINUTE, lambda: one.submit(250, project='=odd"\\ name', start_now=True)),
        (13 * MINUTE, lambda: one.submit(100, gpus=8, max_delay=7 * MINUTE)),  # never starts
        (HANGS[0], lambda: one.submit(HANGS[1] / SECOND, project=HUNG, start_now=True)),
        (17 * MINUTE - 4 * SECOND, lambda: one.submit(60, project="speech", max_delay=SECOND)),  # is late at once
        (19 * MINUTE, lambda: one.submit(122, code=1, project="speech", start_now=True)),
        (AGAIN, one.ask),
    ]


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """The books of the half hour, its script, and a Prometheus that has scraped it."""

    path: Path
    prometheus: Prometheus
    lab: Lab

    def asked(self, query: str, at: datetime = END) -> Mapping[str, float]:
        """Ask a query, with what rules record in place of their names: rules look at no time that is over."""
        query = query.replace("[5m]", f"[{RANGE}m]")
        for name, expression in recorded().items():
            query = re.sub(re.escape(name) + r"(\{[^}]*\})?", lambda _, text=expression: f"({text})", query)
        return self.prometheus.at(query, at.timestamp())

    def booked(self, query: str) -> dict[str, float]:
        """Ask the books in SQL: a name and a number in each row."""
        with closing(sqlite3.connect(self.path)) as connection:
            return {str(name): value for name, value in connection.execute(query).fetchall()}

    def plan(self, at: datetime = END) -> Plan:
        """The plan in force at an instant."""
        return [made for since, made in self.lab.plans if since <= at][-1]

    def run(self, job_id: int) -> Process:
        """The only run of a job, as it really was."""
        (found,) = [one for one in self.lab.world.processes.values() if one.job_id == job_id]
        return found

    def running(self, at: datetime) -> list[Process]:
        """The processes that run at an instant."""
        return [one for one in self.lab.world.processes.values() if one.started_at <= at < one.ends_at]


def recorded() -> dict[str, str]:
    """The expression of each recording rule."""
    return {
        name: re.sub(r"#.*", "", block).replace("expr:", "").replace("|\n", "\n", 1)
        for name, block in blocks(RULES, "record").items()
    }


@contextmanager
def scraped(folder: Path) -> Iterator[Scraped]:
    """Live the half hour, and give a Prometheus that has scraped it."""
    promtool = require("promtool", "install Debian's package prometheus")
    told = folder / "scrapes.txt"
    with open_store(folder) as store, lab(folder, store, Grid(truth, error), now=T0 - 96 * HOUR) as one:
        told.write_text("".join(lived(one)) + "# EOF\n", encoding="utf-8")
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(told), str(folder / "tsdb")]
    subprocess.run(command, check=True, timeout=HANGS_S, capture_output=True)
    # Of what Prometheus scrapes itself, a series ends with the scrape that lacks it; of what it imports, after this.
    lookback = "--query.lookback-delta=20s"
    with serving(folder, {"global": {"scrape_interval": "15s"}}, lookback) as prometheus:
        yield Scraped(path=folder / "greenrun.db", prometheus=prometheus, lab=one)


def lived(one: Lab) -> Iterator[str]:
    """Live four days of forecasts, forty minutes that nobody scrapes, and the half hour; yield each scrape."""
    one.foresee(T0 - 40 * MINUTE)
    one.quality.refresh(one.now)
    due = script(one)

    def each() -> None:
        while due and T0 + due[0][0] <= one.now:
            due.pop(0)[1]()
        at = one.now - T0
        one.boards[2].is_silent = SILENT[0] <= at < SILENT[1]
        one.grid.is_down = DOWN[0] <= at < DOWN[1]
        one.is_sampling = not DEAD[0] <= at < DEAD[1]
        if at == DEAD[1]:
            one.gpu_meter.reopen()
            one.cpu_meter.reopen()

    yield from one.live(FIRST - EVERY, scraped=False, each=each)
    yield from one.live(T0 + FULL[0] - SECOND, each=each)
    with one.full_disk():
        yield from one.live(T0 + FULL[1] - SECOND, each=each)
    yield from one.live(END, each=each)
