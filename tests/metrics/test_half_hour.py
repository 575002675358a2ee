"""Half an hour that a real Prometheus scraped every 15 s: panels and rules say what the books say of it.

The half hour passes in virtual time. What would have been scraped is put into Prometheus's database with its instants,
and each query is asked as of the end, so that nothing here depends on how fast the machine is.
"""

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from greenrun.engine.engine import Engine
from greenrun.metrics import Health, LiveState, MetricsCollector, registry_of
from greenrun.store import Store
from tests.conftest import require
from tests.metrics.dashboards import RULES, blocks, queries
from tests.patience import HANGS_S
from tests.system.prometheus import Prometheus, serving
from tests.world import T0, WATTS, World, new_engine, open_store, spec

pytestmark = [pytest.mark.system, pytest.mark.slow]

EVERY, MINUTE = timedelta(seconds=15), timedelta(minutes=1)
END = T0 + 31 * MINUTE  # the first minute is there for the counters to begin
PUE = 1.2
RANGE = "31m"  # what Grafana would put in for a panel over all of it
ALMOST = 0.02  # increase() reaches a scrape further than what was scraped


def jobs() -> list[tuple[timedelta, str, float, int]]:
    """When each job is submitted, its project, how long it runs and its exit code."""
    return [
        (2 * MINUTE, "vision", 401, 0),
        (4 * MINUTE, "speech", 95, 3),
        (10 * MINUTE, "vision", 333, 0),
        (12 * MINUTE, '=odd"\\ name', 250, 0),
        (19 * MINUTE, "speech", 121, 1),
    ]


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """The books of the half hour, and a Prometheus that has scraped it."""

    path: Path
    prometheus: Prometheus

    def panel(self, title: str, at: datetime = END) -> Mapping[str, float]:
        """Return what the first query of a panel says, by the values of its labels."""
        texts = [row.text for row in queries() if row.panel == title]
        return self.asked(texts[0].replace("[5m]", f"[{RANGE}]"), at)

    def asked(self, query: str, at: datetime = END) -> Mapping[str, float]:
        """Ask a query, with what rules record in place of their names: rules look at no time that is over."""
        for name, block in blocks(RULES, "record").items():
            expression = re.sub(r"#.*", "", block).replace("expr:", "").replace("|\n", "\n", 1)
            query = re.sub(re.escape(name) + r"(\{[^}]*\})?", lambda _, text=expression: f"({text})", query)
        return self.prometheus.at(query, at.timestamp())

    def booked(self, query: str) -> dict[str, float]:
        """Ask the books in SQL: a name and a number in each row."""
        with closing(sqlite3.connect(self.path)) as connection:
            return dict(connection.execute(query).fetchall())


@pytest.fixture(scope="module")
def half_hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    promtool = require("promtool", "install Debian's package prometheus")
    folder = tmp_path_factory.mktemp("half-hour")
    lines = folder / "scrapes.txt"
    with open_store(folder) as store:
        lines.write_text("".join(lived(store)) + "# EOF\n", encoding="utf-8")
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(lines), str(folder / "tsdb")]
    subprocess.run(command, check=True, timeout=HANGS_S, capture_output=True)
    with serving(folder, {"global": {"scrape_interval": "15s"}}) as prometheus:
        yield Scraped(path=folder / "greenrun.db", prometheus=prometheus)


def lived(store: Store) -> Iterator[str]:
    """Let the half hour pass with a tick every five seconds, and yield each scrape."""
    world = World([300.0, 180.0, 240.0])
    engine = new_engine(world, store, world.meter(), tick=timedelta(seconds=5))
    collector = MetricsCollector(store, _state(world, engine))
    registry, waiting = registry_of(collector), jobs()
    while world.now <= END:
        while waiting and T0 + waiting[0][0] <= world.now:
            _, project, seconds, code = waiting.pop(0)
            one = spec(seconds, gpus=1, start_now=True, exit_code=code, project=project)
            store.jobs.add_job(one, user="ada", uid=1, now=world.now)
        engine.refresh(world.now)
        engine.tick(world.now)
        if (world.now - T0) % EVERY == timedelta(0):
            yield from _lines(generate_latest(registry).decode(), world.now)
        world.now += timedelta(seconds=5)


def _state(world: World, engine: Engine) -> LiveState:
    return LiveState(
        now=lambda: world.now, plan=engine.plan, health=lambda: Health(started_at=T0), active_forecasts=dict,
        received=tuple, devices=lambda: world.devices,
    )  # fmt: skip


def _lines(exposition: str, at: datetime) -> Iterator[str]:
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            told = {"exported_job" if name == "job" else name: value for name, value in sample.labels.items()}
            labels = {**told, "job": "greenrun", "instance": "lab:9753"}
            inside = ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())
            yield f"{sample.name}{{{inside}}} {sample.value!r} {at.timestamp():.3f}\n"


# what the books say, in SQL

