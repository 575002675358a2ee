"""Series made of what sources answer: whatever the points, every slot has a value that was said of it, or is a hole."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, SeriesId
from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.providers.payload import Point, forecast_of, history_of, tiled
from tests.providers.source import NOW

ID = SeriesId(provider="grid", zone="GB")
HOUR = timedelta(hours=1)
VALUES = st.none() | st.floats(-10, 2_500) | st.just(float("nan"))


def points(values: list[float | None], begin: datetime = NOW, kind: Kind = Kind.FORECAST) -> list[Point]:
    """Hourly points."""
    return [Point(begin + index * HOUR, value, kind) for index, value in enumerate(values)]


@given(values=st.lists(VALUES, min_size=2, max_size=40), order=st.randoms(use_true_random=False))
def test_slots_say_what_was_said_and_the_rest_are_holes(values: list[float | None], order: object) -> None:
    """In any order, values that can be intensities become slots, and nothing else does; `dropped` counts the others."""
    said = points(values)
    order.shuffle(said)  # type: ignore[attr-defined]
    dropped: Counter[str] = Counter()
    good = {NOW + i * HOUR: v for i, v in enumerate(values) if v is not None and 0 <= v <= 2_000}
    given_ones = sum(value is not None for value in values)
    if 2 * len(good) < given_ones:
        with pytest.raises(ProviderGarbage):
            tiled(ID, said, dropped=dropped)
        return
    series = tiled(ID, said, dropped=dropped)
    assert {slot.start: slot.intensity_g_per_kwh for slot in series} == good
    assert {slot.end - slot.start for slot in series} <= {HOUR}
    assert dropped.total() == len(values) - len(good)


def test_measured_comes_before_forecast() -> None:
    """Of two values for one slot the measured one holds, whichever comes first."""
    both = [*points([1.0, 2.0, 3.0]), *points([5.0], kind=Kind.MEASURED)]
    for said in (both, both[::-1]):
        slots = tiled(ID, said, dropped=Counter()).slots
        assert [(slot.intensity_g_per_kwh, slot.kind) for slot in slots[:2]] == [
            (5.0, Kind.MEASURED),
            (2.0, Kind.FORECAST),
        ]


def test_the_same_said_twice_is_said_once_and_contradictions_are_refused() -> None:
    """Pieces of an answer may overlap, but must agree."""
    assert len(tiled(ID, [*points([1.0, 2.0]), *points([1.0, 2.0])], dropped=Counter())) == 2
    with pytest.raises(ProviderGarbage, match="both 1 and 7"):
        tiled(ID, [*points([1.0, 2.0]), Point(NOW, 7.0)], dropped=Counter())


def test_slots_that_overlap_are_refused() -> None:
    """A point within the slot of another one belongs to no regular series."""
    with pytest.raises(ProviderGarbage, match="before the one above ends"):
        tiled(ID, [*points([1.0] * 8), Point(NOW + HOUR / 2, 7.0)], dropped=Counter())


def test_one_value_has_no_length() -> None:
    """How long a slot is must be known from somewhere."""
    with pytest.raises(ProviderGarbage, match="one value only"):
        tiled(ID, points([1.0]), dropped=Counter())
    assert len(tiled(ID, points([1.0]), dropped=Counter(), step=HOUR)) == 1


def test_a_forecast_begins_with_the_slot_that_holds_now() -> None:
    """What is over is left out, and nothing ahead is told as missing."""
    said = points([1.0, 2.0, 3.0], begin=NOW - HOUR - HOUR / 2)
    assert [slot.intensity_g_per_kwh for slot in forecast_of(ID, said, NOW, dropped=Counter()).series] == [2.0, 3.0]
    with pytest.raises(ProviderUnavailable, match="no values for GB"):
        forecast_of(ID, said, NOW + 5 * HOUR, dropped=Counter())


def test_an_issue_is_never_of_tomorrow() -> None:
    """A source whose clock is ahead has issued its forecast now at the latest."""
    said = points([1.0, 2.0])
    assert forecast_of(ID, said, NOW, dropped=Counter(), issued_at=NOW + HOUR).issued_at == NOW
    assert forecast_of(ID, said, NOW, dropped=Counter(), issued_at=NOW - HOUR).issued_at == NOW - HOUR


def test_history_holds_what_was_measured_and_is_over() -> None:
    """A forecast, a slot under way and one outside are no history."""
    said = [*points([1.0, 2.0, 3.0], NOW - 2 * HOUR, Kind.MEASURED), *points([9.0], NOW - 3 * HOUR)]
    series = history_of(ID, said, NOW - 4 * HOUR, NOW + HOUR, NOW + HOUR / 2, dropped=Counter())
    assert [slot.intensity_g_per_kwh for slot in series] == [1.0, 2.0]
