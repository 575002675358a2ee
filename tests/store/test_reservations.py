"""Reservations are kept until they are over or ended, with who did either."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.store import Store

NOW = datetime(2026, 3, 2, 10, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE = Reservation(devices=("GPU-1",), start=NOW, end=NOW + HOUR, user="ada", for_user="bob", reason="a demo")
TWO = Reservation(devices=("GPU-1", "GPU-2"), start=NOW + HOUR, end=NOW + 9 * HOUR, user="ada")


def test_they_survive_a_restart_in_order_of_start(path: Path) -> None:
    with Store(path) as store:
        second, first = (store.reservations.reserve(row, now=NOW) for row in (TWO, ONE))
    with Store(path) as store:
        assert list(store.reservations.reservations()) == [first, second]


def test_one_that_is_over_is_forgotten_and_its_number_is_given_to_no_other(store: Store) -> None:
    store.reservations.reserve(ONE, now=NOW)
    second = store.reservations.reserve(TWO, now=NOW + HOUR)
    assert list(store.reservations.reservations()) == [second]
    assert store.reservations.end_reservation(second.id, user="eve", now=NOW + HOUR) == second
    assert store.reservations.reserve(TWO, now=NOW + HOUR).id == 3


def test_what_is_over_cannot_be_ended(store: Store) -> None:
    first = store.reservations.reserve(ONE, now=NOW)
    assert store.reservations.end_reservation(first.id, user="eve", now=NOW + HOUR) is None
    assert store.reservations.end_reservation(7, user="eve", now=NOW) is None


def test_each_change_is_an_event_with_who_did_it_and_what_it_was(store: Store) -> None:
    row = store.reservations.reserve(ONE, now=NOW)
    store.reservations.end_reservation(row.id, user="eve", now=NOW)
    store.reservations.end_reservation(row.id, user="eve", now=NOW)
    made, ended = store.jobs.events()
    assert [(event.kind, event.actor, event.detail["reservation"]) for event in (made, ended)] == [
        ("reserved", "ada", 1),
        ("reservation_ended", "eve", 1),
    ]
    assert made.after == ended.before
    assert made.detail["devices"] == ["GPU-1"]
