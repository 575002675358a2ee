"""What jobs are expected to use of budgets, by their place in the plan or else in the cleanest hours they may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.accounting.step_function import Steps
from greenrun.core.budgets.budget import Measure
from greenrun.core.budgets.charges import ASSUMED_CPU_W, ASSUMED_GPU_W
from greenrun.core.carbon.intensity import Series
from greenrun.core.jobs.job import Job
from greenrun.core.units import J_PER_KWH

_G_PER_KG = 1000.0
_BUCKET_S = 900.0  # windows that begin and end within the same quarters are taken for one
_STEP_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a job is expected to use over `[start, end)`, None where that cannot be told.

    `is_assumed`: nobody knows its power, so that of a usual device is taken.
    """

    start: datetime
    end: datetime
    amounts: Mapping[Measure, float | None]
    is_assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRates:
    """By what energy is turned into grams and money; `known_g` remembers the cleanest hours of windows."""

    outlook: Series | None = None
    price: Steps | None = None
    pue: float = 1.0
    gpu_power_w: float | None = None
    known_g: dict[tuple[float, int, int], float | None] = field(default_factory=dict)

    def power_w(self, job: Job) -> tuple[float, bool]:
        """Return a job's power, and whether that is known: its own or learned, or that of this machine's GPUs."""
        if job.spec.power_w is not None:
            return job.spec.power_w, True
        if job.spec.gpus:
            each = self.gpu_power_w
            return job.spec.gpus * (each or ASSUMED_GPU_W), each is not None
        return ASSUMED_CPU_W, False

    def need(self, job: Job, start: datetime, end: datetime, ran: timedelta, grams: float | None = None) -> Need:
        """Return what a job uses that runs for `ran` in `[start, end)`; its `grams` where a plan tells them."""
        watts, is_known = self.power_w(job)
        kwh = watts * ran.total_seconds() / J_PER_KWH
        if grams is None:
            mean = self.mean_g(start, end)
            grams = None if mean is None else kwh * self.pue * mean
        return self._need(job, start, end, ran, kwh, grams, is_known)

    def least_need(self, job: Job, start: datetime, latest: datetime) -> Need:
        """Return what a job uses that starts from `start` on, by `latest`, in the cleanest hours of that time."""
        watts, is_known = self.power_w(job)
        ran = job.remaining
        kwh = watts * ran.total_seconds() / J_PER_KWH
        mean = self._least_g(start, max(start, latest), ran)
        grams = None if mean is None else kwh * self.pue * mean
        return self._need(job, start, start + ran, ran, kwh, grams, is_known)

    def mean_g(self, start: datetime, end: datetime) -> float | None:
        """Return the mean intensity expected over a time; of all that is expected where that is not covered."""
        if self.outlook is None or not len(self.outlook):
            return None
        found = self.outlook.mean(start, end)
        return found if found is not None else float(np.mean(self.outlook.values))

    def _need(
        self, job: Job, start: datetime, end: datetime, ran: timedelta, kwh: float, grams: float | None, is_known: bool
    ) -> Need:
        price = self._price(start, end)
        amounts = {
            Measure.GPU_HOURS: job.spec.gpus * ran.total_seconds() / 3600,
            Measure.KWH: kwh,
            Measure.KG_CO2E: None if grams is None else grams / _G_PER_KG,
            Measure.MONEY: None if price is None else kwh * self.pue * price,
        }
        return Need(start=start, end=end, amounts=amounts, is_assumed=not is_known)

    def _price(self, start: datetime, end: datetime) -> float | None:
        if self.price is None or not len(self.price):
            return None
        mean = float(self.price.means(np.array([start.timestamp()]), np.array([end.timestamp()]))[0])
        return mean if np.isfinite(mean) else float(np.mean(self.price.values))

    def _least_g(self, start: datetime, latest: datetime, ran: timedelta) -> float | None:
        """Return the least mean intensity of a run that starts in `[start, latest]`."""
        if self.outlook is None or not len(self.outlook):
            return None
        first_s, last_s = start.timestamp(), latest.timestamp()
        key = (ran.total_seconds(), int(first_s // _BUCKET_S), int(last_s // _BUCKET_S))
        if key not in self.known_g:
            starts_s = np.append(np.arange(first_s, last_s, _STEP_S), last_s)
            means = self.outlook.means(starts_s, ran.total_seconds())
            known = means[np.isfinite(means)]
            self.known_g[key] = float(known.min()) if len(known) else self.mean_g(start, start + ran)
        return self.known_g[key]
