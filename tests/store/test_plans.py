"""The last plan outlives the daemon unchanged, to the last digit."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC

from hypothesis import given, settings
from hypothesis import strategies as st

from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.planning.model import Placement, Plan, Waiting
from greenrun.store import Store
from greenrun.store.plans import plan_of, plan_text
from tests.store.examples import NOW, WHY, after

INSTANTS = st.datetimes(timezones=st.just(UTC))
IDS = st.integers(1, 2**53)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
REASONS = st.builds(Reason, st.sampled_from(ReasonCode), st.text())
PLACEMENTS = st.builds(
    Placement, job_id=IDS, start=INSTANTS, end=INSTANTS, gpus=st.integers(0, 64), reason=REASONS,
    intensity_g_per_kwh=st.none() | NUMBERS, start_now_g_per_kwh=st.none() | NUMBERS, expected_g=st.none() | NUMBERS,
    start_now_g=st.none() | NUMBERS, late=st.booleans(), due=st.none() | INSTANTS,
    pieces=st.lists(st.tuples(INSTANTS, INSTANTS), max_size=3).map(tuple), pool=st.text(max_size=8),
    promised=st.none() | st.tuples(INSTANTS, INSTANTS), put_offs=st.integers(0, 99),
)  # fmt: skip
PLANS = st.builds(
    Plan, made_at=INSTANTS, horizon_end=st.none() | INSTANTS, placements=st.lists(PLACEMENTS, max_size=3).map(tuple),
    waiting=st.lists(st.builds(Waiting, job_id=IDS, reason=REASONS), max_size=3).map(tuple),
    expected_g=st.none() | NUMBERS, start_at_once_g=st.none() | NUMBERS, earliest_start_g=st.none() | NUMBERS,
    bound_g=st.none() | NUMBERS,
    prices=st.dictionaries(st.tuples(st.text(max_size=8), INSTANTS), NUMBERS, max_size=3),
)  # fmt: skip


def one(**changes: object) -> Placement:
    own = {"job_id": 7, "start": after(60), "end": after(120), "gpus": 1, "reason": WHY}
    return Placement(**(own | changes))  # type: ignore[arg-type]


@settings(deadline=None)
@given(plan=PLANS)
def test_a_plan_comes_back_from_its_text_as_it_was(plan: Plan) -> None:
    assert plan_of(plan_text(plan)) == plan


def test_a_plan_saved_before_promises_were_kept_is_read_without_any() -> None:
    plan = Plan(made_at=NOW, placements=(one(promised=(after(60), after(120)), put_offs=2),))
    parts = json.loads(plan_text(plan))
    for name in ("promised", "put_offs"):
        del parts["placements"][0][name]
    assert plan_of(json.dumps(parts)) == Plan(made_at=NOW, placements=(one(),))


def test_the_last_plan_replaces_the_one_before_and_is_found_by_the_next_daemon(store: Store) -> None:
    last = Plan(made_at=after(5), placements=(one(),), prices={("gpu", NOW): 1 / 3})
    nothing = store.plans.last_plan()
    for plan in (Plan(made_at=NOW), last):
        store.plans.save_plan(plan, now=plan.made_at)
    with Store(store.path) as reopened:
        assert (nothing, reopened.plans.last_plan()) == (None, last)


def test_a_plan_of_another_release_is_not_guessed_at(store: Store) -> None:
    store.plans.save_plan(Plan(made_at=NOW), now=NOW)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE plans SET release = '0.0', plan = '?'")
    assert store.plans.last_plan() is None