J = (
    "SELECT {by}, sum(slices.energy_j) FROM slices"
    " LEFT JOIN runs ON runs.id = run_id LEFT JOIN jobs ON jobs.id = job_id"
)
G = (
    "SELECT jobs.project, sum(ledger.emissions_g) FROM slices JOIN runs ON runs.id = run_id"
    " JOIN jobs ON jobs.id = job_id JOIN ledger ON ledger.slice_id = slices.id AND ledger.stage = '{stage}' GROUP BY 1"
)


def test_every_panel_of_power_says_the_watts_of_the_last_five_minutes(half_hour: Scraped) -> None:
    """Nothing runs in the last five minutes, so the GPUs draw what they draw idle; before, jobs drew what they do."""
    idle_w = 2 * WATTS.idle
    for title in ("Power", "Power by component", "Power of GPUs that no job holds", "Power that no job used"):
        assert list(half_hour.panel(title).values()) == [pytest.approx(idle_w, rel=1e-6)]
    assert list(half_hour.panel("Power by GPU").values()) == [pytest.approx(WATTS.idle, rel=1e-6)] * 2
    for minutes in (8, 13, 19, 25):
        at, since = T0 + minutes * MINUTE, T0 + (minutes - 5) * MINUTE
        within = f"WHERE slices.started_at >= '{since:%FT%H:%M}' AND slices.started_at < '{at:%FT%H:%M}'"
        (used_j,) = half_hour.booked(f"{J.format(by='1')} {within}").values()
        (power_w,) = half_hour.panel("Power", at + EVERY).values()
        assert power_w == pytest.approx(used_j / 300, rel=1e-6)
        assert power_w > idle_w


def test_energy_of_jobs_is_what_is_booked_in_all_and_by_project(half_hour: Scraped) -> None:
    by_project = half_hour.booked(f"{J.format(by='jobs.project')} WHERE run_id IS NOT NULL GROUP BY 1")
    assert len(by_project) == 3
    (whole_kwh,) = half_hour.panel("Energy of jobs").values()
    assert whole_kwh == pytest.approx(sum(by_project.values()) / 3.6e6, rel=ALMOST)
    told = {name: used for name, used in half_hour.panel("Energy of jobs, per hour").items() if used}
    assert told == pytest.approx({name: used / 3.6e6 for name, used in by_project.items()}, rel=ALMOST)


def test_emissions_of_jobs_are_what_is_booked_in_all_and_by_project(half_hour: Scraped) -> None:
    booked = half_hour.booked(G.format(stage="booked"))
    (whole_g,) = half_hour.panel("Emissions of jobs").values()
    assert whole_g == pytest.approx(sum(booked.values()), rel=ALMOST)
    assert half_hour.panel("Emissions of jobs, per hour") == pytest.approx(booked, rel=ALMOST)
    (settled_g,) = half_hour.panel("Settled emissions of jobs").values()
    assert settled_g == pytest.approx(sum(half_hour.booked(G.format(stage="settled")).values()), rel=ALMOST)


def test_the_mean_intensity_is_that_of_what_jobs_used(half_hour: Scraped) -> None:
    booked_g = sum(half_hour.booked(G.format(stage="booked")).values())
    (used_kwh,) = half_hour.booked(
        "SELECT 1, sum(energy_j * pue) / 3.6e6 FROM slices WHERE run_id IS NOT NULL"
    ).values()
    (told,) = half_hour.panel("Mean intensity of that energy").values()
    assert told == pytest.approx(booked_g / used_kwh, rel=ALMOST)


def test_the_part_that_no_job_used_is_that_of_the_books(half_hour: Scraped) -> None:
    (whole_j,) = half_hour.booked(J.format(by="1")).values()
    (nobody_j,) = half_hour.booked(f"{J.format(by='1')} WHERE run_id IS NULL").values()
    (told,) = half_hour.panel("Energy that no job used").values()
    assert told == pytest.approx(nobody_j / whole_j, rel=ALMOST)


def test_ends_of_jobs_and_the_part_that_failed_are_those_of_the_books(half_hour: Scraped) -> None:
    ended = half_hour.booked("SELECT state, count(*) FROM jobs GROUP BY 1")
    told = {name: count for name, count in half_hour.panel("Jobs that ended, per hour").items() if count}
    assert told == pytest.approx(ended, rel=ALMOST)
    (ratio,) = half_hour.panel("Jobs that ended badly").values()
    assert ratio == pytest.approx(ended["failed"] / sum(ended.values()), rel=ALMOST)


def test_all_energy_of_the_world_is_measured(half_hour: Scraped) -> None:
    assert list(half_hour.panel("Share that is not measured").values()) == [0.0]
    (power_w,) = half_hour.panel("Power by how it is known").values()
    (whole_j,) = half_hour.booked(J.format(by="1")).values()
    assert power_w == pytest.approx(whole_j / 3600, rel=ALMOST)
