"""When a daemon decided what, by its own records: whether its plans allowed each start, and since when it was due.

The records are every plan that it kept, the instants of its ticks, and the claims and ends of its runs. They tell the
same on a busy machine as on a quiet one.
"""

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tests.patience import HANGS_S, Watch

KEEP = """
CREATE TABLE kept_plans (
    number INTEGER PRIMARY KEY,
    plan TEXT NOT NULL,
    kept_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TRIGGER keep_first AFTER INSERT ON plans BEGIN INSERT INTO kept_plans (plan) VALUES (new.plan); END;
CREATE TRIGGER keep_next AFTER UPDATE ON plans BEGIN INSERT INTO kept_plans (plan) VALUES (new.plan); END;
INSERT INTO kept_plans (plan) SELECT plan FROM plans;
"""


class Place(NamedTuple):
    """Where a plan lets a job run."""

    job: int
    start_s: float
    gpus: int


class Kept(NamedTuple):
    """A plan, and when the daemon kept it: planning takes its time beside the ticks, which go by the one before."""

    kept_s: float
    places: Sequence[Place]
    made_s: float = 0.0  # the instant that it was made for

    def place(self, job: int) -> Place | None:
        """Return a job's place, None without one."""
        return next((place for place in self.places if place.job == job), None)


class Claim(NamedTuple):
    """The only run of a job: when it was claimed, known to have started, and found to have ended."""

    job: int
    gpus: int
    claimed_s: float
    confirmed_s: float
    closed_s: float
    ended_s: float


@dataclass(frozen=True)
class Decisions:
    """What was recorded; instants are seconds since the epoch."""

    gpus: int
    plans: Sequence[Kept]
    claims: Sequence[Claim]
    ticks_s: Sequence[float]

    def too_early(self) -> list[str]:
        """Say which claims came before every plan that the daemon can have gone by allowed them.

        One that no such plan has was inserted and started before the next plan was kept. A plan that was made for an
        instant after the claim, beside the tick and not yet knowing of it, is none that the daemon can have gone by.
        """
        found = []
        for claim in self.claims:
            plans = [self._in_force(claim.claimed_s), *self._news(claim.claimed_s)]
            made = [plan for plan in plans if plan.made_s <= claim.claimed_s]
            places = [place for plan in made if (place := plan.place(claim.job))]
            if places and all(place.start_s > claim.claimed_s for place in places):
                found.append(f"job {claim.job} was claimed at {claim.claimed_s:.3f} with {places}")
        return found

    def due_s(self, claim: Claim) -> float:
        """Return since when the plan before a claim had allowed it and its GPUs were free; at the latest, the claim."""
        before = [plan for plan in self.plans if plan.kept_s < claim.claimed_s]
        place = before[-1].place(claim.job) if before else None
        if place is None or place.start_s >= claim.claimed_s:
            return claim.claimed_s
        known_s = max(place.start_s, before[-1].kept_s)
        ends_s = [run.ended_s for run in self.claims if known_s < run.ended_s < claim.claimed_s]
        moments_s = sorted([known_s, *ends_s, claim.claimed_s])
        crowded = [at_s for at_s in moments_s[:-1] if self._free(at_s) < claim.gpus]
        return moments_s[bisect_left(moments_s, crowded[-1]) + 1] if crowded else known_s

    def prompt_s(self, claim: Claim, watch: Watch) -> float:
        """Return when a claim would have come if the machine had kept nobody waiting since it was due."""
        due_s = self.due_s(claim)
        return due_s + watch.given_s(due_s, claim.claimed_s)

    def waited(self) -> list[int]:
        """Return the jobs that had a place in a plan before they were claimed."""
        return [
            claim.job
            for claim in self.claims
            if any(plan.kept_s < claim.claimed_s and plan.place(claim.job) for plan in self.plans)
        ]

    def _in_force(self, tick_s: float) -> Kept:
        kept = [plan for plan in self.plans if plan.kept_s <= tick_s]
        return kept[-1] if kept else Kept(tick_s, ())

    def _news(self, tick_s: float) -> list[Kept]:
        """Return the plans that were kept before the next tick that was seen."""
        next_s = min((other_s for other_s in self.ticks_s if other_s > tick_s), default=float("inf"))
        return [plan for plan in self.plans if tick_s < plan.kept_s < next_s]

    def _free(self, at_s: float) -> int:
        """Return how many GPUs no run held at an instant, before anything started then."""
        held = [claim.gpus for claim in self.claims if claim.claimed_s < at_s < claim.ended_s]
        return self.gpus - sum(held)


def keep_plans(database: Path) -> None:
    """Let a daemon's database keep every plan from now on, not the last one alone."""
    with closing(sqlite3.connect(database, timeout=HANGS_S)) as connection:
        connection.executescript(KEEP)


def read_decisions(database: Path, gpus: int, ticks_s: Sequence[float] = ()) -> Decisions:
    """Read what was recorded; `ticks_s` are further instants of ticks that were seen."""
    with _reading(database) as connection:
        kept = connection.execute("SELECT plan, kept_at FROM kept_plans ORDER BY number").fetchall()
        plans = [_kept(json.loads(text), at) for text, at in kept]
        rows = connection.execute(
            "SELECT runs.job_id, jobs.gpus, runs.claimed_at, min(events.at), max(events.at), runs.ended_at"
            " FROM runs JOIN jobs ON jobs.id = runs.job_id JOIN events ON events.run_id = runs.id"
            " WHERE events.kind != 'claimed' GROUP BY runs.id"
        )
        claims = [Claim(job, count, *(_seconds(text) for text in texts)) for job, count, *texts in rows]
        booked = connection.execute("SELECT at FROM events WHERE run_id IS NOT NULL")
        ticks_s = sorted({*ticks_s, *(_seconds(text) for (text,) in booked)})
    return Decisions(gpus=gpus, plans=plans, claims=claims, ticks_s=ticks_s)


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        yield connection


def _kept(parts: dict[str, object], at: str) -> Kept:
    rows = parts["placements"]
    assert isinstance(rows, list)
    places = [Place(row["job_id"], _seconds(row["start"]), row["gpus"]) for row in rows]
    return Kept(_seconds(at), places, _seconds(str(parts["made_at"])))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
