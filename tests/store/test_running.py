"""What runs have used so far is the same whether it is added up slice by slice or read at once."""

from dataclasses import asdict

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.errors import StoreError
from greenrun.store import Store
from tests.sampling import examples
from tests.store.examples import after, close, entry, running

QUALITIES = st.sampled_from([Quality.MEASURED, Quality.BRIDGED])
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 1, None]), QUALITIES, st.sampled_from([0.2, 1 / 3, None])), max_size=3),
    min_size=1,
    max_size=5,
)


@given(batches=BATCHES)
@settings(examples(25), phases=[Phase.generate, Phase.shrink])
def test_adding_up_gives_what_reading_all_gives(tmp_path_factory: pytest.TempPathFactory, batches: list[list]) -> None:  # type: ignore[type-arg]
    with Store(tmp_path_factory.mktemp("store") / "greenrun.db") as store:
        runs, at_s = [running(store, "GPU-0"), running(store, "GPU-1")], 2
        for batch in batches:
            rows = []
            for whose, quality, grams in batch:
                own = {} if whose is None else {"run": runs[whose], "device": f"GPU-{whose}"}
                rows.append(entry(at_s, quality=quality, grams=grams, energy_j=100 / 3, **own))  # type: ignore[arg-type]
                at_s += 60
            store.books.append_slices(rows, [], now=after(at_s))
            ids = [run.id for run in runs[: 1 + len(batch) % 2]]  # one of them is forgotten now and then
            at_once, added_up = store.books.run_totals(ids), store.books.running_totals(ids)
            assert set(at_once) == set(added_up) == set(ids)
            assert all(same(total, added_up[run_id]) for run_id, total in at_once.items())


def same(one: Total, other: Total) -> bool:
    """Whether two totals agree but for the last digits, which the order of addition changes."""
    theirs = asdict(other)
    return all(
        value == theirs[name] or (isinstance(value, float) and value == pytest.approx(theirs[name], rel=1e-12))
        for name, value in asdict(one).items()
    )


def test_a_run_keeps_its_total_when_it_has_ended(store: Store) -> None:
    run = running(store, "GPU-0")
    store.books.append_slices([entry(2, run=run)], [], now=after(62))
    before = store.books.running_totals([run.id])
    close(store, run, ended_at=after(62))
    assert before == store.books.running_totals([run.id]) == store.books.run_totals([run.id])


def test_a_run_without_slices_is_unknown_and_is_found_once_it_has_some(store: Store) -> None:
    run = running(store, "GPU-0")
    assert store.books.running_totals([run.id])[run.id].energy_j is None
    store.books.append_slices([entry(2, run=run)], [], now=after(62))
    assert store.books.running_totals([run.id])[run.id].energy_j == 3600.0


def test_nothing_counts_twice_after_a_read_that_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = running(store, "GPU-0")
    store.books.append_slices([entry(2, run=run)], [], now=after(62))
    with monkeypatch.context() as patch:
        patch.setattr("greenrun.store.ledger.totals.summed", _fail)
        with pytest.raises(StoreError):
            store.books.running_totals([run.id])
    store.books.append_slices([entry(62, run=run)], [], now=after(122))
    assert store.books.running_totals([run.id])[run.id].energy_j == 7200.0


def _fail(*_: object) -> None:
    raise StoreError("the disk is gone")
