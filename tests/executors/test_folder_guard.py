"""A folder that hangs keeps its own user's looks waiting, once and for a limited time, and nobody else's."""

import threading
from collections.abc import Iterator

import pytest

from greenrun.executors.units.folder_guard import FolderGuard, FolderHangs
from tests.patience import HANGS_S, until

ADA, BOB = 41001, 41002


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What a look waits for that hangs."""
    event = threading.Event()
    yield event
    event.set()


def test_what_is_returned_and_raised_is_passed_on() -> None:
    guard = FolderGuard(HANGS_S)
    assert guard.call(ADA, lambda: 7) == 7
    for error in (FileNotFoundError("gone"), TimeoutError("nfs: server not responding")):

        def fail(error: OSError = error) -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            guard.call(ADA, fail)
        assert raised.value is error
    assert guard.call(ADA, threading.get_ident) != threading.get_ident()
    assert guard.call(ADA, threading.get_ident) == guard.call(ADA, threading.get_ident)


def test_one_that_hangs_is_waited_for_once_and_others_go_on(hang: threading.Event) -> None:
    guard, looked = FolderGuard(0.05), []
    with pytest.raises(FolderHangs, match="user 41001 has not answered"):
        guard.call(ADA, hang.wait)
    for _ in range(100):  # at once: it would else take a limit for each
        with pytest.raises(FolderHangs):
            guard.call(ADA, lambda: looked.append("ada"))
    assert looked == []
    patient = FolderGuard(HANGS_S)
    assert patient.call(BOB, lambda: "bob") == "bob"


def test_one_that_answers_again_is_looked_at_again(hang: threading.Event) -> None:
    guard, done = FolderGuard(0.05), threading.Event()

    def look() -> None:
        hang.wait()
        done.set()

    with pytest.raises(FolderHangs):
        guard.call(ADA, look)
    hang.set()
    done.wait(HANGS_S)

    def again() -> int | None:
        try:
            return guard.call(ADA, lambda: 1)
        except FolderHangs:  # on a busy machine
            return None

    assert until(again) == 1
