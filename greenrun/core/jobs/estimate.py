"""Estimate before anything runs what a job will take: hours, energy, and emissions by when it starts."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import Floats, Kind, Series
from greenrun.core.formatting import instant_text
from greenrun.core.reference.gpu_models import GpuModel
from greenrun.core.units import J_PER_KWH, emissions_g, energy_j

LOAD = 0.76  # of an 8-GPU H100 node's rated power, as measured in compute-bound training: arXiv:2506.14551 (2025)
LOAD_LEAST, LOAD_MOST = 0.5, 1.0  # GPUs that wait for data much of the time; the rated power, which is never exceeded

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0  # forward 2, backward 4: Kaplan et al. 2020 (arXiv:2001.08361), section 2.1

_SAME = 1e-9  # means that differ by less, relatively, differ by rounding alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, the range it may lie in (None: taken as exact), and in words how it was come by."""

    value: float
    least: float | None = None
    most: float | None = None
    method: str

    def times(self, factor: float, method: str) -> "Figure":
        """The figure and its range multiplied, with a method of its own."""
        least, most = (None if bound is None else bound * factor for bound in (self.least, self.most))
        return Figure(value=self.value * factor, least=least, most=most, method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a job emits when it runs over `[start, end)`; intensity and grams are None for the `reason`.

    `kinds` tells which share (0-1) of the window's intensity is of which kind.
    """

    start: datetime
    end: datetime
    g_per_kwh: float | None = None
    emissions_g: Figure | None = None
    kinds: Mapping[Kind, float] = field(default_factory=dict)
    reason: str | None = None


def training_flops(parameters: float, tokens: float) -> float:
    """Return the operations it takes to train a dense transformer: 6 N D (Kaplan et al. 2020; Hoffmann et al. 2022)."""
    return FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens


def gpu_hours(flops: float, peak_flops: float, mfu: float) -> float:
    """Return the GPU-hours of `flops` operations on GPUs of `peak_flops` per second, used to the share `mfu` (0-1)."""
    return flops / (peak_flops * mfu) / 3600


def nominal_power(model: GpuModel, gpus: int) -> Figure:
    """Return what `gpus` of a model draw in training, in watts: their rated power times a measured load."""
    rated_w = model.tdp_w * gpus
    return Figure(
        value=rated_w * LOAD,
        least=rated_w * LOAD_LEAST,
        most=rated_w * LOAD_MOST,
        method=(
            f"{gpus} x {model.tdp_w:g} W ({model.source}) x load {LOAD:g} (training drew that share of an H100 node's "
            f"rated power, arXiv:2506.14551; range {LOAD_LEAST:g} to {LOAD_MOST:g}); the GPUs alone, without their host"
        ),
    )


def energy_kwh(power_w: Figure, duration: timedelta, pue: float) -> Figure:
    """Return the facility's energy in kWh: power times time times PUE."""
    method = f"power x {duration.total_seconds() / 3600:g} h x PUE {pue:g}"
    return power_w.times(energy_j(1.0, duration) / J_PER_KWH * pue, method)


def best_start(forecast: Series, earliest: datetime, latest: datetime, duration: timedelta) -> datetime | None:
    """Return the start in `[earliest, latest]` with the least mean intensity; None when none is known.

    The mean over a window of fixed length is linear in its start between the starts at which it begins or ends at a
    slot's edge, so the least of these few is the least of all. Of equals it is the earliest.
    """
    length_s = duration.total_seconds()
    starts_s = _candidates(forecast, earliest.timestamp(), latest.timestamp(), length_s)
    means = forecast.means(starts_s, length_s)
    if not np.isfinite(means).any():
        return None
    best = int(np.flatnonzero(means <= np.nanmin(means) * (1 + _SAME))[0])
    return max(earliest, min(latest, datetime.fromtimestamp(float(starts_s[best]), UTC)))


def window(forecast: Series, start: datetime, duration: timedelta, energy: Figure) -> Window:
    """Return what a job of that energy (kWh, PUE included) emits when it starts at `start`.

    The range of the grams is that of the energy: how wrong the forecast may be is not in it.
    """
    end = start + duration
    mean = forecast.mean(start, end)
    if mean is None:
        return Window(start=start, end=end, reason=_uncovered(forecast, start, end))
    grams = energy.times(emissions_g(J_PER_KWH, mean), "energy x mean intensity of the window")
    kinds = _kinds(forecast, start, end)
    return Window(start=start, end=end, g_per_kwh=mean, emissions_g=grams, kinds=kinds)


def windows(
    forecast: Series, earliest: datetime, latest: datetime, duration: timedelta, energy: Figure
) -> dict[str, Window]:
    """Return the windows at the soonest start (`now`), at the cleanest (`best`) and at the last (`latest`)."""
    best = best_start(forecast, earliest, latest, duration)
    return {
        name: window(forecast, start, duration, energy)
        for name, start in (("now", earliest), ("best", earliest if best is None else best), ("latest", latest))
    }


def _candidates(forecast: Series, earliest_s: float, latest_s: float, length_s: float) -> Floats:
    edges_s = np.concatenate([forecast.starts_s, forecast.ends_s])
    starts_s = np.concatenate([[earliest_s, latest_s], edges_s, edges_s - length_s])
    return np.unique(starts_s[(starts_s >= earliest_s) & (starts_s <= latest_s)])


def _kinds(forecast: Series, start: datetime, end: datetime) -> dict[Kind, float]:
    times: defaultdict[Kind, timedelta] = defaultdict(timedelta)
    for slot in forecast.between(start, end):
        times[slot.kind] += min(slot.end, end) - max(slot.start, start)
    return {kind: time / (end - start) for kind, time in times.items()}


def _uncovered(forecast: Series, start: datetime, end: datetime) -> str:
    if forecast.start is None or forecast.end is None:
        return "the forecast is empty"
    if start < forecast.start:
        return f"the forecast begins only at {instant_text(forecast.start)}"
    if end > forecast.end:
        return f"the forecast ends at {instant_text(forecast.end)}, before this window does"
    return "the forecast has a hole in this window"
