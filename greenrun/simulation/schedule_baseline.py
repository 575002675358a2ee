"""What the runs of a schedule would have emitted at the earliest start on the same GPUs: the baseline of reports."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from greenrun.core.carbon.intensity import Series
from greenrun.core.energy.earliest_start import Stint, earliest_starts
from greenrun.core.units import J_PER_KWH
from greenrun.simulation.policies import Arrival
from greenrun.simulation.schedule import Schedule

_GPUS = 0  # the only pool there is


def earliest_start_g(
    schedule: Schedule, jobs: Sequence[Arrival], measured: Series, gpus: int | None, restart_cost: timedelta
) -> float | None:
    """Return it in g; None where the intensity is not known for all of it."""
    stints: list[Stint] = []
    watts: list[float] = []
    for drawn, job in zip(schedule.drawn(jobs), jobs, strict=True):
        for number, ((start_s, end_s), power_w) in enumerate(drawn):
            is_resumed = number > 0 and drawn[number - 1][0][1] < start_s
            loads_s = restart_cost.total_seconds() if is_resumed else 0.0
            stint = Stint(
                start_s=start_s,
                resumes_s=min(start_s + loads_s, end_s),
                end_s=end_s,
                ready_s=job.submitted_s,
                gpus=job.gpus,
                pool=_GPUS,
                after=(len(stints) - 1,) if number else (),
            )
            stints.append(stint)
            watts.append(power_w)
    places_s = earliest_starts(stints, {} if gpus is None else {_GPUS: [float("-inf")] * gpus})
    lengths_s = np.array([stint.length_s for stint in stints])
    ran = lengths_s > 0
    if not ran.any():
        return 0.0
    starts_s = np.array(places_s)[ran]
    means = measured.means_between(starts_s, starts_s + lengths_s[ran])
    grams = float(np.dot(np.array(watts)[ran] * lengths_s[ran] / J_PER_KWH, means))
    return None if np.isnan(grams) else grams
