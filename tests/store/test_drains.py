"""What is drained is kept until somebody resumes it, with who did either."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.jobs.availability import MACHINE, Drain
from greenrun.store import Store

NOW = datetime(2026, 3, 2, 10, 2, tzinfo=UTC)
ONE = Drain(device="GPU-1", user="ada", since=NOW, reason="replacing the fan")
ALL = Drain(device=MACHINE, user="bob", since=NOW)


def test_it_survives_a_restart_and_the_last_word_counts(path: Path) -> None:
    later = replace(ONE, user="bob", since=NOW + timedelta(hours=1), reason="")
    with Store(path) as store:
        store.drains.drain([ONE, ALL])
        store.drains.drain([later])
    with Store(path) as store:
        assert list(store.drains.drains()) == [ALL, later]


@pytest.mark.parametrize(("devices", "left"), [(["GPU-1"], [ALL]), ([], []), (["GPU-7"], [ALL, ONE])])
def test_some_are_resumed_or_all(store: Store, devices: list[str], left: list[Drain]) -> None:
    store.drains.drain([ONE, ALL])
    store.drains.resume(devices, user="eve", now=NOW)
    assert list(store.drains.drains()) == left


def test_each_change_is_an_event_with_who_did_it(store: Store) -> None:
    store.drains.drain([ONE])
    store.drains.resume([], user="eve", now=NOW)
    store.drains.resume([], user="eve", now=NOW)
    assert [(event.kind, event.actor, event.job_id, event.detail["device"]) for event in store.jobs.events()] == [
        ("drained", "ada", None, "GPU-1"),
        ("resumed", "eve", None, "GPU-1"),
    ]
