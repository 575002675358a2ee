"""What nothing can change any more is merged in the books, and every figure stays what it was."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenrun.core.accounting.condensed import condensed
from greenrun.core.accounting.parts import COLUMNS, NO_SERIES, Parts
from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal, Slot
from greenrun.core.energy.ledger import Entry, Priced, Stage, Total
from greenrun.core.energy.merging import AGED_AFTER
from greenrun.core.energy.model import Component, Mark, Quality
from greenrun.core.errors import InvalidInput
from greenrun.core.jobs.job import Run
from greenrun.engine.baselines import BaselineComparison
from greenrun.store import Store
from greenrun.store.columns import to_text
from greenrun.store.ledger import merged_slices
from greenrun.store.migrate import SCRIPTS, migrate
from tests.store.examples import NOW, SERIES, after, close, entry, running

MINUTES = 130
QUARTER = timedelta(minutes=15)
END = after(60 * MINUTES)
LATER = END + timedelta(days=3)
MARGINAL = SeriesId(provider="wt", zone="GB", signal=Signal.MARGINAL)
BOTH = (Stage.SETTLED, Stage.MARGINAL)


def books(store: Store, run: Run, waits_for: Sequence[Stage] = BOTH) -> list[Entry]:
    """Two hours of a GPU that a run held from its third second on, of a CPU that it shared, and of a free GPU."""
    rows = []
    for number in range(MINUTES):
        at, watts = 60.0 * number, 300.0 + number % 7
        held = entry(at, run=run, energy_j=60 * watts, grams=0.1 + number / 1000)
        rows.append(replace(held, slice=replace(held.slice, busy_s=59.0)))
        rows.append(entry(at, device="GPU-1", energy_j=60 * 52.0, grams=0.05))
        share = 0.1 + 0.5 * (number % 3)
        for who, part in ((run, share), (None, 1 - share)):
            cpu = entry(at, device="RAPL-0", run=who, energy_j=6000 * part, component=Component.CPU)
            rows.append(replace(cpu, slice=replace(cpu.slice, share=part)))
    unknown = entry(60 * MINUTES, run=run, energy_j=None, quality=Quality.UNKNOWN, grams=None)
    store.books.append_slices(
        rows, [mark(at, END) for at in ("GPU-0", "GPU-1", "RAPL-0")], now=END, waits_for=waits_for
    )
    return [*rows, unknown]


def mark(device: str, at: datetime) -> Mark:
    return Mark(device=device, at=at, energy_j=7.5, counter="boot", session="s")


def measured(step_s: float = 1800.0) -> Series:
    slots = [
        Slot(after(at), after(at + step_s), 180.5 + at / step_s, Kind.MEASURED)
        for at in range(int(-step_s * 4), 60 * MINUTES + 1, int(step_s))
    ]
    return Series.of(SERIES, slots)


def settle(store: Store, stages: Sequence[Stage] = BOTH) -> None:
    series = measured()
    for stage in stages:
        rows = store.books.unsettled(LATER, stage=stage)
        prices = {}
        for row in rows:
            value = series.at(row.slice.start) or 0.0
            value, own = (value, SERIES) if stage is Stage.SETTLED else (value + 400, MARGINAL)
            grams = None if row.slice.energy_j is None else row.slice.energy_j / 3.6e6 * value
            prices[row.id] = Priced(intensity_g_per_kwh=value, emissions_g=grams, kind=Kind.MEASURED, series=own)
        store.books.settle(prices, now=LATER, stage=stage)


def compare(store: Store) -> None:
    store.grid.save_intensities(measured(), fetched_at=LATER)
    BaselineComparison(store.baselines, store.grid).compare(timedelta(0), LATER)


def merge_all(store: Store, before: datetime = LATER, limit: int = 500) -> int:
    """Merge until a round is over; return how many steps that took."""
    steps = 1
    while store.books.merge(before, limit=limit, step=QUARTER):
        steps += 1
    return steps


def figures(store: Store, run: Run) -> tuple[Any, ...]:
    """All that is told of the books, by the quarter-hour where that can be asked for."""
    cuts = [NOW + number * timedelta(minutes=15) for number in range(11)]
    hours = [by_keys(store.archive.period(start, end).parts) for start, end in pairwise(cuts)]
    whole = store.archive.period(NOW, LATER)
    return (
        store.books.run_totals([run.id]), store.books.counters(), store.books.marks(), by_keys(whole.parts), hours,
        whole.runs.why.tolist(), whole.runs.peak_w.tolist(), whole.booked, store.archive.hourly_kwh([run.id]),
        store.archive.idle_powers_w(NOW, LATER),
    )  # fmt: skip


def by_keys(parts: Parts) -> list[dict[str, Any]]:
    """What is alike of an hour and a run as one, without what forecasts were at the least and the most."""
    _, group = np.unique(np.column_stack([parts.hour, parts.run_id]), axis=0, return_inverse=True)
    summed = condensed(parts, group.ravel())
    columns = [_plain(summed, name) for name in COLUMNS]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    for row in rows:
        row["device"] = summed.devices[row["device"]]
        if row["settled"] == NO_SERIES:
            del row["lowest"], row["highest"]
    return sorted(rows, key=lambda row: (row["hour"], row["device"], row["run_id"], row["settled"]))


def _plain(parts: Parts, name: str) -> list[Any]:
    return [None if value != value else value for value in getattr(parts, name).tolist()]


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two structures differ, numbers by more than 1e-9 of themselves."""
    if isinstance(one, Total):
        one, other = ({name: getattr(each, name) for name in type(one).__slots__} for each in (one, other))
    if isinstance(one, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for at, pair in pairs for found in differences(*pair, f"{path}/{at}")]
    is_near = isinstance(one, float) and other is not None and one == pytest.approx(other, rel=1e-9)
    return [] if is_near or one == other else [f"{path}: {one} is not {other}"]


