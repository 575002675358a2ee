"""The picture of a comparison tells what its figures tell, stands alone, and stays small for any case."""

import re
from collections.abc import Callable
from datetime import timedelta
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.simulation import axes
from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison, compare
from greenrun.simulation.curves import Steps, gpu_steps, intensity_steps
from greenrun.simulation.figures import Schedule, figures
from greenrun.simulation.page import FORMS, page, plot_problems, png
from greenrun.simulation.picture import Row, Shown, draw
from greenrun.simulation.rules import policies_of
from tests.simulation.build import HOUR, START_S, case, grid, job

SVG = "{http://www.w3.org/2000/svg}"
VALUES = [90, 90, 20, 10, 90, 90, 60, 60, 60, 60, 60, 60]
POLICIES = policies_of(["start-at-once", "own-best-window"], [])

steps = st.lists(st.floats(0, 1000), min_size=1, max_size=40).map(
    lambda values: Steps(edges_s=np.arange(len(values) + 1) * HOUR, values=np.array(values))
)


def shown(of: Case | None = None, found: Comparison | None = None) -> Shown:
    """A comparison of two rules with made-up texts."""
    of = of or case([job(), job(1, gpus=2)], VALUES)
    found = found or compare(of, POLICIES)
    cells = {"CO2e": "1 kg", "saving": "8 %", "late": "0", "mean delay": "1h"}
    rows = [Row(name=name, what="waits & <starts>", cells=cells) for name in found.schedules]
    return Shown(case=of, found=found, rows=rows, bound="no schedule emits less than 1 kg")


def crowd(jobs: int) -> Shown:
    """A year of five-minute steps and many short jobs, each run as it came."""
    many = [job(8000 * index / jobs, 0.1) for index in range(jobs)]
    of = case(many, [], measured=grid((np.arange(105_120) % 288).tolist(), step_s=300.0))
    schedule = Schedule.whole([row.submitted_s for row in many], many)
    told = figures(Schedule(pieces=()), (), of.measured)
    return shown(of, Comparison(figures={"a": told}, schedules={"a": schedule}, at_once=told, bound_g=None))


def test_the_picture_is_well_formed_and_has_words_for_those_who_do_not_see_it() -> None:
    root = ElementTree.fromstring(draw(shown()))
    assert root.get("role") == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "greenrun simulate: 2 jobs on 4 GPUs"
    assert desc is not None
    assert "own-best-window: 1 kg CO2e, saving 8 %, 0 late" in str(desc.text)
    assert "2026-03-02 00:00 to 2026-03-02 04:00 UTC" in str(desc.text)


def test_all_that_is_drawn_is_inside_the_picture() -> None:
    root = ElementTree.fromstring(draw(shown()))
    width, height = (float(root.get(name) or 0) for name in ("width", "height"))
    for row in root.iter(f"{SVG}text"):
        assert 0 <= float(row.get("x") or -1) <= width
        assert 0 <= float(row.get("y") or -1) <= height
    for row in root.iter(f"{SVG}rect"):
        assert float(row.get("x") or 0) + float(row.get("width") or 0) <= width


@pytest.mark.parametrize("form", [draw, page])
def test_neither_form_asks_for_anything_outside_it(form: Callable[[Shown], str]) -> None:
    text = form(shown()).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|<script|<link|\bsrc=|\bhref=", text)
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_each_figure_in_a_table_and_escapes_texts() -> None:
    text = page(shown())
    assert text.count('<th scope="row">') == 2
    assert "waits &amp; &lt;starts&gt;" in text
    assert "<starts>" not in text


def test_a_year_of_five_minutes_and_many_jobs_stays_under_a_megabyte() -> None:
    text = draw(crowd(20_000))
    assert len(text) < 1_000_000
    assert "are drawn as means of 24 h" in text


def test_a_bound_above_all_emissions_draws_no_line() -> None:
    late = shown(case([job(wait=0), job(wait=0)], VALUES, gpus=1))
    assert late.found.bound_g is not None
    assert late.found.bound_g > max(row.emissions_g or 0 for row in late.found.figures.values())
    assert draw(shown()).split("</style>")[1].count('class="gr-bound"') == 2  # the line, and its key
    assert draw(late).split("</style>")[1].count('class="gr-bound"') == 0


