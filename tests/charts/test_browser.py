"""Charts for a browser draw steps and gaps as they are, load nothing, and take no name for a tag."""

import json
import re
import subprocess
import sys
from datetime import timedelta, timezone

import numpy as np
import pytest

from greenrun.charts import browser
from greenrun.charts.steps import StepCurve
from tests.charts.pages import Page
from tests.patience import HANGS_S

NAN = float("nan")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&"
BARS = [
    browser.Bar(label="03-01", parts=(2.0, 1.0), text="3 kWh"),
    browser.Bar(label=HOSTILE, parts=(None, None), text=HOSTILE),
    browser.Bar(label="03-03", parts=(-1.0, 4.0), text="4 kWh"),
]


def panel(*values: float, heading: str = "grid", limit: browser.ReferenceLine | None = None) -> browser.Panel:
    row = StepCurve(edges_s=np.arange(len(values) + 1) * 3600.0, values=np.array(values))
    layers = [browser.Layer(steps=row, colour=browser.GREY)]
    return browser.Panel(heading=heading, what=HOSTILE, unit="g/kWh", layers=layers, top=row.top, limit=limit)


def charts() -> list[browser.Chart]:
    """One of each kind, with hostile names wherever a name can be."""
    mark = browser.ReferenceLine(value=2.0, name=HOSTILE)
    return [
        browser.bars_over_days(BARS, id="days", title=HOSTILE, unit="kWh", parts=(HOSTILE, "by none")),
        browser.bars_by_group(BARS, id="groups", title=HOSTILE, unit="kg CO2e", reference=mark),
        browser.step_panels([panel(1, 2, heading=HOSTILE, limit=mark)], id="steps", description=HOSTILE,
                            shaded=[(0, 3600)], shade=HOSTILE),
    ]  # fmt: skip


def whole(drawn: list[browser.Chart]) -> str:
    table = browser.Table(caption=HOSTILE, heads=(HOSTILE, "b"), rows=[(HOSTILE, HOSTILE)], is_folded=True)
    return browser.page(title=HOSTILE, heading=HOSTILE, lines=[HOSTILE], charts=drawn, tables=[table], notes=[HOSTILE])


def test_intensity_is_drawn_as_steps_and_a_hole_as_a_gap() -> None:
    chart = browser.step_panels([panel(10, NAN, 30, 20)], id="a", description="")
    area, line = chart.figure.data
    assert line.line.shape == "hv"
    assert [at and at[11:16] for at in line.x] == ["00:00", "01:00", None, "02:00", "03:00", "04:00", None]
    assert line.y == (10, 10, None, 30, 20, 20, None)
    assert line.connectgaps is None
    assert area.y == (0, 10, 10, 0, None, 0, 30, 30, 20, 20, 0, None)


def test_a_step_tells_its_span_and_unit_when_pointed_at() -> None:
    line = browser.step_panels([panel(10)], id="a", description="").figure.data[1]
    assert line.customdata[0] == "1970-01-01 00:00 to 01:00"
    assert line.hovertemplate == "%{customdata}: %{y:.4~g} g/kWh<extra></extra>"


def test_axes_tell_units_and_whose_time_it_is() -> None:
    east = timezone(timedelta(hours=2))
    layout = browser.step_panels([panel(10), panel(5)], id="a", description="", zone=east).figure.layout
    assert (layout.yaxis.title.text, layout.yaxis2.title.text) == ("g/kWh", "g/kWh")
    assert layout.xaxis2.title.text == "time, UTC+02:00"
    assert tuple(layout.xaxis.range) == ("1970-01-01 02:00:00", "1970-01-01 03:00:00")
    assert layout.yaxis.range[0] == 0


