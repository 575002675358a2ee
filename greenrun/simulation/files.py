"""Reads the files of a simulation and tells everything that is wrong with all of them at once, by line."""

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from io import StringIO
from itertools import islice
from math import isfinite
from pathlib import Path

import numpy as np

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.core.energy.power_limit import parse_power_cap
from greenrun.core.errors import InputProblem, ProviderGarbage
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.providers.csv_files.trace import Trace, parse_trace
from greenrun.simulation.case import MOST_GPUS, MOST_JOBS, Case, JobOverrides, checked, refusal
from greenrun.simulation.foresight import SERIES, ForesightIssue
from greenrun.simulation.policies import Arrival
from greenrun.simulation.site_rules import SiteRules

COLUMNS = ("submitted_s", "duration_s", "gpus", "power_w", "max_delay_s", "interruptible")
USER, PROJECT, POWER_LIMIT = "user", "project", "power_limit"
MORE = (USER, PROJECT, POWER_LIMIT)  # columns that may follow, in any order
SIZE_CAP_BYTES = 64 * 1024 * 1024
DAY_AHEAD = timedelta(hours=24)  # how far ahead a forecast without instants of issue is seen
LONGEST_USER = 64
_SHOWN = 20
_LONGEST_S = 10 * 365 * 86_400.0
_MOST_W = 1e8
_PER_S = 1e6  # microseconds
_LEAST = 1e-6
_TRUTHS = {"true": True, "false": False}


def read_case(
    *,
    intensity: Path,
    jobs: Path,
    start: datetime | None,
    gpus: int | None,
    forecast: Path | None = None,
    earlier: Path | None = None,
    horizon: timedelta = timedelta(hours=48),
    restart_cost: timedelta = timedelta(0),
    overrides: JobOverrides | None = None,
    shares: Shares | None = None,
    site_power: SitePower | None = None,
    site: SiteRules | None = None,
    found: Sequence[InputProblem] = (),
) -> Case:
    """Read and check everything; raise InvalidInput with all problems of all files and options at once.

    `found` are problems of the options already known, `start` is None when it is one of them.
    """
    problems = list(found)
    overrides = overrides or JobOverrides()
    start_s = start.timestamp() if start else 0.0
    rows = _read_jobs(jobs, start_s, problems, before_start=False)
    past = _read_jobs(earlier, start_s, problems, before_start=True) if earlier else []
    measured = _read_measured(intensity, problems)
    foretold = _read_issues(forecast, problems) if forecast else ()
    if not horizon:
        problems.append(InputProblem(field="--horizon", message="it must be longer than zero"))
    if measured is None or start is None:
        raise refusal(problems)
    case = Case(
        start=start,
        jobs=tuple(overrides.applied(job) for job in rows),
        gpus=gpus,
        measured=measured,
        issues=foretold or (ForesightIssue(issued_s=None, slots=measured),),
        reach=_reach(foretold, horizon),
        restart_cost=restart_cost,
        shares=shares or Shares(),
        site_power=site_power,
        site=site or SiteRules(),
        earlier=tuple(overrides.applied(job) for job in past),
    )
    return checked(case, problems)


def _reach(foretold: Sequence[ForesightIssue], horizon: timedelta) -> timedelta:
    return min(horizon, DAY_AHEAD) if foretold and foretold[0].issued_s is None else horizon


def _read_measured(path: Path, problems: list[InputProblem]) -> Series | None:
    trace = _read_trace(path, problems)
    if trace is None:
        return None
    if trace.issues[0].issued_us is not None:
        told = f"{path} holds forecasts as they were issued; what the grid was must be start,g_per_kwh"
        problems.append(InputProblem(field="--intensity", message=told))
        return None
    return _series(trace, 0, Kind.MEASURED)


def _read_issues(path: Path, problems: list[InputProblem]) -> tuple[ForesightIssue, ...]:
    trace = _read_trace(path, problems)
    if trace is None:
        return ()
    issued_us = [issue.issued_us for issue in trace.issues]
    return tuple(
        ForesightIssue(issued_s=None if at_us is None else at_us / _PER_S, slots=_series(trace, number, Kind.FORECAST))
        for number, at_us in enumerate(issued_us)
    )


def _read_trace(path: Path, problems: list[InputProblem]) -> Trace | None:
    raw = _read(path, problems)
    if raw is None:
        return None
    try:
        return parse_trace(raw, str(path), keep_holes=True)
    except ProviderGarbage as exc:
        problems.append(InputProblem(field="", message=str(exc)))
        return None


def _series(trace: Trace, number: int, kind: Kind) -> Series:
    issue = trace.issues[number]
    starts_s, ends_s = issue.starts_us / _PER_S, issue.ends_us / _PER_S
    return Series(SERIES, starts_s, ends_s, np.asarray(issue.values), (kind,) * len(issue.values))


