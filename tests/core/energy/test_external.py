"""What a meter outside the books counted is told once, and what is not known is no part of it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Quality, Reading
from greenrun.core.energy.slicing import external_energy

T0 = datetime(2026, 3, 2, tzinfo=UTC)


def reading(second: float, energy_j: float, counter: str = "a") -> Reading:
    return Reading(
        device="pdu", at=T0 + timedelta(seconds=second), energy_j=energy_j, quality=Quality.MEASURED,
        counter=counter, session="s",
    )  # fmt: skip


@given(steps=st.lists(st.integers(0, 1000), min_size=1, max_size=20), cut=st.integers(0, 20))
def test_it_does_not_depend_on_when_it_is_asked(steps: list[int], cut: int) -> None:
    rows = [reading(index, float(sum(steps[: index + 1]))) for index in range(len(steps))]
    whole_j, end = external_energy(None, rows)
    first_j, mark = external_energy(None, rows[:cut])
    rest_j, again = external_energy(mark, rows)
    assert (whole_j, end) == (first_j + rest_j, again)
    assert whole_j == sum(steps[1:])


def test_a_new_base_and_a_counter_that_fell_add_nothing() -> None:
    rows = [
        reading(0, 10),
        reading(10, 50),
        reading(20, 0, "b"),
        reading(30, 7, "b"),
        reading(40, 3, "b"),
        reading(50, 5, "b"),
        reading(60, 900, "c"),
    ]
    assert external_energy(None, rows)[0] == 40 + 7 + 2


def test_after_the_clock_was_set_back_it_goes_on() -> None:
    _, mark = external_energy(None, [reading(0, 10), reading(3600, 50)])
    energy_j, mark = external_energy(mark, [reading(1800, 60), reading(1810, 65)])
    assert energy_j == 15
    assert mark is not None
    assert mark.at == T0 + timedelta(seconds=1810)


def test_without_readings_nothing_happens() -> None:
    assert external_energy(None, []) == (0.0, None)
