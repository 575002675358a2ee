"""What is booked of an earlier start is what the rows of the database alone give to whoever tries all starts."""

import json
import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.jobs.job import After, Dependency, JobSpec
from greenrun.store import Store
from tests.world import T0, World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
Span = tuple[float, float]


def some_job(chance: random.Random, number: int) -> JobSpec:
    """A job for up to two GPUs that may wait for another one, fail and be tried again, or be suspended."""
    more: dict[str, Any] = {"gpus": chance.choice([1, 1, 2]), "max_delay": chance.choice([0, 2, 4, 7]) * HOUR}
    if number > 1 and chance.random() < 0.4:
        more["after"] = (Dependency(job_id=chance.randrange(1, number), on=After.ANY),)
    if number % 2:
        more |= {"interruptible": True, "min_run": HOUR / 2, "restart_cost": timedelta(minutes=7)}
        return spec(chance.randrange(4500, 9000), **{**more, "max_delay": 8 * HOUR})
    if chance.random() < 0.3:
        more |= {"exit_code": 3, "retries": 1}
    return spec(chance.randrange(600, 5000), **more)


def lived(store: Store, seed: int) -> None:
    """Let a day of jobs pass, which are submitted at three times."""
    chance = random.Random(seed)
    world = World(
        [value for _ in range(14) for value in (chance.uniform(50, 100), *[chance.uniform(300, 500)] * 2)], gpus=2
    )
    engine, number = new_engine(world, store, world.meter()), 0
    for until in (1, 3, 13):
        specs = [some_job(chance, number := number + 1) for _ in range(3)]
        for each in specs:
            store.jobs.add_job(each, user="ada", uid=1, now=world.now)
        run_until(world, engine, T0 + until * HOUR)


def rows(path: Path, query: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query).fetchall()


def s(instant: str) -> float:
    return (datetime.fromisoformat(instant) - T0).total_seconds()


def earliest(ready: float, length: float, taken: list[Span]) -> float:
    """The first of all starts at which nothing else is held: at once, or when something ends."""
    starts = sorted([ready, *(end for _, end in taken if end > ready)])
    return next(at for at in starts if all(end <= at or at + length <= start for start, end in taken))


def recomputed(path: Path) -> tuple[dict[int, Span], dict[int, float]]:
    """By run, when it would have been, and what it would have emitted, in g."""
    jobs = {row["id"]: row for row in rows(path, "SELECT * FROM jobs")}
    slots = [
        (s(r["started_at"]), s(r["ended_at"]), r["intensity_g_per_kwh"])
        for r in rows(path, "SELECT * FROM intensities")
    ]
    used = defaultdict(list)
    for row in rows(path, "SELECT * FROM slices WHERE run_id IS NOT NULL"):
        used[row["run_id"]].append((s(row["started_at"]), s(row["ended_at"]), row["energy_j"] * row["pue"] / 3.6e6))
    place: dict[int, Span] = {}
    grams: dict[int, float] = {}
    before: list[sqlite3.Row] = []
    for run in rows(path, "SELECT * FROM runs WHERE ended_at IS NOT NULL ORDER BY started_at"):
        job, gpus = jobs[run["job_id"]], set(json.loads(run["devices"]))
        own = [row for row in before if row["job_id"] == run["job_id"]]
        others = [row for row in before if row["job_id"] in {key for key, _ in json.loads(job["after"])}]
        goes_on = any(row["outcome"] == "checkpointed" for row in own)
        resumes = s(run["started_at"]) + (job["restart_cost_s"] if goes_on else 0)
        resumes = min(resumes, s(run["ended_at"]))
        ready = max([s(job["submitted_at"]), *(place[row["id"]][1] for row in (*own, *others))])
        taken = [place[row["id"]] for row in before if gpus & set(json.loads(row["devices"]))]
        start = earliest(ready, s(run["ended_at"]) - resumes, taken)
        place[run["id"]] = start, start + s(run["ended_at"]) - resumes
        grams[run["id"]] = fsum(
            kwh * (min(end, e) - max(begin, b)) / (stop - was) * value
            for was, stop, kwh in used[run["id"]]
            for begin, end in [(max(was, resumes) + start - resumes, stop + start - resumes)]
            for b, e, value in slots
            if min(end, e) > max(begin, b)
        )
        before.append(run)
    return place, grams


def test_the_rows_alone_give_the_same_places_and_grams(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        lived(store, seed=0)
    place, grams = recomputed(store.path)
    booked = rows(store.path, "SELECT * FROM baselines")
    told = rows(store.path, "SELECT run_id, sum(emissions_g) AS g FROM ledger JOIN slices ON slices.id = slice_id"
                            " WHERE stage = 'baseline' GROUP BY run_id")  # fmt: skip
    for row in booked:
        assert (s(row["started_at"]), s(row["ended_at"])) == pytest.approx(place[row["run_id"]], abs=1e-5)
        assert row["why"] is None
    assert len(booked) == len(place)
    assert {row["run_id"]: row["g"] for row in told} == pytest.approx(grams, rel=1e-9)
    outcomes = {row["outcome"] for row in rows(store.path, "SELECT outcome FROM runs WHERE ended_at IS NOT NULL")}
    assert outcomes == {"succeeded", "failed", "checkpointed"}  # else this proves too little
    assert places_given_at_once(store.path) == {row["run_id"]: (row["started_at"], row["ended_at"]) for row in booked}


def places_given_at_once(path: Path) -> dict[int, tuple[str, str]]:
    """Where the runs would have been as a database tells that knew nothing of it before it was opened."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM baselines")
    Store(path).close()
    return {row["run_id"]: (row["started_at"], row["ended_at"]) for row in rows(path, "SELECT * FROM baselines")}
