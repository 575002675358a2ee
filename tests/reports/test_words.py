"""Figures on a page read as people write them."""

from datetime import datetime

import pytest

from greenrun.reports.words import amount, money, span, sum_of


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "February 2026"),
        ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", "December 2026"),
        ("2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-02-01 to 2026-04-01"),
        ("2026-02-01T06:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01 06:00 UTC to 2026-03-01"),
        ("2026-02-02T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-02 to 2026-03-01"),
    ],
)
def test_a_whole_month_is_told_by_its_name(start: str, end: str, said: str) -> None:
    assert span(datetime.fromisoformat(start), datetime.fromisoformat(end)) == said


@pytest.mark.parametrize(
    ("value", "said"), [(1234.5, "1,234.50"), (0.925, "0.93"), (0.0123, "0.012"), (0.0, "0.00"), (None, "unknown")]
)
def test_money_is_told_to_the_cent(value: float | None, said: str) -> None:
    assert amount(value) == said


def test_a_cost_below_zero_is_a_cost_and_none_is_none() -> None:
    assert money(-2.0, "EUR") == "\N{MINUS SIGN}2.00 EUR"
    assert money(None, "EUR") == ""


def test_a_sum_of_what_is_not_known_is_not_known() -> None:
    assert (sum_of([]), sum_of([None]), sum_of([None, 1.0])) == (0, None, 1.0)
