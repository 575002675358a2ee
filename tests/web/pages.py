"""The page over the API's fakes, asked as somebody or as nobody who is known."""

from collections.abc import Sequence
from typing import Any

import httpx

from greenrun.api.app import create_tcp_app
from greenrun.grid.sources import SourceState
from greenrun.web.page_app import add_page
from tests.api.fakes import ADA, NOW, World

STRANGER = "127.0.0.1"  # over TCP, with nothing that says who it is


class NoSources:
    """Sources of which there are none."""

    def states(self) -> Sequence[SourceState]:
        return []


class PageWorld(World):
    """A daemon of fakes whose page can be asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.scheduler.sources = NoSources()
        app = create_tcp_app(self.store, self.scheduler, self.settings, self.metrics, now=lambda: NOW)
        self.page = add_page(app)

    def get(self, path: str, *, who: str = ADA, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return self.ask("GET", path, who=who, app=self.page, headers={"host": "localhost", **headers})