def test_stretches_and_a_limit_are_told_once_and_drawn_in_each_panel() -> None:
    limit = browser.ReferenceLine(value=8, name="GPUs there are")
    panels = [panel(10, 20, limit=limit), panel(5, 6, limit=limit)]
    traces = browser.step_panels(panels, id="a", description="", shaded=[(0, 3600)], shade="clean").figure.data
    assert [trace.name for trace in traces if trace.showlegend] == ["clean", "GPUs there are"]
    assert [trace.y for trace in traces if trace.name == "GPUs there are"] == [(8, 8)] * 2
    assert sum(trace.fillcolor == browser.CLEAN for trace in traces) == 2


def test_bars_over_days_are_stacked_and_what_is_unknown_is_no_zero() -> None:
    held, free, unknown = charts()[0].figure.data
    assert (held.y, free.y) == ((2.0, None, 0.0), (1.0, None, 4.0))
    assert (unknown.x, unknown.text) == ((1,), "?")
    assert charts()[0].figure.layout.barmode == "stack"
    assert charts()[0].figure.layout.yaxis.title.text == "kWh"


def test_no_more_days_are_labelled_than_can_be_read() -> None:
    bars = [browser.Bar(label=f"{day}", parts=(1.0,), text="") for day in range(366)]
    axis = browser.bars_over_days(bars, id="a", title="", unit="", parts=("a",)).figure.layout.xaxis
    assert len(axis.tickvals) == len(axis.ticktext) <= 12


def test_bars_of_groups_are_in_their_order_with_their_words_and_no_label_is_long() -> None:
    figure = charts()[1].figure
    bars, unknown, mark = figure.data
    assert bars.x == (3.0, None, 4.0)
    assert (unknown.y, unknown.mode) == ((1,), "text")
    assert bars.text[0] == "3 kWh"
    assert mark.x == (2.0, 2.0)
    assert figure.layout.yaxis.range == (2.5, -0.5)
    assert len(figure.layout.yaxis.ticktext[1].replace("&lt;", "<").replace("&gt;", ">")) == 28
    assert figure.layout.xaxis.title.text == "kg CO2e"


def test_groups_of_one_name_stay_apart() -> None:
    twins = [browser.Bar(label="same", parts=(size,), text="") for size in (1.0, 2.0)]
    bars = browser.bars_by_group(twins, id="a", title="", unit="").figure.data[0]
    assert (bars.x, bars.y) == ((1.0, 2.0), (0, 1))


def test_a_page_asks_nothing_of_anybody() -> None:
    text = whole(charts())
    page = Page(text)
    assert page.asked == []
    assert not {"link", "iframe", "object", "embed", "img", "base", "form"} & set(page.tags)
    assert "default-src 'none'" in text
    assert "url(" not in text.replace(str(browser.page_script()), "")
    assert "cloud.plotly" not in text.replace(str(browser.page_script()), "")
    assert text.count('"showSendToCloud": false') == len(charts())


def test_a_page_holds_plotly_once_and_each_chart_with_words_for_those_who_do_not_see_it() -> None:
    page = Page(whole(charts()))
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1
    assert len(page.scripts) == 1 + len(charts())
    assert page.labels == [chart.description for chart in charts()]
    assert page.tags.count("noscript") == len(charts())


def test_no_name_becomes_a_tag_or_leaves_its_string() -> None:
    text = whole(charts()).replace(str(browser.page_script()), "")
    assert "alert(1)</script>" not in text
    assert "<img" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart.id)
def test_plotly_s_own_little_html_gets_no_tag_of_a_name_either(chart: browser.Chart) -> None:
    told = json.dumps(json.loads(chart.figure.to_json()), ensure_ascii=False)
    assert set(re.findall(r"</?(\w+)", told)) <= {"b", "extra"}
    assert "&lt;img src=x" in told


def test_plotly_is_loaded_when_something_is_drawn_and_not_before() -> None:
    code = (
        "import sys, greenrun.charts.browser, greenrun.charts.terminal, greenrun.simulation.page\n"
        "print([name for name in ('plotly', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_S)
    assert done.stdout == "[]\n"


def test_the_terminal_s_charts_need_the_standard_library_alone() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport greenrun.charts.terminal\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_S)
    assert done.stdout == "['greenrun']\n"
