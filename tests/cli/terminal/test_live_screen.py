"""What a live screen sees goes on, whatever one look ends in."""

from typing import Any

from greenrun.cli.terminal.live_screen import Look, _Observer
from greenrun.core.errors import GreenrunError
from tests.patience import until


def test_a_look_that_fails_is_told_and_the_next_one_is_shown() -> None:
    faults = {2: KeyError("runs"), 3: GreenrunError("the daemon is away")}
    count = 0
    told: list[Look[int]] = []

    class Screen:
        """Notes what there is to show, each time it is woken."""

        def wake(self, why: bytes) -> None:
            told.append(observer.last())

    def look() -> int:
        nonlocal count
        count += 1
        if count in faults:
            raise faults[count]
        return count

    screen: Any = Screen()
    observer = _Observer(look, 0.0, screen)
    observer.start()
    try:
        until(lambda: len(told) >= 4, "four looks")
    finally:
        observer.stop()
    assert [each.seen for each in told[:4]] == [1, 1, 1, 4]
    troubles = [str(each.trouble or "") for each in told[:4]]
    assert [bool(trouble) for trouble in troubles] == [False, True, True, False]
    assert "this look failed (KeyError('runs'))" in troubles[1]
    assert troubles[2] == "the daemon is away"
