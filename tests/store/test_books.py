"""Energy is booked once, settled once, and the counters and totals are the sums of what is in the books."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Basis, Kind, Signal
from greenrun.core.energy.ledger import Entry, Priced, Total, total
from greenrun.core.energy.model import Component, Mark, Quality
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.occupancy import expected_seconds
from greenrun.store import Store
from tests.sampling import examples
from tests.store.examples import NOW, after, close, entry, priced, running

MEASURED = Kind.MEASURED


def mark(at_s: float, device: str = "GPU-0") -> Mark:
    return Mark(device=device, at=after(at_s), energy_j=7.5, counter="boot", session="s", held_w=300.0)


def by_labels(store: Store, name: str) -> dict[tuple[str, ...], float]:
    """The values of one counter by its label values."""
    totals = store.books.counters().items()
    return {tuple(value for _, value in labels): amount for (each, labels), amount in totals if each == name}


def as_booked(store: Store, rows: list[Entry]) -> list[Entry]:
    """These entries with what the store fills in."""
    runs = {run.id: run for run in store.runs.live_runs()}
    jobs = {run.id: store.jobs.job(run.job_id) for run in runs.values()}
    owners = [jobs.get(row.slice.run_id) if row.slice.run_id else None for row in rows]
    return [
        replace(row, id=number, job_id=owner and owner.id, project=owner and owner.spec.project)
        for number, (row, owner) in enumerate(zip(rows, owners, strict=True), start=1)
    ]


def test_slices_and_marks_come_back_as_booked(store: Store) -> None:
    run = running(store, project="vision")
    rows = [entry(0), entry(60, run=run), entry(120, energy_j=None, quality=Quality.UNKNOWN, grams=None)]
    store.books.append_slices(rows, [mark(180)], now=after(180))
    assert store.books.entries() == as_booked(store, rows)
    assert store.books.marks() == {"GPU-0": mark(180)}


def test_a_mark_moves_and_the_others_stay(store: Store) -> None:
    store.books.append_slices([], [mark(0), mark(0, "GPU-1")], now=NOW)
    store.books.append_slices([], [mark(60)], now=NOW)
    assert store.books.marks() == {"GPU-0": mark(60), "GPU-1": mark(0, "GPU-1")}


def test_a_slice_is_never_booked_twice_and_the_whole_batch_is_undone(store: Store) -> None:
    store.books.append_slices([entry(0)], [mark(60)], now=NOW)
    before = store.books.entries(), store.books.marks(), store.books.counters()
    for again in ([entry(60), entry(0)], [entry(0)], [entry(30)], [entry(60), entry(90)]):
        with pytest.raises(StoreError, match=r"GPU-0 is booked up to .* nothing was stored"):
            store.books.append_slices(again, [mark(120)], now=NOW)
    assert (store.books.entries(), store.books.marks(), store.books.counters()) == before


def test_an_hour_that_the_clock_tells_twice_is_booked_twice(store: Store) -> None:
    store.books.append_slices([entry(0), entry(60)], [mark(120)], now=NOW)
    store.books.append_slices([entry(120, energy_j=None, quality=Quality.UNKNOWN)], [mark(0)], now=NOW)
    store.books.append_slices([entry(0)], [mark(60)], now=NOW)
    assert [row.slice.start for row in store.books.entries()] == [NOW, NOW, after(60), after(120)]


@pytest.mark.parametrize(
    "wrong",
    [
        entry(0, energy_j=None),
        entry(0, energy_j=float("nan")),
        replace(entry(0), slice=replace(entry(0).slice, run_id=9)),
    ],
    ids=["no energy but a grade", "not a number", "of an unknown run"],
)
def test_a_slice_that_says_nothing_true_is_refused(store: Store, wrong: Entry) -> None:
    with pytest.raises(StoreError, match="nothing was stored"):
        store.books.append_slices([wrong], [], now=NOW)
    assert store.books.entries() == []


def parts(start_s: float, *shares: tuple[Run | None, float]) -> list[Entry]:
    """A minute of a CPU that runs and nobody share."""
    whole = entry(start_s, device="CPU-0", component=Component.CPU)
    return [
        replace(whole, slice=replace(whole.slice, run_id=run.id if run else None, energy_j=100 * share, share=share))
        for run, share in shares
    ]


def test_the_slices_of_one_interval_are_booked_together(store: Store) -> None:
    one, other = running(store), running(store)
    rows = [
        *parts(0, (one, 0.5), (other, 0.2), (None, 0.3)),
        *parts(60, (one, 1.0), (None, 0.0)),
        *parts(120, (None, 1)),
    ]
    at_first, later = [mark(0, device="CPU-0")], [mark(120, device="CPU-0")]
    store.books.append_slices([], at_first, now=NOW)
    store.books.append_slices(rows[::-1], later, now=NOW)
    assert store.books.run_totals([one.id])[one.id].energy_j == 150.0
    assert store.books.run_totals([other.id])[other.id].gpu_energy_j is None


@pytest.mark.parametrize(
    "shares", [[0, 0], [0.5, 0.4], [0.5, 0.6], [1, 1]], ids=["nothing", "too little", "too much", "twice"]
)
def test_parts_that_are_not_one_whole_are_refused(store: Store, shares: list[float]) -> None:
    rows = parts(0, (running(store), shares[0]), (None, shares[1]))
    with pytest.raises(StoreError, match="nothing was stored"):
        store.books.append_slices(rows, [mark(60, device="CPU-0")], now=NOW)


def test_a_runs_part_of_one_interval_is_booked_once(store: Store) -> None:
    run = running(store)
    with pytest.raises(StoreError, match="nothing was stored"):
        store.books.append_slices(parts(0, (run, 0.5), (run, 0.5)), [mark(60, device="CPU-0")], now=NOW)


def test_intervals_that_overlap_are_refused(store: Store) -> None:
    rows = [*parts(0, (running(store), 0.5), (None, 0.5)), *parts(30, (None, 1))]
    with pytest.raises(StoreError, match="nothing was stored"):
        store.books.append_slices(rows, [mark(90, device="CPU-0")], now=NOW)


def test_a_cpu_that_is_ahead_of_the_gpus_leaves_a_run_that_goes_on_whole(store: Store) -> None:
    """How far a run must be booked is told by what it holds, not by what it shares."""
    run = running(store, "A")
    rows = [entry(2, run=run, device="A"), *parts(2, (run, 0.5), (None, 0.5)), *parts(62, (run, 0.5), (None, 0.5))]
    store.books.append_slices(rows, [], now=NOW)
    found = store.books.run_totals([run.id])[run.id]
    assert (found.quality, found.energy_j, found.gpu_energy_j) == (Quality.MEASURED, 3_700.0, 3_600.0)


@pytest.mark.parametrize("devices", [(), ("A",)], ids=["a job without GPUs", "a job with one"])
def test_a_run_that_ended_past_the_last_reading_of_a_cpu_is_whole_only_once_that_is_booked(
    store: Store, devices: tuple[str, ...]
) -> None:
    run = running(store, *devices)
    on_gpus = [entry(2, run=run, device=device) for device in devices]
    store.books.append_slices([*on_gpus, *parts(2, (run, 0.5), (None, 0.5))], [mark(62, "CPU-0")], now=NOW)
    close(store, run, ended_at=after(62.4))
    early = store.books.run_totals([run.id])[run.id]
    assert early == Total(energy_j=50.0 + 3_600.0 * len(devices))
    store.books.append_slices(parts(62, (None, 1.0)), [mark(122, "CPU-0")], now=NOW)
    assert store.books.run_totals([run.id])[run.id].quality is Quality.MEASURED


def test_how_busy_gpus_were_is_told_with_the_part_of_the_time_it_is_known_for(store: Store) -> None:
    run = running(store, "A")
    rows = [entry(2 + 60 * index, run=run, device="A") for index in range(4)]
    busy = [30.0, None, 60.0, 15.0]
    told = [replace(row, slice=replace(row.slice, busy_s=one)) for row, one in zip(rows, busy, strict=True)]
    store.books.append_slices([*told, *parts(2, (run, 0.5), (None, 0.5))], [], now=NOW)
    found = store.books.run_totals([run.id])[run.id]
    assert (found.utilization, found.utilization_coverage) == (pytest.approx(105 / 180), pytest.approx(0.75))


def test_energy_of_nobody_is_counted_apart_from_every_project(store: Store) -> None:
    run = running(store, project="vision")
    store.books.append_slices([entry(0, run=run, energy_j=5, grams=1), entry(60, energy_j=7, grams=2)], [], now=NOW)
    assert by_labels(store, "greenrun_job_energy_joules_total") == {("vision",): 5}
    assert by_labels(store, "greenrun_unattributed_energy_joules_total") == {("gpu",): 7}
    assert by_labels(store, "greenrun_energy_joules_total") == {("gpu", "measured"): 12}
    assert by_labels(store, "greenrun_emissions_grams_total") == {("vision",): 1}
    assert by_labels(store, "greenrun_unattributed_emissions_grams_total") == {("gpu",): 2}


def test_gaps_are_counted_in_seconds_and_unknown_energy_is_not_counted_as_zero(store: Store) -> None:
    rows = [entry(0, quality=Quality.BRIDGED), entry(60, energy_j=None, quality=Quality.UNKNOWN, grams=None)]
    store.books.append_slices(rows, [], now=NOW)
    assert by_labels(store, "greenrun_energy_gap_seconds_total") == {("gpu",): 120}
    assert by_labels(store, "greenrun_energy_joules_total") == {("gpu", "bridged"): 3_600}


def test_a_slice_is_settled_once_beside_its_booked_price(store: Store) -> None:
    run = running(store, project="vision")
    store.books.append_slices([entry(0, run=run, grams=0.2), entry(60, grams=None)], [], now=NOW)
    prices = {1: priced(0.3, MEASURED), 2: priced(0.4, MEASURED)}
    assert [store.books.settle(prices, now=after(90)), store.books.settle(prices, now=after(95))] == [2, 0]
    assert [(row.booked, row.settled) for row in store.books.entries()] == [
        (priced(0.2), prices[1]),
        (Priced(), prices[2]),
    ]
    assert by_labels(store, "greenrun_settled_emissions_grams_total") == {("vision",): 0.3}
    assert by_labels(store, "greenrun_unattributed_settled_emissions_grams_total") == {("gpu",): 0.4}


def test_unsettled_slices_are_those_that_ended_by_then_oldest_first(store: Store) -> None:
    rows = [entry(60), entry(0), entry(120)]
    store.books.append_slices(rows, [], now=NOW)
    store.books.append_slices([entry(0, device="GPU-1")], [], now=NOW)
    expected = [(2, rows[1].slice, 1.0), (4, entry(0, device="GPU-1").slice, 1.0), (1, rows[0].slice, 1.0)]
    assert store.books.unsettled(after(120)) == expected
    assert store.books.unsettled(after(120), limit=2) == expected[:2]
    store.books.settle({2: priced(0.1)}, now=NOW)
    assert [key for key, _, _ in store.books.unsettled(after(180))] == [4, 1, 3]


def test_an_unsettled_slice_comes_with_its_own_pue(store: Store) -> None:
    store.books.append_slices([replace(entry(0), pue=1.4), replace(entry(60), pue=1.2)], [], now=NOW)
    assert [pue for _, _, pue in store.books.unsettled(after(120))] == [1.4, 1.2]


def test_unknown_energy_is_settled_without_emissions(store: Store) -> None:
    store.books.append_slices([entry(0, energy_j=None, quality=Quality.UNKNOWN, grams=None)], [], now=NOW)
    assert store.books.settle({1: priced(None, MEASURED)}, now=NOW) == 1
    assert store.books.unsettled(after(60)) == []
    assert by_labels(store, "greenrun_unattributed_settled_emissions_grams_total") == {}


def test_entries_of_a_job_are_its_latest_in_time_order(store: Store) -> None:
    run, other = running(store), running(store)
    rows = [entry(0, run=run), entry(60, run=other), entry(120, run=run), entry(180, run=run), entry(240)]
    store.books.append_slices(rows, [], now=NOW)
    assert [row.id for row in store.books.entries(job_id=run.job_id)] == [1, 3, 4]
    assert [row.id for row in store.books.entries(job_id=run.job_id, limit=2)] == [3, 4]
    assert [row.id for row in store.books.entries(limit=2)] == [4, 5]


def test_a_run_without_slices_has_an_unknown_total(store: Store) -> None:
    assert store.books.run_totals([running(store).id, 99]) == {1: Total(), 99: Total()}


@pytest.mark.parametrize(
    ("booked", "ended_s", "is_whole"),
    [
        pytest.param([(0, "A"), (0, "B")], None, True, id="it runs and all that is booked is whole"),
        pytest.param([(0, "A"), (60, "A"), (0, "B")], None, False, id="it runs and a device stays behind"),
        pytest.param([(60, "A"), (60, "B")], None, False, id="it runs and its beginning is missing"),
        pytest.param([(0, "A"), (60, "A"), (0, "B"), (60, "B")], 122, True, id="it ended and is all booked"),
        pytest.param([(0, "A"), (0, "B")], 122, False, id="it ended and its last slices are missing"),
    ],
)
def test_a_run_of_which_a_part_is_not_booked_has_an_unknown_total(
    store: Store, booked: list[tuple[float, str]], ended_s: float | None, is_whole: bool
) -> None:
    run = running(store, "A", "B")
    rows = [entry(2 + start, run=run, device=device) for start, device in booked]
    store.books.append_slices(rows, [], now=NOW)
    store.books.settle({key: priced(0.2) for key in range(1, len(rows) + 1)}, now=NOW)
    if ended_s is not None:
        close(store, run, ended_at=after(ended_s))
    energy_j, grams = 3_600.0 * len(rows), pytest.approx(0.2 * len(rows))
    whole = Total(
        energy_j=energy_j,
        gpu_energy_j=energy_j,
        quality=Quality.MEASURED,
        emissions_g=grams,
        settled_g=grams,  # type: ignore[arg-type]
        location_g=grams,
    )
    assert store.books.run_totals([run.id])[run.id] == (whole if is_whole else Total(energy_j=energy_j))


def test_counters_and_books_outlive_a_restart(path: Path) -> None:
    with Store(path) as store:
        store.books.append_slices([entry(0)], [mark(60)], now=NOW)
        before = store.books.counters(), store.books.entries(), store.books.marks(), store.books.unsettled(after(60))
    with Store(path) as store:
        assert (
            store.books.counters(),
            store.books.entries(),
            store.books.marks(),
            store.books.unsettled(after(60)),
        ) == before


GRAMS = st.none() | st.floats(0, 1e6)
PIECES = st.tuples(
    st.sampled_from([None, 0, 1]),
    st.sampled_from(Component),
    st.sampled_from([grade for grade in Quality if grade is not Quality.UNKNOWN]),
    st.none() | st.floats(0, 1e9),
    GRAMS,
    st.booleans(),
    GRAMS,
    st.sampled_from([1.0, 0.5, 0.125]),
    st.none() | st.floats(0, 60),
)


@settings(examples(20), phases=[Phase.generate, Phase.shrink])
@given(st.lists(PIECES, max_size=12), st.integers(1, 5))
def test_counters_and_totals_are_the_sums_over_the_entries(pieces: list[tuple], batch: int) -> None:  # type: ignore[type-arg]
    with TemporaryDirectory() as folder, Store(Path(folder) / "greenrun.db") as store:
        runs = [running(store, project="a"), running(store, "GPU-0", project="b")]
        rows = [_piece(index * 60, runs, *piece[:5], *piece[7:]) for index, piece in enumerate(pieces)]
        for start in range(0, len(rows), batch):
            store.books.append_slices(rows[start : start + batch], [], now=NOW)
        store.books.settle({key: priced(piece[6]) for key, piece in enumerate(pieces, start=1) if piece[5]}, now=NOW)
        entries = store.books.entries()
        assert [replace(row, settled=None) for row in entries] == as_booked(store, rows)
        assert _grams(store) == pytest.approx(_sums(entries), rel=1e-9)
        for run in store.runs.live_runs():
            own = [row for row in entries if row.slice.run_id == run.id]
            until = max((row.slice.end for row in own), default=None)
            expected = total(own, expected_seconds(run, until) if own else None)
            actual = store.books.run_totals([run.id])[run.id]
            assert actual.quality == expected.quality
            assert _known(actual) == pytest.approx(_known(expected), rel=1e-9)
            busy = [(one.utilization or 0.0, one.utilization_coverage or 0.0) for one in (actual, expected)]
            assert busy[0] == pytest.approx(busy[1], abs=1e-5)


def _piece(
    start_s: float,
    runs: list[Run],
    owner: int | None,
    component: Component,
    quality: Quality,
    energy_j: float | None,
    grams: float | None,
    share: float,
    busy_s: float | None,
) -> Entry:
    grade = Quality.UNKNOWN if energy_j is None else quality
    run = None if owner is None else runs[owner]
    made = entry(start_s, run=run, component=component, quality=grade, energy_j=energy_j, grams=grams)
    return replace(made, slice=replace(made.slice, share=share, busy_s=busy_s))


def _known(sums: Total) -> dict[str, float]:
    """The parts of a total that are not None."""
    names = ("energy_j", "gpu_energy_j", "emissions_g", "settled_g", "location_g", "marginal_g")
    parts = {name: getattr(sums, name) for name in names}
    return {name: part for name, part in parts.items() if part is not None}


def _grams(store: Store) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {key: value for key, value in store.books.counters().items() if "energy" in key[0] or "emissions" in key[0]}


OF_DEVICE = {
    "gpu": ("gpu_energy_joules", "gpu_uuid"),
    "cpu": ("cpu_package_energy_joules", "package"),
    "dram": ("dram_energy_joules", "package"),
}


def _sums(entries: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every energy and emissions counter, computed anew and plainly from all entries."""
    sums: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)

    def add(name: str, amount: float | None, **labels: str) -> None:
        if amount is not None:
            sums[f"greenrun_{name}_total", tuple(sorted(labels.items()))] += amount

    for row in entries:  # type: ignore[attr-defined]
        piece, component = row.slice, row.slice.component.value
        settled_g = row.settled.emissions_g if row.settled else None
        add("energy_joules", piece.energy_j, component=component, quality=piece.quality.value)
        add("unpriced_energy_joules", piece.energy_j if row.booked.emissions_g is None else None, component=component)
        if component in OF_DEVICE:
            name, label = OF_DEVICE[component]
            add(name, piece.energy_j, **{label: piece.device})
        if piece.quality in ("bridged", "unknown"):
            add("energy_gap_seconds", (piece.end - piece.start).total_seconds() * piece.share, component=component)
        if row.project is None:
            add("unattributed_energy_joules", piece.energy_j, component=component)
            add("unattributed_emissions_grams", row.booked.emissions_g, component=component)
            add("unattributed_settled_emissions_grams", settled_g, component=component)
        else:
            add("job_energy_joules", piece.energy_j, project=row.project)
            priced_j = piece.energy_j if row.booked.emissions_g is not None else None
            add("priced_facility_energy_joules", priced_j and priced_j * row.pue, project=row.project)
            add("emissions_grams", row.booked.emissions_g, project=row.project)
            add("settled_emissions_grams", settled_g, project=row.project)
    return dict(sums)


