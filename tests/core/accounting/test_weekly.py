"""A tariff prices every minute of the week once, by the clock on the wall, however it is asked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import fsum
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.weekly import (
    DAY_MIN,
    WEEK_MIN,
    Rule,
    Weekly,
    first_gap,
    overlaps,
    parse_clock,
    parse_days,
)
from tests.sampling import examples

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu")]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(2026, 3, 23, tzinfo=UTC)
SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)
REST = 0.2
BY_DAY = Rule(days=parse_days("mon-fri"), start_min=7 * 60, end_min=23 * 60, value=0.34)


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    """Rules that do not overlap: each day belongs to one group of days, whose times are cut out of one day."""
    groups = draw(st.lists(st.integers(0, 2), min_size=7, max_size=7))
    found = []
    for group in set(groups):
        cuts = sorted(draw(st.sets(st.integers(0, DAY_MIN), max_size=5)))
        days = frozenset(day for day in range(7) if groups[day] == group)
        for index, (start, end) in enumerate(pairwise(cuts)):
            if index % 2 == 0:
                price = draw(st.floats(-1, 1))
                found.append(Rule(days=days, start_min=start, end_min=end, value=price))
    return found


instants = st.integers(0, 366 * 24 * 3600).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


def claims(told: Sequence[Rule], minute: int) -> list[float]:
    """The prices that rules tell of a minute of the week."""
    return [row.value for row in told for start, end in row.spans() if start <= minute < end]


@examples(25)
@given(rules())
def test_every_minute_of_the_week_has_exactly_one_price(told: list[Rule]) -> None:
    tariff = Weekly.of(told, REST)
    assert tariff.starts_min[0] == 0
    assert list(tariff.starts_min) == sorted(set(tariff.starts_min))
    for minute in range(0, WEEK_MIN, 11):
        assert [tariff.at(MONDAY + minute * MINUTE)] == (claims(told, minute) or [REST])


@examples(25)
@given(rules(), st.randoms())
def test_the_order_of_rules_does_not_matter(told: list[Rule], dice: object) -> None:
    other = list(told)
    dice.shuffle(other)  # type: ignore[attr-defined]
    assert Weekly.of(other, REST) == Weekly.of(told, REST)


@given(rules(), st.sampled_from(ZONES), instants, st.integers(1, 3 * 86_400), st.floats(0, 1))
def test_a_mean_is_that_of_its_parts_wherever_it_is_cut(
    told: list[Rule], zone: ZoneInfo, start: datetime, length_s: int, cut: float
) -> None:
    tariff, end = Weekly.of(told, REST, zone), start + timedelta(seconds=length_s)
    spans = tariff.steps(start, end).spans()
    assert spans[0].start == start
    assert spans[-1].end == end
    assert all(before.end == after.start for before, after in pairwise(spans))
    mean = tariff.mean(start, end)
    assert mean == pytest.approx(fsum((row.end - row.start) / (end - start) * row.value for row in spans), abs=1e-6)
    middle = start + int(cut * length_s) * timedelta(seconds=1)
    if start < middle < end:
        halves = [(middle - start, tariff.mean(start, middle)), (end - middle, tariff.mean(middle, end))]
        assert mean == pytest.approx(fsum(part / (end - start) * (each or 0.0) for part, each in halves), abs=1e-6)


@examples(25)
@given(rules(), st.sampled_from(ZONES), st.sampled_from([SPRING, AUTUMN, datetime(2026, 4, 4, tzinfo=UTC)]))
def test_steps_say_what_each_minute_costs_on_days_when_the_clock_is_changed(
    told: list[Rule], zone: ZoneInfo, day: datetime
) -> None:
    tariff = Weekly.of(told, REST, zone)
    steps = tariff.steps(day - 6 * HOUR, day + 30 * HOUR)
    for minute in range(-6 * 60, 30 * 60, 37):
        at = day + minute * MINUTE
        local = at.astimezone(zone)
        in_week = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
        expected = (claims(told, in_week) or [REST])[0]
        assert steps.mean(at, at + MINUTE) == pytest.approx(expected)
        assert tariff.at(at) == expected


NIGHT = Rule(days=parse_days("mon-sun"), start_min=2 * 60, end_min=4 * 60, value=0.0)


@pytest.mark.parametrize(
    ("day", "hours", "cheap"),
    [(SPRING, 23, 1), (AUTUMN, 25, 3), (SPRING - DAY, 24, 2)],
    ids=["an hour is left out", "an hour comes twice", "an ordinary day"],
)
def test_the_hours_from_two_to_four_are_one_two_or_three(day: datetime, hours: int, cheap: int) -> None:
    """Midnight to midnight in Berlin; at 0 a kWh in the cheap hours and 1 otherwise, the mean tells how many."""
    start = datetime(day.year, day.month, day.day, tzinfo=BERLIN).astimezone(UTC)
    tomorrow = day + DAY
    end = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=BERLIN).astimezone(UTC)
    assert (end - start) == hours * HOUR
    assert Weekly.of([NIGHT], 1.0, BERLIN).mean(start, end) == pytest.approx((hours - cheap) / hours)


def test_a_price_over_midnight_is_that_of_the_day_on_which_it_begins() -> None:
    late = Rule(days=parse_days("sun"), start_min=22 * 60, end_min=6 * 60, value=0.1)
    tariff = Weekly.of([late], REST)
    assert [tariff.at(MONDAY + hours * HOUR) for hours in (-3, -1, 5, 6)] == [REST, 0.1, 0.1, REST]
    assert tariff.at(MONDAY + 6 * DAY + 23 * HOUR) == 0.1


def test_what_no_rule_tells_has_no_price_and_no_mean() -> None:
    tariff = Weekly.of([BY_DAY], None)
    assert tariff.at(MONDAY) is None
    assert tariff.mean(MONDAY, MONDAY + DAY) is None
    assert tariff.mean(MONDAY + 7 * HOUR, MONDAY + 23 * HOUR) == pytest.approx(0.34)
    assert first_gap([BY_DAY]) == "mon 00:00"
    assert first_gap([Rule(days=parse_days("mon-sun"), start_min=0, end_min=DAY_MIN, value=1.0)]) is None


def test_each_time_that_two_rules_claim_is_told() -> None:
    other = Rule(days=parse_days("fri-sat"), start_min=22 * 60, end_min=6 * 60, value=0.1)
    assert overlaps([BY_DAY, other]) == ["two rules claim fri 22:00 to fri 23:00; a time has one price"]
    with pytest.raises(ValueError, match="fri 22:00"):
        Weekly.of([BY_DAY, other], REST)


@pytest.mark.parametrize(
    ("text", "days"), [("mon-fri", {0, 1, 2, 3, 4}), ("Sat, sun", {5, 6}), ("fri-mon", {4, 5, 6, 0}), ("wed", {2})]
)
def test_days_are_read_as_people_write_them(text: str, days: set[int]) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "monday", "mon-", "mon-fri-sat", "1-5", "mon;tue"])
def test_what_names_no_days_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no days"):
        parse_days(text)


@pytest.mark.parametrize("text", ["", "7", "24:01", "07:60", "7:5", "-1:00", "noon", "07:00:00"])
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_clock(text)


@pytest.mark.parametrize("day", [datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 3, 28, tzinfo=UTC)])
def test_an_edge_after_the_clock_was_changed_is_where_the_clock_says(day: datetime) -> None:
    """The night price goes on until seven by the clock on the wall, an hour more or less after it began."""
    rule = Rule(days=frozenset(range(7)), start_min=7 * 60, end_min=20 * 60, value=0.4)
    tariff, quarter = Weekly.of([rule], 0.2, ZoneInfo("Europe/Berlin")), timedelta(minutes=15)
    steps = tariff.steps(day, day + timedelta(days=2))
    for start in (day + index * quarter for index in range(2 * 96)):
        assert steps.mean(start, start + quarter) == pytest.approx(tariff.at(start))
