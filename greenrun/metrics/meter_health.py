"""Metrics of meter health: how well the devices can be read."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.energy.model import Component
from greenrun.metrics.state import LiveState

_GPU = ("gpu_uuid",)


def meter_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield whether each GPU can be read and what went wrong with that, and how its sampler does; all from memory."""
    health = state.meter()
    gpus = {device.id for device in state.devices() if device.kind is Component.GPU}
    up = GaugeMetricFamily("greenrun_gpu_up", "Whether the GPU was read in the last seconds.", labels=_GPU)
    text = "Time in which the GPU was not read, as far as that is over, since the daemon started."
    gaps = CounterMetricFamily("greenrun_gpu_gap_seconds_total", text, labels=_GPU)
    text = "What was wrong with readings of the GPU, since the daemon started."
    errors = CounterMetricFamily("greenrun_gpu_read_errors_total", text, labels=(*_GPU, "cause"))
    for device in health.devices:
        if device.device not in gpus:
            continue
        up.add_metric((device.device,), float(device.is_up))
        gaps.add_metric((device.device,), device.gap_s)
        for cause, count in device.troubles.items():
            errors.add_metric((device.device, cause), count)
    yield from (up, gaps, errors)
    text = "Processes that read the meters and had to be replaced, since the daemon started."
    yield CounterMetricFamily("greenrun_sampler_restarts_total", text, value=health.restarts)
    if health.lag_s is not None:
        yield GaugeMetricFamily("greenrun_sampler_lag_seconds", "How long ago a meter last told.", value=health.lag_s)