def test_marginal_grams_are_told_apart_from_averages_and_never_in_one_sum(store: Store) -> None:
    run = running(store, "A", project="p")
    rows = [entry(2 + at, run=run, device="A", grams=None) for at in range(3)]
    by = [priced(0.2, signal=signal) for signal in (Signal.MARGINAL, Signal.MARGINAL, Signal.AVERAGE)]
    store.books.append_slices([replace(rows[0], booked=by[0]), replace(rows[1], booked=by[1])], [], now=NOW)
    one = store.books.run_totals([run.id])[run.id]
    assert (one.emissions_g, one.location_g, one.settled_g, one.marginal_g) == (None, None, None, pytest.approx(0.4))
    assert store.books.running_totals([run.id])[run.id].marginal_g == pytest.approx(0.4)
    store.books.settle({1: priced(0.3, signal=Signal.MARGINAL)}, now=NOW)
    assert store.books.run_totals([run.id])[run.id].marginal_g == pytest.approx(0.5)
    counters = {name: value for (name, _), value in store.books.counters().items() if "grams" in name}
    assert counters == {
        "greenrun_marginal_emissions_grams_total": pytest.approx(0.4),
        "greenrun_settled_marginal_emissions_grams_total": pytest.approx(0.3),
    }
    unpriced_j = store.books.counters()["greenrun_unpriced_energy_joules_total", (("component", "gpu"),)]
    assert unpriced_j == sum(row.slice.energy_j or 0.0 for row in rows[:2])
    store.books.append_slices([replace(rows[2], booked=by[2])], [], now=NOW)
    both = store.books.run_totals([run.id])[run.id]
    assert (both.emissions_g, both.location_g, both.marginal_g) == (None, None, None)


def test_the_grams_of_a_list_are_settled_as_far_as_they_are_and_none_of_what_counts_differently(store: Store) -> None:
    run = running(store, "A", project="p")
    rows = [entry(2 + at, run=run, device="A", grams=0.2) for at in range(2)]
    store.books.append_slices(rows, [], now=NOW)
    store.books.settle({1: priced(0.05)}, now=NOW)
    half = store.books.run_totals([run.id])[run.id]
    assert (half.emissions_g, half.settled_g, half.location_g) == (pytest.approx(0.4), None, pytest.approx(0.25))
    other = priced(0.05, basis=Basis.DIRECT)
    store.books.settle({2: other}, now=NOW)
    mixed = store.books.run_totals([run.id])[run.id]
    assert (mixed.settled_g, mixed.location_g) == (None, None)
