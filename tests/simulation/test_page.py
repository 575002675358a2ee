"""The page of a comparison tells what its figures tell, stands alone, and stays small for any case."""

import numpy as np

from greenrun.charts import browser
from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison, compare, figures
from greenrun.simulation.hindsight import HindsightBound
from greenrun.simulation.page import PageContent, PolicyRow, emissions_chart, gpu_steps, page, time_chart
from greenrun.simulation.policies import policies_of
from greenrun.simulation.schedule import Schedule
from tests.charts.pages import Page
from tests.simulation.build import HOUR, START_S, case, grid, job

VALUES = [90, 90, 20, 10, 90, 90, 60, 60, 60, 60, 60, 60]
POLICIES = policies_of(["start-at-once", "own-best-window"], [])


def shown(of: Case | None = None, found: Comparison | None = None) -> PageContent:
    """A comparison of two rules with made-up texts."""
    of = of or case([job(), job(1, gpus=2)], VALUES)
    found = found or compare(of, POLICIES)
    cells = {"CO2e": "1 kg", "saving": "8 %", "late": "0", "mean delay": "1h"}
    rows = [PolicyRow(name=name, what="waits & <starts>", cells=cells) for name in found.schedules]
    return PageContent(case=of, found=found, rows=rows, bound="no schedule emits less than 1 kg")


def crowd(jobs: int) -> PageContent:
    """A year of five-minute steps and many short jobs, each run as it came."""
    many = [job(8000 * index / jobs, 0.1) for index in range(jobs)]
    of = case(many, [], measured=grid((np.arange(105_120) % 288).tolist(), step_s=300.0))
    schedule = Schedule.whole([row.submitted_s for row in many], many)
    told = figures(Schedule(pieces=()), (), of.measured)
    return shown(
        of, Comparison(figures={"a": told}, schedules={"a": schedule}, at_once=told, bound=HindsightBound(grams=None))
    )


def test_the_charts_have_words_for_those_who_do_not_see_them() -> None:
    over_time, emissions = Page(page(shown())).labels
    assert over_time.startswith("2 jobs on 4 GPUs, 2026-03-02 00:00 to 2026-03-02 04:00 UTC. ")
    assert "own-best-window: 1 kg CO2e, saving 8 %, 0 late" in over_time
    assert emissions == (
        "Emissions by policy. start-at-once: 1 kg, saving 8 %, 0 late; own-best-window: 1 kg, saving 8 %, 0 late"
    )


def test_the_grid_and_the_gpus_in_use_are_drawn_as_they_are() -> None:
    lines = [trace for trace in time_chart(shown()).figure.data if trace.line.shape == "hv"]
    assert [line.y for line in lines] == [(90, 90, 20, 10, 10, None), (1, 2, 0, 0, None), (0, 3, 3, None)]
    limits = [trace.y for trace in time_chart(shown()).figure.data if trace.name == "the 4 GPUs there are"]
    assert limits == [(4, 4), (4, 4)]


def test_emissions_are_drawn_in_the_unit_that_is_told() -> None:
    drawn, found = emissions_chart(shown()).figure, shown().found
    assert drawn.layout.xaxis.title.text == "g CO2e"
    assert drawn.data[0].x == tuple(row.emissions_g for row in found.figures.values())


def test_the_page_asks_for_nothing_outside_it_and_follows_a_dark_theme() -> None:
    text = page(shown())
    assert Page(text).asked == []
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_each_figure_in_a_table_and_escapes_texts() -> None:
    text = page(shown())
    assert text.count('<th scope="row">') == 2
    assert "waits &amp; &lt;starts&gt;" in text
    assert "<starts>" not in text


def test_a_year_of_five_minutes_and_many_jobs_stays_under_a_megabyte() -> None:
    text = page(crowd(20_000)).replace(str(browser.page_script()), "")
    assert len(text) < 1_000_000
    assert "are drawn as means of 24 h" in text


def test_without_a_schedule_that_keeps_every_limit_there_is_no_bound_and_no_line() -> None:
    late = shown(case([job(wait=0), job(wait=0)], VALUES, gpus=1))
    assert late.found.bound == HindsightBound(grams=None, why_none="no schedule keeps every limit")
    assert emissions_chart(shown()).figure.data[1].x == (shown().found.bound.grams,) * 2
    assert len(emissions_chart(late).figure.data) == 1


def test_a_hole_in_the_grid_is_left_out() -> None:
    of = case([job()], [90, float("nan"), 20, 10, 10, 10, 10])
    found = compare(of, policies_of(["start-at-once"], []))
    drawn = time_chart(shown(of, found))
    assert "NaN" not in str(browser.fragment(drawn))
    assert next(trace.y for trace in drawn.figure.data if trace.line.shape == "hv") == (90, 90, None)


def test_gpus_in_use_follow_the_pieces() -> None:
    pieces = (((START_S, START_S + HOUR), (START_S + 2 * HOUR, START_S + 3 * HOUR)), ((START_S, START_S + HOUR),))
    used = gpu_steps(Schedule(pieces=pieces), (job(), job(gpus=2)), START_S, START_S + 4 * HOUR)
    assert used.values.tolist() == [3, 0, 1, 0]