def final(store: Store, **changes: Any) -> Run:
    """A run that ended, with everything settled and compared."""
    run = running(store, "GPU-0", **changes)
    books(store, run)
    close(store, run, ended_at=END, now=END)
    settle(store)
    compare(store)
    return run


def test_every_figure_is_what_it_was_and_the_rows_are_few(store: Store) -> None:
    run = final(store)
    before, rows = figures(store, run), len(store.books.entries(limit=10_000))
    assert before[0][run.id].baseline_g is not None
    merge_all(store)
    kept = store.books.entries(limit=10_000)
    assert (rows, len(kept)) == (4 * MINUTES, 4 * 9)
    assert differences(before, figures(store, run)) == []


def test_it_takes_many_short_steps_and_looks_at_nothing_twice(store: Store) -> None:
    final(store)
    assert merge_all(store, limit=40) > 8
    before = store.books.entries(limit=10_000)
    assert merge_all(store, limit=40) == 1
    assert store.books.entries(limit=10_000) == before


def test_what_was_merged_is_merged_with_nothing_else_later(store: Store) -> None:
    run = final(store)
    merge_all(store, before=after(3600 + 899))
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * MINUTES  # the run had not ended by then
    merge_all(store)
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * 9


def test_only_whole_quarters_that_began_before_the_limit_are_merged(store: Store) -> None:
    books(store, running(store, "GPU-0"))
    settle(store)
    merge_all(store, before=after(3599))
    free = [row.slice for row in store.books.entries(limit=10_000) if row.slice.device == "GPU-1"]
    assert [(piece.end - piece.start).total_seconds() for piece in free[:4]] == [900, 900, 900, 60]


@pytest.mark.parametrize("stages", [(), (Stage.SETTLED,), (Stage.MARGINAL,)])
def test_what_still_waits_for_a_price_is_not_merged(store: Store, stages: Sequence[Stage]) -> None:
    run = running(store, "GPU-0")
    books(store, run)
    close(store, run, ended_at=END, now=END)
    settle(store, stages)
    compare(store)
    before = store.books.entries(limit=10_000)
    merge_all(store)
    assert store.books.entries(limit=10_000) == before


@pytest.mark.parametrize("stages", [(), (Stage.SETTLED,), (Stage.MARGINAL,)])
def test_what_is_old_is_merged_by_quarters_also_while_it_waits_and_is_settled_as_ever(
    store: Store, stages: Sequence[Stage], tmp_path: Path
) -> None:
    with Store(tmp_path / "unmerged.db") as other:
        runs = []
        for each in (store, other):
            runs.append(run := running(each, "GPU-0"))
            books(each, run)
            close(each, run, ended_at=END, now=END)
            settle(each, stages)
        waited = [{row.slice.start for row in store.books.unsettled(LATER, stage=stage)} for stage in BOTH]
        merge_all(store, before=LATER + AGED_AFTER)
        assert len(store.books.entries(limit=10_000)) == 4 * 9
        waits = [store.books.unsettled(LATER, stage=stage) for stage in BOTH]
        assert [min((row.slice.start for row in rows), default=None) for rows in waits] == [
            min(starts, default=None) for starts in waited
        ]
        rest = [stage for stage in BOTH if stage not in stages]
        for each in (store, other):
            settle(each, rest)
            compare(each)
        assert [store.books.unsettled(LATER, stage=stage) for stage in BOTH] == [[], []]
        mine, theirs = (each.books.run_totals([run.id])[run.id] for each, run in zip((store, other), runs, strict=True))
        assert mine.baseline_g == pytest.approx(theirs.baseline_g, rel=1e-3)  # which has only quarters to go by
        assert (
            differences(replace(mine, baseline_g=0.0, avoided_g=0.0), replace(theirs, baseline_g=0.0, avoided_g=0.0))
            == []
        )
        assert differences(store.archive.hourly_kwh([runs[0].id]), other.archive.hourly_kwh([runs[1].id])) == []


