"""What a day used, emitted and cost, from what is seen from outside: nothing of greenrun is imported here.

Read from a folder: the trace (trace.csv), what the hardware draws (machine.json), the submissions (jobs.json), the
contracts and prices (bases.json), and the run folders with their true times (runs/JOB.NUMBER). Times are seconds since
the epoch. All power is constant between two instants, so an energy is a product and emissions are a sum of products.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import fsum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

J_PER_KWH = 3_600_000.0
HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A constant power over a time."""

    start: float
    end: float
    watts: float
    is_gpu: bool

    @property
    def kwh(self) -> float:
        return self.watts * (self.end - self.start) / J_PER_KWH


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A run as its folder tells it."""

    job: str
    number: int
    devices: tuple[str, ...]
    start: float
    end: float
    ended_by: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an auditor says of a job, or of all that no job used; facility energy includes the overhead."""

    gpu_kwh: float
    shared_kwh: float
    facility_kwh: float
    location_g: float
    market_g: float
    cost: float
    baseline_g: float = 0.0


class Auditor:
    """Recomputes a day from a folder."""

    def __init__(self, folder: Path) -> None:
        with (folder / "trace.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
        self.trace = [(_seconds(start), _seconds(end), float(value)) for start, end, value in rows]
        self.machine, self.jobs, self.bases = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("machine", "jobs", "bases")
        )
        self.attempts = sorted((_attempt(place) for place in (folder / "runs").iterdir()), key=lambda one: one.start)

    def of_job(self, job: str) -> Finding:
        """Return what all runs of a job come to."""
        own = [one for one in self.attempts if one.job == job]
        places = self._places()
        return self._finding([piece for one in own for piece in self._pieces(one)]) | fsum(
            self._grams(self._moved(one, places[one])) for one in own
        )

    def of_nobody(self, start: float, end: float) -> Finding:
        """Return what devices used that no run held or shared, in a time that all runs lie in."""
        pieces = []
        for name, gpu in self.machine["gpus"].items():
            edges = [
                start,
                *(edge for one in self.attempts if name in one.devices for edge in (one.start, one.end)),
                end,
            ]
            free = zip(edges[::2], edges[1::2], strict=True)
            pieces += [Piece(start=a, end=b, watts=gpu["idle_w"], is_gpu=True) for a, b in free if b > a]
        runs = [piece for one in self.attempts for piece in self._pieces(one) if not piece.is_gpu]
        pieces.append(Piece(start=start, end=end, watts=self.machine["shared_w"], is_gpu=False))
        pieces += [Piece(start=one.start, end=one.end, watts=-one.watts, is_gpu=False) for one in runs]
        return self._finding(pieces)

    # energy

    @cache  # noqa: B019 - it lives as long as what it caches
    def _pieces(self, run: Attempt) -> list[Piece]:
        """A run has all that its GPUs draw, and of what all share its part of the CPU time of each step."""
        gpus = self.machine["gpus"]
        pieces = [Piece(start=run.start, end=run.end, watts=gpus[name]["busy_w"], is_gpu=True) for name in run.devices]
        for begin, end in _steps(run.start, run.end, self.machine["step_s"]):
            used = {one: self._cpu_s(one, begin, end) for one in self.attempts}
            whole = fsum(used.values()) + self.machine["others_cpu_s_per_s"] * (end - begin)
            watts = self.machine["shared_w"] * used[run] / whole
            if watts:
                start, stop = max(begin, run.start), min(end, run.end)
                pieces.append(Piece(start=start, end=stop, watts=watts, is_gpu=False))
        return pieces

    def _cpu_s(self, run: Attempt, start: float, end: float) -> float:
        return float(self.jobs[run.job]["cpu_s_per_s"] * max(0.0, min(end, run.end) - max(start, run.start)))

    # what follows from energy

    def _finding(self, pieces: list[Piece]) -> "Sum":
        pue = self.machine["pue"]
        facility = [(piece.start, piece.end, piece.kwh * pue) for piece in pieces]
        return Sum(
            gpu_kwh=fsum(piece.kwh for piece in pieces if piece.is_gpu),
            shared_kwh=fsum(piece.kwh for piece in pieces if not piece.is_gpu),
            facility_kwh=fsum(kwh for _, _, kwh in facility),
            location_g=self._grams(pieces),
            market_g=fsum(kwh * self._market(at) for at, kwh in _by_hour(facility)),
            cost=fsum(kwh * self._price(at) for at, kwh in _by_hour(facility)),
        )

    def _grams(self, pieces: list[Piece]) -> float:
        return fsum(
            piece.watts * (min(end, piece.end) - max(start, piece.start)) / J_PER_KWH * value * self.machine["pue"]
            for piece in pieces
            for start, end, value in self.trace
            if min(end, piece.end) > max(start, piece.start)
        )

    def _market(self, at: float) -> float:
        bases = self.bases
        share = bases["share"] if at < bases["contract_ends"] else 0.0
        return float(share * bases["contract_g_per_kwh"] + (1 - share) * bases["residual_g_per_kwh"])

    def _price(self, at: float) -> float:
        local = datetime.fromtimestamp(at, ZoneInfo(self.bases["time_zone"]))
        by_day = local.weekday() < 5 and self.bases["day"][0] <= local.hour < self.bases["day"][1]
        return float(self.bases["day_price"] if by_day else self.bases["night_price"])

    # had each been started at once

    @cache  # noqa: B019
    def _places(self) -> dict[Attempt, tuple[float, float]]:
        """Return when each run would have been, and from which of its instants on: loading a checkpoint falls away.

        Run by run, in the order of their true starts, each on its own GPUs as soon as its job was there, and what it
        waited for had ended, and nobody held them.
        """
        places: dict[Attempt, tuple[float, float]] = {}
        for run in self.attempts:
            job = self.jobs[run.job]
            own = [one for one in places if one.job == run.job]
            before = [one for one in places if int(one.job) in job["after"]]
            loads = job["restart_cost_s"] if any(one.ended_by == "checkpoint" for one in own) else 0.0
            begin = min(run.start + loads, run.end)
            length = run.end - begin
            taken = [self._span(one, places) for one in places if set(one.devices) & set(run.devices)]
            ready = max([job["submitted_at"], *(self._span(one, places)[1] for one in (*own, *before))])
            starts = sorted([ready, *(end for _, end in taken if end > ready)])
            at = next(at for at in starts if all(end <= at or at + length <= start for start, end in taken))
            places[run] = (at, begin)
        return places

    @staticmethod
    def _span(run: Attempt, places: dict[Attempt, tuple[float, float]]) -> tuple[float, float]:
        at, begin = places[run]
        return at, at + run.end - begin

    def _moved(self, run: Attempt, place: tuple[float, float]) -> list[Piece]:
        at, begin = place
        by = at - begin
        return [
            Piece(start=max(one.start, begin) + by, end=one.end + by, watts=one.watts, is_gpu=one.is_gpu)
            for one in self._pieces(run)
            if one.end > begin
        ]


class Sum(Finding):
    """A finding that a baseline may be added to."""

    def __or__(self, baseline_g: float) -> Finding:
        return Finding(**{**vars(self), "baseline_g": baseline_g})


def _attempt(place: Path) -> Attempt:
    begun, ended = (json.loads((place / name).read_text(encoding="utf-8")) for name in ("run.json", "exit.json"))
    job, _, number = place.name.partition(".")
    return Attempt(
        job=job, number=int(number), devices=tuple(begun["devices"]), start=ended["started_at"],
        end=ended["ended_at"], ended_by=ended["ended_by"],
    )  # fmt: skip


def _steps(start: float, end: float, step_s: float) -> Iterator[tuple[float, float]]:
    begin = start // step_s * step_s
    while begin < end:
        yield begin, begin + step_s
        begin += step_s


def _by_hour(rows: list[tuple[float, float, float]]) -> Iterator[tuple[float, float]]:
    """Yield each energy of an hour, with the hour."""
    for start, end, kwh in rows:
        for begin, stop in _steps(start, end, HOUR_S):
            yield begin, kwh * (min(end, stop) - max(start, begin)) / (end - start)


def _seconds(text: Any) -> float:
    return datetime.fromisoformat(text).timestamp()
