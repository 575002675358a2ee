"""What contracts cover and what is left over make the whole, and nothing is sold twice."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.embodied import Embodied, g_per_gpu_hour
from greenrun.core.accounting.market_based import Contract, Contracts, sold_twice
from greenrun.core.accounting.step_function import Span, Steps

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


def contract(g: float, share: float = 1.0, hours: tuple[float, float] = (0, 8760), source: str = "PPA") -> Contract:
    """A contract over these hours of the year."""
    factors = Steps.of([Span(T0 + hours[0] * HOUR, T0 + hours[1] * HOUR, g)])
    return Contract(source=source, factors=factors, share=share)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0.01, 0.25)), max_size=4), st.integers(1, 8760))
def test_a_contract_s_grams_are_its_share_s(rows: list[tuple[float, float]], hours: int) -> None:
    told = Contracts(rows=[contract(g, share) for g, share in rows]).matched(T0, T0 + hours * HOUR)
    assert told.covered == pytest.approx(sum(share for _, share in rows))
    assert told.g_per_kwh == pytest.approx(sum(g * share for g, share in rows), abs=1e-9)


def test_an_hour_in_which_a_contract_ends_is_covered_up_to_there() -> None:
    told = Contracts(rows=[contract(100.0, hours=(0, 1.25))]).matched(T0 + HOUR, T0 + 2 * HOUR)
    assert (told.covered, told.g_per_kwh) == (pytest.approx(0.25), pytest.approx(25.0))
    after = Contracts(rows=[contract(100.0, hours=(0, 1))]).matched(T0 + HOUR, T0 + 2 * HOUR)
    assert (after.covered, after.g_per_kwh, after.sources) == (0.0, 0.0, ())


def test_what_is_sold_twice_is_found_where_it_begins() -> None:
    assert sold_twice([contract(0.0, 0.6), contract(1.0, 0.4)]) is None
    assert sold_twice([contract(0.0, hours=(0, 10)), contract(1.0, hours=(10, 20))]) is None
    assert sold_twice([contract(0.0, 0.6), contract(1.0, 0.5, (10, 20))]) == T0 + 10 * HOUR


def test_the_making_of_a_machine_is_spread_over_its_lifetime_and_gpus() -> None:
    """SCI's M = TE x TiR/EL x RR/ToR: held on all GPUs for all its life, it is the whole."""
    per_hour = g_per_gpu_hour(150, 4 * YEAR)
    assert per_hour == pytest.approx(4.2808, abs=1e-4)
    assert 8 * g_per_gpu_hour(1200, 4 * YEAR, gpus=8) * (4 * YEAR / HOUR) == pytest.approx(1_200_000)


def test_a_model_s_factor_is_that_of_the_longest_name_in_it() -> None:
    embodied = Embodied(source="x", by_model={"A100": 20.0, "a100-sxm": 25.0})
    models = ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB", "NVIDIA H100", None)
    assert [embodied.factor(model) for model in models] == [25.0, 20.0, None, None]
    assert Embodied(source="x", g_per_gpu_hour=27.0).factor(None) == 27.0
