"""A clock that is set forward while something is measured makes no gap longer than it was."""

import pytest

from greenrun.core.energy.model import Component, Device, Quality
from greenrun.core.energy.window import WindowEnergy
from greenrun.measuring.result import without_jump

GPU = Device(id="GPU-1", index=0, model="A100", source="nvml", kind=Component.GPU)


@pytest.mark.parametrize(
    ("clock_s", "gap_s", "told_s"),
    [
        pytest.param(16.0, 3.0, 3.0, id="not-set"),
        pytest.param(17.9, 3.0, 3.0, id="no-more-than-clocks-differ-by"),
        pytest.param(18_016.0, 18_001.5, 1.5, id="five-hours"),
        pytest.param(18_016.0, 18_000.0, 0.0, id="only-the-jump"),
        pytest.param(3_616.0, 0.0, 0.0, id="not-read-as-a-gap-at-all"),
        pytest.param(18_016.0, 36_100.0, 16.0, id="never-longer-than-all-of-it"),
    ],
)
def test_a_gap_is_as_long_as_it_was(clock_s: float, gap_s: float, told_s: float) -> None:
    use = WindowEnergy(device=GPU, energy_j=960.0, quality=Quality.BRIDGED, gap_s=gap_s, pieces=())
    (told,) = without_jump([use], clock_s, 16.0)
    assert (told.gap_s, told.energy_j) == (told_s, 960.0)
