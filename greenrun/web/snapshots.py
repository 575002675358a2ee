"""The first page in parts, of which an open page is sent those that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from threading import Lock
from time import thread_time
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

RESTS = 400
LONGEST_REST = timedelta(seconds=30)
EVERY_LIVE_S, EVERY_IDLE_S = 20, 60  # how often what runs used is shown anew; it is booked once a minute
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
    """Makes snapshots as visitors may see them, and keeps each until something is new.

    To make one may take many milliseconds. So an open page is not given another one before RESTS times as long as the
    last one took has passed: then it costs the daemon at most 0.3 % of a core.
    """

    def __init__(self, daemon: Service) -> None:
        self._daemon = daemon
        self._kept: dict[Viewer | None, _Kept] = {}
        self._making = Lock()

    def of(self, visitor: Viewer | None, *, is_followed: bool = False) -> PageSnapshot:
        """Return the page as it is now; one that `is_followed` may be some seconds old; raise StoreError."""
        with self._making:
            now, known = self._daemon.now(), self._kept.get(visitor)
            if known and is_followed and timedelta(0) <= now - known.made_at < known.rests:
                return known.snapshot
            mark = _mark(self._daemon, now)
            if known and known.mark == mark:
                return known.snapshot
            began_s = thread_time()
            made = _snapshot(self._daemon, visitor)
            rests = min(LONGEST_REST, RESTS * timedelta(seconds=thread_time() - began_s))
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[visitor] = _Kept(made_at=now, snapshot=made, mark=mark, rests=rests)
            return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    made_at: datetime
    snapshot: PageSnapshot
    mark: tuple[object, ...]
    rests: timedelta


def _mark(daemon: Service, now: datetime) -> tuple[object, ...]:
    """Return what is another one whenever the page may be; energy and power alone change it by the clock."""
    scheduler, live = daemon.scheduler, daemon.store.runs.live_runs()
    active, latest = scheduler.active_forecast(None), daemon.store.jobs.events(limit=1)
    return (
        int(now.timestamp()) // (EVERY_LIVE_S if live else EVERY_IDLE_S),
        _Same(scheduler.plan()),
        (active.fallback_level, active.since, active.why) if active else None,  # the rest of it changes by the clock
        active.forecast.series.id if active and active.forecast else None,
        _Same(scheduler.budgets.standings),
        tuple(row.id for row in latest),
        tuple((run.id, run.started_at) for run in live),
        daemon.store.jobs.count_queued(),
        tuple((row.code, row.text) for row in sections.conditions(daemon)),
    )


@dataclass(frozen=True, slots=True)
class _Same:
    """Equal to another one of the same object alone, which it keeps, so that no other one gets its place in memory."""

    it: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


def may_act(visitor: Viewer | None) -> bool:
    """Whether a page has buttons for this visitor's own jobs: a program's token is no person who presses them."""
    return visitor is not None and not visitor.is_program


def _snapshot(daemon: Service, visitor: Viewer | None) -> PageSnapshot:
    instant, zone = daemon.now(), daemon.settings.zone
    now = instant.replace(second=0, microsecond=0)  # so that it seldom changes
    grid = grid_now(zone, daemon.scheduler.active_forecast(None), instant)  # which may begin within this minute
    running = sections.running_rows(daemon, visitor)
    queue = sections.queue_rows(daemon, visitor) if visitor else []
    windows = schedule_chart.windows_of(daemon, visitor, running)
    lanes = schedule_chart.lanes_of(daemon, windows)
    bars = schedule_chart.bars_of(windows, lanes)
    queued = daemon.store.jobs.count_queued()
    health, wrong = daemon.scheduler.health(), sections.conditions(daemon)
    shared: dict[str, Any] = {
        "now": now, "grid": grid, "queued": queued, "next_start": sections.next_start(daemon),
        "running": len(daemon.store.runs.live_runs()), "gpu_power": sections.gpu_power(daemon),
        "visitor": visitor,
    }  # fmt: skip
    fragments = {
        "cards": render("parts/cards.html", shared),
        "figures": render("parts/figures.html", {**shared, "windows": windows, "hours": hourly(grid.steps),
                          "most_windows": schedule_chart.MOST_BARS}),
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
    chart = to_json(schedule_chart.chart_data(grid, lanes, bars, instant))
    version = blake2b(to_json([fragments, lists]) + chart, digest_size=9).hexdigest()
    return PageSnapshot(fragments=fragments, lists=lists, chart=chart, version=version)


def _to_the_minute(health: Health) -> Health:
    """Return when parts last did something, so that it changes once a minute."""
    times = {name: at and at.replace(second=0, microsecond=0) for name, at in _times(health).items()}
    return replace(health, **times)


def _times(health: Health) -> Mapping[str, Any]:
    return {name: getattr(health, name) for name in ("last_tick_at", "last_sample_at", "forecast_fetched_at")}