def test_the_old_minutes_of_a_run_that_goes_on_are_merged_by_quarters(store: Store) -> None:
    run = running(store, "GPU-0")
    books(store, run)
    settle(store)
    before = figures(store, run)
    merge_all(store, before=LATER + AGED_AFTER)
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * 9
    assert differences(before, figures(store, run)) == []
    close(store, run, ended_at=END, now=END)
    compare(store)
    assert store.books.run_totals([run.id])[run.id].baseline_g is not None
    assert merge_all(store, before=LATER + AGED_AFTER) == 1


def test_a_run_that_goes_on_or_is_not_compared_keeps_its_minutes(store: Store) -> None:
    run = running(store, "GPU-0")
    books(store, run)
    settle(store)
    merge_all(store)
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * MINUTES
    close(store, run, ended_at=END, now=END)
    merge_all(store)
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * MINUTES
    compare(store)
    merge_all(store)
    assert len(store.books.entries(job_id=run.job_id, limit=10_000)) == 2 * 9


def test_a_quarter_of_which_a_minute_waits_is_merged_once_that_is_settled(store: Store) -> None:
    books(store, running(store, "GPU-0"), waits_for=(Stage.SETTLED,))
    waiting = [row for row in store.books.unsettled(LATER) if row.slice.device == "GPU-1"][3]
    others = [row.id for row in store.books.unsettled(LATER) if row.id != waiting.id]
    price = Priced(intensity_g_per_kwh=100.0, emissions_g=0.1, kind=Kind.MEASURED, series=SERIES)
    store.books.settle(dict.fromkeys(others, price), now=LATER)
    merge_all(store)
    assert len(minutes_of_free_gpu(store)) == 15
    store.books.settle({waiting.id: price}, now=LATER)
    merge_all(store)
    assert minutes_of_free_gpu(store) == []


def minutes_of_free_gpu(store: Store) -> list[Entry]:
    rows = [row for row in store.books.entries(limit=10_000) if row.slice.device == "GPU-1"]
    return [row for row in rows if (row.slice.end - row.slice.start).total_seconds() == 60]


@pytest.mark.parametrize("step", ["_add", "_settled", "groups"])
def test_a_crash_in_the_middle_leaves_the_books_as_they_were(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = final(store)
    before = figures(store, run), store.books.entries(limit=10_000)

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(merged_slices, step, crash)
        with pytest.raises(RuntimeError, match="power cut"):
            store.books.merge(LATER)
    assert (figures(store, run), store.books.entries(limit=10_000)) == before
    merge_all(store)
    assert differences(figures(store, run), before[0]) == []


def test_totals_of_live_runs_stay_right_while_others_are_merged(store: Store) -> None:
    run = final(store)
    other = running(store, "GPU-1")
    store.books.append_slices([entry(60 * MINUTES, device="GPU-1", run=other)], [mark("GPU-1", LATER)], now=LATER)
    ids = [run.id, other.id]
    before = store.books.running_totals(ids)
    merge_all(store)
    assert differences(store.books.running_totals(ids), before) == []
    assert differences(store.books.running_totals([other.id, run.id]), before) == []


def test_a_database_without_the_columns_gets_them_and_keeps_its_figures(path: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(SCRIPTS, older)
    for script in (older / "versions").glob("v*.py"):
        if script.name[1:5] > "0009":
            script.unlink()
    migrate(path, older)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO series VALUES (1, 'uk', 'GB', 'average', '', 'lifecycle')")
        for key in range(30):
            start, end = (to_text(after(60.0 * number)) for number in (key, key + 1))
            piece = (key, "GPU-0", "gpu", start, end, 3600.0, "measured", 1.0)
            columns = "id, device, component, started_at, ended_at, energy_j, quality, pue"
            connection.execute(f"INSERT INTO slices ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", piece)
            for stage, kind in (("booked", "forecast"), ("settled", "measured")):
                columns = "slice_id, stage, at, intensity_g_per_kwh, emissions_g, intensity_kind, series_id"
                priced = (key, stage, end, 200.0, 0.2, kind, 1)
                connection.execute(f"INSERT INTO ledger ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", priced)
    with Store(path) as store:
        before = by_keys(store.archive.period(NOW, LATER).parts)
        assert (before[0]["energy_j"], before[0]["settled_g"]) == (30 * 3600.0, pytest.approx(6.0))
        merge_all(store)
        assert len(store.books.entries()) == 2
        assert differences(before, by_keys(store.archive.period(NOW, LATER).parts)) == []


def test_a_page_that_began_among_slices_that_are_merged_since_is_refused(store: Store) -> None:
    """Else the pages would end there as if that were all, or tell a part of the energy again."""
    final(store)
    latest = store.books.entries(limit=100)
    assert store.books.entries(limit=1, before=latest[0].id) != []
    merge_all(store)
    with pytest.raises(InvalidInput) as refused:
        store.books.entries(before=latest[0].id)
    assert [(row.field, "begin again" in row.message) for row in refused.value.problems] == [("cursor", True)]
