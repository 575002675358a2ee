"""The page over the API's fakes, asked as somebody or as nobody who is known."""

import re
from collections.abc import Sequence
from typing import Any

import httpx

from greenrun.api.app import create_tcp_app
from greenrun.core.energy.ledger import Total
from greenrun.core.jobs.job import Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Plan, Waiting
from greenrun.grid.sources import SourceState
from greenrun.web.page_app import add_page
from tests.api.fakes import ADA, GPU, HOUR, NOW, World, forecast, placed, stored

STRANGER = "127.0.0.1"  # over TCP, with nothing that says who it is


class NoSources:
    """Sources of which there are none."""

    def states(self) -> Sequence[SourceState]:
        return []


class PageWorld(World):
    """A daemon of fakes whose page can be asked for."""

    def __init__(self, **settings: Any) -> None:
        self.now = NOW
        super().__init__(**settings)
        self.scheduler.sources = NoSources()
        app = create_tcp_app(self.store, self.scheduler, self.settings, self.metrics, now=lambda: self.now)
        self.page = add_page(app)

    def get(self, path: str, *, who: str = ADA, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return self.ask("GET", path, who=who, app=self.page, headers={"host": "localhost", **headers})


def busy(**settings: Any) -> PageWorld:
    """A daemon on which a job of ada's runs, and one waits for a window and one for a hold."""
    world = PageWorld(**settings)
    run = Run(id=7, job_id=1, number=1, token="t", devices=(GPU.id,), claimed_at=NOW - HOUR, started_at=NOW - HOUR)
    world.store.keep(stored(1, State.RUNNING, name="bert"), stored(2, name="gpt"), stored(3, name="vit", held=True))
    world.store.job_runs[1] = [run]
    world.store.totals[7] = Total(energy_j=3.6e6, emissions_g=123.0)
    waiting = Waiting(job_id=3, reason=because(ReasonCode.HELD, who="ada", job=3))
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(2),), waiting=(waiting,))
    world.store.saved = forecast([200.0] * 8 + [50.0] * 40)
    return world


def text_of(html: str) -> str:
    """What a reader reads, without tags and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
