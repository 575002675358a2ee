"""The first page in parts, of which an open page is sent those that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from threading import Lock
from typing import Any

from pydantic_core import to_json

from greenrun.api.service import Service
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.job import State
from greenrun.metrics import Health
from greenrun.web import overview_sections as sections
from greenrun.web import schedule_chart
from greenrun.web.grid_now import grid_now, hourly
from greenrun.web.rendering import render

KEPT_FOR = timedelta(seconds=3)  # several pages of one person are made once
MOST_KEPT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSnapshot:
    """The page's parts by name, and which of them the rows of each list are, in order.

    `chart` is what the timeline draws; `version` is the same for the same content.
    """

    fragments: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]
    chart: bytes
    version: str

    def since(self, known: "PageSnapshot | None") -> dict[str, Any]:
        """Return what differs from what a page has: everything, where that is not known."""
        before = known.fragments if known else {}
        lists = known.lists if known else {}
        changed = {name: html for name, html in self.fragments.items() if before.get(name) != html}
        moved = {name: keys for name, keys in self.lists.items() if lists.get(name) != keys}
        return {"fragments": changed, "lists": moved, "redraw": known is None or known.chart != self.chart}


class Snapshots:
    """Makes snapshots as visitors may see them, and keeps each for a moment."""

    def __init__(self, daemon: Service) -> None:
        self._daemon = daemon
        self._kept: dict[Viewer | None, tuple[datetime, PageSnapshot]] = {}
        self._making = Lock()

    def of(self, visitor: Viewer | None) -> PageSnapshot:
        """Return the page as it is now, or was a moment ago; raise StoreError."""
        now = self._daemon.now()
        with self._making:
            known = self._kept.get(visitor)
            if known and timedelta(0) <= now - known[0] < KEPT_FOR:
                return known[1]
            made = _snapshot(self._daemon, visitor)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[visitor] = now, made
            return made


def may_act(visitor: Viewer | None) -> bool:
    """Whether a page has buttons for this visitor's own jobs: a program's token is no person who presses them."""
    return visitor is not None and not visitor.is_program


def _snapshot(daemon: Service, visitor: Viewer | None) -> PageSnapshot:
    now, zone = daemon.now().replace(second=0, microsecond=0), daemon.settings.zone  # so that it seldom changes
    grid = grid_now(zone, daemon.scheduler.active_forecast(None), now)
    running = sections.running_rows(daemon, visitor)
    queue = sections.queue_rows(daemon, visitor) if visitor else []
    windows = schedule_chart.windows_of(daemon, visitor, running)
    lanes = schedule_chart.lanes_of(daemon, windows)
    bars = schedule_chart.bars_of(windows, running, lanes)
    queued = daemon.store.jobs.count_queued()
    powers = daemon.scheduler.host.powers_w()
    health, wrong = daemon.scheduler.health(), sections.conditions(daemon)
    shared: dict[str, Any] = {
        "now": now, "grid": grid, "queued": queued, "next_start": sections.next_start(daemon),
        "running": len(daemon.store.runs.live_runs()), "power_w": sum(powers.values()) if powers else None,
        "visitor": visitor,
    }  # fmt: skip
    fragments = {
        "cards": render("parts/cards.html", shared),
        "figures": render("parts/figures.html", {**shared, "windows": windows, "hours": hourly(grid.steps)}),
        "reasons": render("parts/reasons.html", {"reasons": [] if visitor else sections.reason_counts(daemon)}),
        "budgets": render("parts/budgets.html", {"budgets": sections.budgets(daemon, visitor), "visitor": visitor}),
        "health": render("parts/health.html", {**shared, "health": _to_the_minute(health), "conditions": wrong,
                           "sources": daemon.scheduler.sources.states()}),
        "more": render("parts/more.html", {"queued": queued, "shown": len(queue), "visitor": visitor,
                         "queued_state": State.QUEUED.value}),
    }  # fmt: skip
    lists = {"running": [f"running-{row.id}" for row in running], "queue": [f"queued-{row.id}" for row in queue]}
    for row in running:
        fragments[f"running-{row.id}"] = render("parts/running_row.html", {"row": row, "can_act": may_act(visitor)})
    for line in queue:
        fragments[f"queued-{line.id}"] = render("parts/queue_row.html", {"row": line, "can_act": may_act(visitor)})
    chart = to_json(schedule_chart.chart_data(grid, lanes, bars, now))
    version = blake2b(to_json([fragments, lists]) + chart, digest_size=9).hexdigest()
    return PageSnapshot(fragments=fragments, lists=lists, chart=chart, version=version)


def _to_the_minute(health: Health) -> Health:
    """Return when parts last did something, so that it changes once a minute."""
    times = {name: at and at.replace(second=0, microsecond=0) for name, at in _times(health).items()}
    return replace(health, **times)


def _times(health: Health) -> Mapping[str, Any]:
    return {name: getattr(health, name) for name in ("last_tick_at", "last_sample_at", "forecast_fetched_at")}