def test_a_hole_in_the_grid_is_left_out() -> None:
    of = case([job()], [90, float("nan"), 20, 10, 10, 10, 10])
    found = compare(of, policies_of(["start-at-once"], []))
    assert "nan" not in draw(shown(of, found)).split("</style>")[1]


@given(steps, st.integers(1, 50))
def test_coarser_steps_keep_the_integral(fine: Steps, most: int) -> None:
    coarse = fine.coarser(most)
    assert len(coarse.values) <= most + 1
    before, after = (float(row.values @ np.diff(row.edges_s)) for row in (fine, coarse))
    assert after == pytest.approx(before, abs=1e-3)


@given(steps, st.floats(0, 1))
def test_the_lowest_stretches_are_no_longer_than_asked_and_lower_than_the_rest(fine: Steps, share: float) -> None:
    inside = np.zeros(len(fine.values), bool)
    for first_s, last_s in fine.lowest(share):
        inside |= (fine.edges_s[:-1] >= first_s) & (fine.edges_s[1:] <= last_s)
    assert inside.sum() <= share * len(inside) * (1 + 1e-9)
    if inside.any() and not inside.all():
        assert fine.values[inside].max() <= fine.values[~inside].min()


def test_gpus_in_use_follow_the_pieces() -> None:
    pieces = (((START_S, START_S + HOUR), (START_S + 2 * HOUR, START_S + 3 * HOUR)), ((START_S, START_S + HOUR),))
    used = gpu_steps(Schedule(pieces=pieces), (job(), job(gpus=2)), START_S, START_S + 4 * HOUR)
    assert used.values.tolist() == [3, 0, 1, 0]


def test_intensities_are_the_grid_s_own_between_any_instants() -> None:
    cut = intensity_steps(grid([10, 20, 30]), START_S + 1800, START_S + 2.5 * HOUR)
    assert cut.values.tolist() == [10, 20, 30]
    assert np.diff(cut.edges_s).tolist() == [1800, 3600, 1800]


@given(st.floats(1e-3, 1e7))
def test_marks_of_a_number_axis_reach_its_top_and_are_few(top: float) -> None:
    marks = axes.numbers(top)
    assert marks[0] == 0
    assert marks[-1] >= top * (1 - 1e-6)
    assert 2 <= len(marks) <= 7


@given(st.integers(0, 2 * 10**9), st.integers(60, 30 * 365 * axes.DAY_S))
def test_marks_of_a_time_axis_lie_inside_and_are_few(start_s: int, span_s: int) -> None:
    marks = [at_s for at_s, _ in axes.times(start_s, start_s + span_s)]
    assert marks == sorted(marks)
    assert len(marks) <= 12
    assert all(start_s <= at_s <= start_s + span_s for at_s in marks)


@pytest.mark.parametrize(
    ("hours", "texts"),
    [(2, ["Mar 2", "00:15", "00:30"]), (60, ["Mar 2", "06:00", "12:00"]), (24 * 200, ["Apr", "May", "Jun"])],
)
def test_times_read_as_clock_day_or_month(hours: float, texts: list[str]) -> None:
    assert [text for _, text in axes.times(START_S, START_S + timedelta(hours=hours).total_seconds())][:3] == texts


@pytest.mark.parametrize(
    ("missing", "said"),
    [(ImportError, "pip install 'greenrun[plot]'"), (OSError, "libcairo2")],
)
def test_a_png_without_its_library_says_what_to_install(
    missing: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise missing(name)

    monkeypatch.setattr("greenrun.simulation.page.import_module", absent)
    assert [said in problem.message for problem in plot_problems("a.png")] == [True]
    assert plot_problems("a.svg") == []


def test_a_png_is_drawn_where_its_library_is() -> None:
    pytest.importorskip("cairosvg", reason="greenrun[plot] is not installed", exc_type=(ImportError, OSError))
    assert png(shown()).startswith(b"\x89PNG\r\n")
    assert list(FORMS) == [".html", ".svg", ".png"]
