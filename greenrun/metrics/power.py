"""Metrics of mean power, from the books: of all devices, of those that no job holds, and of each device."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.energy.mean_power import MeanPower, mean_powers
from greenrun.core.energy.model import Component, Slice, package_of
from greenrun.core.planning.power_cap.site_power import SitePowerState

_OVER = "over the last five whole minutes that are booked"
_OF_DEVICE = {
    Component.GPU: ("greenrun_gpu_mean_power_watts", f"What the GPU drew in the mean {_OVER}.", "gpu_uuid"),
    Component.CPU: (
        "greenrun_cpu_package_mean_power_watts",
        f"What the processor package drew in the mean {_OVER}.",
        "package",
    ),
    Component.DRAM: (
        "greenrun_dram_mean_power_watts",
        f"What the memory of the package drew in the mean {_OVER}.",
        "package",
    ),
}


def power_metrics(slices: Iterable[Slice], now: datetime) -> Iterator[Metric]:
    """Yield what devices drew lately; one of which that is not wholly known is left out."""
    powers = mean_powers(slices, now)
    text = f"What the metered devices drew in the mean {_OVER}, of those of which all of that is known."
    yield _by_component("greenrun_mean_power_watts", text, ((row.component, row.power_w) for row in powers))
    text = "The part of greenrun_mean_power_watts that was no job's."
    unattributed = ((row.component, row.unattributed_w) for row in powers)
    yield _by_component("greenrun_unattributed_mean_power_watts", text, unattributed)
    for component, (name, text, label) in _OF_DEVICE.items():
        yield _by_device(GaugeMetricFamily(name, text, labels=(label,)), component, powers)


def site_power_metrics(site: SitePowerState) -> Iterator[Metric]:
    """Yield what the site's power cap is and what is drawn under it; nothing without a cap."""
    known = (
        ("greenrun_site_power_cap_watts", "The site's power cap now; absent at times without one.", site.cap_w),
        (
            "greenrun_site_power_expected_watts",
            "What the host, as stated, and all GPUs are expected to draw now, as plans count it under the cap.",
            site.expected_w,
        ),
        (
            "greenrun_site_power_measured_watts",
            "What the host, as stated, and all GPUs drew over the last half minute; absent unless all were measured.",
            site.measured_w,
        ),
    )
    for name, text, value in known:
        if value is not None:
            yield GaugeMetricFamily(name, text, value=value)
    if site.has_cap:
        text = "For how long more was measured than the site's power cap, since the daemon started."
        yield CounterMetricFamily("greenrun_site_power_above_cap_seconds_total", text, value=site.above_s)


def _by_component(name: str, text: str, watts: Iterable[tuple[Component, float]]) -> Metric:
    family, sums = GaugeMetricFamily(name, text, labels=("component",)), defaultdict[Component, float](float)
    for component, power_w in watts:
        sums[component] += power_w
    for component, power_w in sums.items():
        family.add_metric((component.value,), power_w)
    return family


def _by_device(family: GaugeMetricFamily, component: Component, powers: Iterable[MeanPower]) -> Metric:
    """Add the devices of a kind; dies of one package, which have a label in common, together."""
    sums: defaultdict[str, float] = defaultdict(float)
    for row in powers:
        if row.component is component:
            sums[row.device if component is Component.GPU else package_of(row.device)] += row.power_w
    for label, power_w in sums.items():
        family.add_metric((label,), power_w)
    return family
