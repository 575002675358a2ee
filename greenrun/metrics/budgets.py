"""Metrics of budgets: how many there are and how far used, without names, since anybody on the machine may look."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.budgets.budget import OwnerKind
from greenrun.core.budgets.budget_admission import Fill
from greenrun.metrics.state import LiveState


def budget_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield how many budgets of users and of projects are within bounds, nearly used up, and spent."""
    counts = Counter((standing.owner.kind, standing.fill) for standing in state.budgets() if standing.budget.most)
    text = "Budgets that anybody uses or that are set by name, by how far they are used in the present period."
    found = GaugeMetricFamily("greenrun_budgets", text, labels=("owner", "fill"))
    for kind in OwnerKind:
        for fill in Fill:
            found.add_metric((kind.value, fill.value), counts[kind, fill])
    yield found
