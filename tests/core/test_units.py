"""What sums and differences of floats are worth."""

from math import fsum

import pytest

from greenrun.core.units import difference_of


@pytest.mark.parametrize("whole", [0.3, 8_123.4, 5e6])
def test_a_difference_that_is_only_noise_is_none(whole: float) -> None:
    assert difference_of(whole, whole * (1 + 4e-16)) == 0.0
    assert difference_of(0.1 + 0.2, 0.3) == 0.0
    assert difference_of(0.0, 0.0) == 0.0


def test_a_difference_shows_no_noise() -> None:
    assert difference_of(400.0 + 0.1 + 0.2, 50.3) == 350.0


@pytest.mark.parametrize("large", [9_876.0, 123_456.0])
def test_differences_of_parts_make_that_of_the_whole(large: float) -> None:
    """The whole may be thousands of times what it differs by."""
    pairs = [(large, large - 2.013313735), (0.123456789, 0.023456788), (7.7, 7.6000000012)]
    whole = difference_of(fsum(one for one, _ in pairs), fsum(other for _, other in pairs))
    assert fsum(difference_of(one, other) for one, other in pairs) == pytest.approx(whole, rel=1e-9)
