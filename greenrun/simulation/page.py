"""A comparison as a page for the browser: the grid, the GPUs in use under each policy, and what each emitted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from greenrun.charts import browser
from greenrun.charts.steps import StepCurve, Stretch, intensity_steps
from greenrun.core.formatting import mass_unit
from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison
from greenrun.simulation.policies import GREENRUN, Arrival
from greenrun.simulation.schedule import Schedule

_MOST_STEPS = 600  # in one curve: more are too narrow to be seen
_CLEAN = 1 / 3  # the share of the time whose hours are marked as the cleanest
_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A policy as people read it: what it does, and each of its figures as text by the name of its column."""

    name: str
    what: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """What is drawn: a comparison with its texts. `bound` says what no schedule can pass, or why that is unknown.

    `by_reports` has the savings against the baseline of reports, where they are others.
    """

    case: Case
    found: Comparison
    rows: Sequence[PolicyRow]
    bound: str
    by_reports: str = ""

    @property
    def title(self) -> str:
        """What was simulated, in one line."""
        gpus = "as many GPUs as are needed" if self.case.gpus is None else f"{self.case.gpus} GPUs"
        return f"{len(self.case.jobs)} jobs on {gpus}"

    @property
    def span_s(self) -> Stretch:
        """From the start of the simulation to the last end under any policy, in epoch seconds."""
        ends_s = [pieces[-1][1] for schedule in self.found.schedules.values() for pieces in schedule.pieces if pieces]
        start_s = self.case.start.timestamp()
        return start_s, max([start_s + 60, *ends_s])

    @property
    def span(self) -> str:
        """That span as text."""
        start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in self.span_s)
        return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"

    @property
    def summary(self) -> str:
        """Everything the charts say, in sentences: for those who do not see them."""
        lines = [f"{row.name}: {row.cells['CO2e']} CO2e, saving {row.cells['saving']}, {row.cells['late']} late"
                for row in self.rows]  # fmt: skip
        return ". ".join([f"{self.title}, {self.span}", *lines, *([self.bound] if self.bound else [])]) + "."


def page(shown: PageContent) -> str:
    """Return one HTML page with the charts and their figures as a table; it asks nothing of the network."""
    table = browser.Table(
        caption="The policies side by side",
        heads=("policy", *shown.rows[0].cells, "what it does"),
        rows=[(row.name, *row.cells.values(), row.what) for row in shown.rows],
    )
    bound = f"; {shown.bound}" if shown.bound else ""
    return browser.page(
        title=f"greenrun simulate: {shown.title}", heading=f"greenrun simulate: {shown.title}", lines=[shown.span],
        charts=[time_chart(shown), emissions_chart(shown)], tables=[table],
        notes=[
            f"The saving is against first come, first served: each job as soon as GPUs are free{bound}.",
            *([f"{shown.by_reports[0].upper()}{shown.by_reports[1:]}."] if shown.by_reports else []),
        ],
    )  # fmt: skip


def time_chart(shown: PageContent) -> browser.Chart:
    """Return the grid and below it the GPUs in use under each policy, over one axis of time."""
    case, span_s = shown.case, shown.span_s
    grid = intensity_steps(case.measured, *span_s).coarser(_MOST_STEPS)
    used = {
        name: gpu_steps(schedule, case.jobs, *span_s).coarser(_MOST_STEPS)
        for name, schedule in shown.found.schedules.items()
    }
    most = max([curve.top for curve in used.values()] + [case.gpus or 0])
    limit = (
        None if case.gpus is None else browser.ReferenceLine(value=case.gpus, name=f"the {case.gpus} GPUs there are")
    )
    panels = [browser.Panel(
        heading="Carbon intensity", what=_means([grid, *used.values()]), unit="g CO2e/kWh", top=grid.top, height=130,
        layers=[browser.Layer(steps=grid, colour=browser.GREY)],
    )]  # fmt: skip
    panels += [browser.Panel(
        heading=row.name, what=f"{row.what}; mean delay {row.cells['mean delay']}", unit="GPUs in use", top=most,
        limit=limit, height=90,
        layers=[browser.Layer(steps=used[row.name], colour=_colour(row.name), opacity=0.8)],
    ) for row in shown.rows]  # fmt: skip
    return browser.step_panels(
        panels, id="over-time", description=shown.summary, shaded=list(grid.lowest(_CLEAN)),
        shade="the cleanest third of this time",
    )  # fmt: skip


def emissions_chart(shown: PageContent) -> browser.Chart:
    """Return the emissions of the policies as bars from 0, with the bound that none can pass."""
    grams = {name: figures.emissions_g for name, figures in shown.found.figures.items()}
    most_g = max(value or 0.0 for value in grams.values())
    per_g, unit = mass_unit(most_g)
    bars = [
        browser.Bar(
            label=row.name, parts=(None if grams[row.name] is None else (grams[row.name] or 0.0) / per_g,),
            text=f"{row.cells['CO2e']}, saving {row.cells['saving']}, {row.cells['late']} late",
            colour=_colour(row.name),
        )
        for row in shown.rows
    ]  # fmt: skip
    bound_g, bound = shown.found.bound.grams, None
    if bound_g is not None and bound_g <= most_g:  # above, no schedule shown here keeps every limit
        bound = browser.ReferenceLine(value=bound_g / per_g, name=shown.bound)
    return browser.bars_by_group(
        bars, id="emissions", title="Emissions by policy", unit=f"{unit} CO2e", reference=bound
    )


def gpu_steps(schedule: Schedule, jobs: tuple[Arrival, ...], start_s: float, end_s: float) -> StepCurve:
    """Return the GPUs in use from `start_s` to `end_s`, between which all pieces lie."""
    rows = zip(schedule.pieces, jobs, strict=True)
    used = np.array([(begin, stop, job.gpus) for pieces, job in rows for begin, stop in pieces]).reshape(-1, 3)
    moments_s = np.concatenate([[start_s, end_s], used[:, 0], used[:, 1]])
    edges_s, places = np.unique(moments_s, return_inverse=True)
    changes = np.bincount(places, weights=np.concatenate([[0, 0], used[:, 2], -used[:, 2]]))
    return StepCurve(edges_s=edges_s, values=np.round(np.cumsum(changes)[:-1]))


def _colour(policy: str) -> str:
    return browser.GREEN if policy == GREENRUN else browser.BLUE


def _means(curves: Iterable[StepCurve]) -> str:
    step_s = next((curve.step_s for curve in curves if curve.step_s), None)
    if step_s is None:
        return ""
    length, unit = (step_s / 60, "min") if step_s < _HOUR_S else (step_s / _HOUR_S, "h")
    return f"curves with more steps than can be seen are drawn as means of {length:g} {unit}"
