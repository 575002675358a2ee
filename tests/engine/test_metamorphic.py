"""Energy and emissions are facts of the hardware and the grid: how greenrun looks at them changes neither.

Ticks, restarts, doubled intensities and swapped devices are in `test_emissions_invariance`; here are the
sampler's own clock and where slices are cut.
"""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import JobSpec
from greenrun.engine import bookkeeping
from tests.engine import day
from tests.sampling import examples

SECONDS = st.floats(0.7, 9.9).map(lambda seconds: timedelta(seconds=seconds))
CUTS = st.sampled_from([20, 45, 60, 61, 420, 779]).map(lambda seconds: timedelta(seconds=seconds))


@examples(5)
@given(jobs=day.JOBS, beat=day.BEATS, pause=SECONDS)
def test_when_the_sampler_reads_does_not_matter(jobs: list[JobSpec], beat: day.Beat, pause: timedelta) -> None:
    """Another pause between readings puts them at other phases of the ticks, of the slots and of the jobs."""
    with pytest.MonkeyPatch.context() as patch:
        expected = day.live(jobs, day.Beat())
        patch.setattr(day, "SAMPLING", pause)
        day.same(day.live(jobs, beat), expected)


@examples(5)
@given(jobs=day.JOBS, beat=day.BEATS, grid=CUTS)
def test_where_slices_are_cut_does_not_matter(jobs: list[JobSpec], beat: day.Beat, grid: timedelta) -> None:
    """A cut inside a slot moves energy from one slice to the next, at the same price."""
    with pytest.MonkeyPatch.context() as patch:
        expected = day.live(jobs, day.Beat())
        patch.setattr(bookkeeping, "SLICE_STEP", grid)
        day.same(day.live(jobs, beat), expected)