def _read(path: Path, problems: list[InputProblem]) -> bytes | None:
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_CAP_BYTES + 1)
    except OSError as exc:
        problems.append(InputProblem(field=str(path), message=f"it cannot be read: {exc.strerror or exc}"))
        return None
    if len(raw) > SIZE_CAP_BYTES:
        problems.append(InputProblem(field=str(path), message=f"it is larger than {SIZE_CAP_BYTES // 1024**2} MiB"))
        return None
    return raw


def _read_jobs(path: Path, start_s: float, problems: list[InputProblem], *, before_start: bool) -> list[Arrival]:
    raw = _read(path, problems)
    if raw is None:
        return []
    found: list[InputProblem] = []
    jobs = list(_jobs(raw, start_s, str(path), found, before_start))
    if not jobs and not found:
        found.append(InputProblem(field=str(path), message="it has a header but no jobs; write one line for each job"))
    more = InputProblem(field=str(path), message=f"and {len(found) - _SHOWN} more problems")
    problems += [*found[:_SHOWN], *([more] if len(found) > _SHOWN else [])]
    return jobs


def _jobs(raw: bytes, start_s: float, name: str, found: list[InputProblem], before_start: bool) -> Iterator[Arrival]:
    try:
        reader = csv.reader(StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        lines = list(islice(reader, MOST_JOBS + 2))  # an empty line takes a byte in the file, and seventy as a list
    except (UnicodeDecodeError, csv.Error) as exc:
        found.append(InputProblem(field=name, message=f"it is not CSV in UTF-8 ({exc})"))
        return
    columns = tuple(cell.strip() for cell in lines[0]) if lines else ()
    more = columns[len(COLUMNS) :]
    if columns[: len(COLUMNS)] != COLUMNS or not set(more) <= set(MORE) or len(set(more)) < len(more):
        told = f"its header is {','.join(lines[0])[:120]!r}" if lines else "it is empty"
        wanted = f"its first line must be {','.join(COLUMNS)}, and may go on with any of {', '.join(MORE)}"
        found.append(InputProblem(field=f"{name} line 1", message=f"{told}; {wanted}"))
        return
    if len(lines) > MOST_JOBS + 1:
        found.append(InputProblem(field=name, message=f"it has more than {MOST_JOBS} jobs; simulate a part of them"))
        return
    for number, cells in enumerate(lines[1:], start=2):
        if cells:
            given = [cell.strip() for cell in cells]
            yield from _job(columns, given, start_s, f"{name} line {number}", found, before_start)


def _job(
    columns: Sequence[str],
    cells: Sequence[str],
    start_s: float,
    where: str,
    found: list[InputProblem],
    before_start: bool,
) -> Iterator[Arrival]:
    if len(cells) != len(columns):
        found.append(InputProblem(field=where, message=f"it has {len(cells)} columns instead of {len(columns)}"))
        return
    values = dict(zip(columns, cells, strict=True))
    wrong = [told for name, text in values.items() if (told := _wrong(name, text, before_start))]
    if wrong:
        found.append(InputProblem(field=where, message="; ".join(wrong)))
        return
    yield Arrival(
        submitted_s=start_s + float(values["submitted_s"]),
        duration_s=float(values["duration_s"]),
        gpus=int(values["gpus"]),
        power_w=float(values["power_w"]),
        max_delay_s=float(values["max_delay_s"]),
        interruptible=_TRUTHS[values["interruptible"].lower()],
        user=values.get(USER, ""),
        project=values.get(PROJECT, ""),
        power_limit=values.get(POWER_LIMIT, ""),
    )


def _wrong(name: str, text: str, before_start: bool) -> str | None:
    """Say what is wrong with one cell, if anything is."""
    if name == "interruptible":
        return None if text.lower() in _TRUTHS else f"interruptible is {text[:40]!r} instead of true or false"
    if name in (USER, PROJECT):
        sound = (name == PROJECT or text) and len(text) <= LONGEST_USER and text.isprintable()
        return None if sound else f"{name} is {text[:40]!r} instead of a name of 1 to {LONGEST_USER} characters"
    if name == POWER_LIMIT:
        return _wrong_limit(text)
    number = _number(text)
    if name == "gpus":
        sound = text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST_GPUS
        return None if sound else f"gpus is {text[:40]!r} instead of a whole number from 1 to {MOST_GPUS}"
    if number is None:
        return f"{name} is {text[:40]!r} instead of a number"
    least, most = _BOUNDS[name] if not (before_start and name == "submitted_s") else (-_LONGEST_S, 0.0)
    if least <= number <= most:
        return None
    return f"{name} is {text[:40]}, which is not between {least:g} and {most:g}"


def _wrong_limit(text: str) -> str | None:
    try:
        if text:
            parse_power_cap(text)
    except ValueError as exc:
        return f"{POWER_LIMIT} {exc}"
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        return None
    return value if isfinite(value) else None


_BOUNDS = {
    "submitted_s": (0.0, _LONGEST_S),
    "duration_s": (_LEAST, _LONGEST_S),
    "power_w": (_LEAST, _MOST_W),
    "max_delay_s": (0.0, _LONGEST_S),
}
