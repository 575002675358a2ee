"""The factors: every kind of generation has one on both bases, and a mix lies between those of its parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Basis
from greenrun.core.reference.emission_factors import G_PER_KWH, Fuel, intensity_g_per_kwh

MIXES = st.dictionaries(st.sampled_from(Fuel), st.floats(0, 1e6), min_size=1)


def test_every_fuel_has_a_factor_and_stacks_emit_no_more_than_life_cycles() -> None:
    """The life cycle contains the stack."""
    for fuel in Fuel:
        assert 0 <= G_PER_KWH[Basis.DIRECT][fuel] <= G_PER_KWH[Basis.LIFECYCLE][fuel] <= 1000


@given(mix=MIXES, basis=st.sampled_from(Basis))
def test_a_mix_lies_between_its_parts(mix: dict[Fuel, float], basis: Basis) -> None:
    """A mean is never beyond what it is the mean of, and of nothing there is none."""
    mean = intensity_g_per_kwh(mix, basis)
    if sum(mix.values()) == 0:
        assert mean is None
        return
    factors = [G_PER_KWH[basis][fuel] for fuel, amount in mix.items() if amount > 0]
    assert mean is not None
    assert min(factors) - 1e-6 <= mean <= max(factors) + 1e-6


@pytest.mark.parametrize(
    ("mix", "basis", "expected"),
    [
        ({Fuel.COAL: 1, Fuel.WIND: 3}, Basis.LIFECYCLE, (820 + 3 * 11) / 4),
        ({Fuel.COAL: 1, Fuel.WIND: 3}, Basis.DIRECT, 190),
        ({Fuel.NUCLEAR: 0, Fuel.HYDRO: 5}, Basis.LIFECYCLE, 24),
    ],
)
def test_a_mix_is_weighed_by_its_amounts(mix: dict[Fuel, float], basis: Basis, expected: float) -> None:
    """Three parts wind and one part coal."""
    assert intensity_g_per_kwh(mix, basis) == pytest.approx(expected)
