"""A forecast's page tells forecast from estimate and time by the local clock, and leaves blank what is not known."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from greenrun.charts import forecast
from greenrun.charts.terminal import Step, cleanest
from tests.charts.pages import Page

T0 = datetime(2026, 10, 24, 22, tzinfo=UTC)  # two hours before clocks go back in Berlin
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def steps(*values: float | None) -> list[Step]:
    return [Step(T0 + at * HOUR, T0 + (at + 1) * HOUR, value) for at, value in enumerate(values) if value is not None]


def test_an_estimate_is_a_layer_of_its_own_and_a_hole_is_blank() -> None:
    drawn = forecast.chart(
        steps(30, 10, None, 20, 40), [False, False, True, True], title="GB", window=None, marked="", zone=UTC
    )
    lines = [trace for trace in drawn.figure.data if trace.line.shape == "hv"]
    assert [(line.name, line.y) for line in lines] == [
        ("forecast", (30, 10, 10, None)),
        ("estimated, for nobody forecasts it", (20, 40, 40, None)),
    ]
    assert [at[11:16] for at in lines[1].x if at] == ["01:00", "02:00", "03:00"]


def test_no_hour_comes_twice_on_the_axis_when_clocks_change() -> None:
    drawn = forecast.chart(steps(*range(8)), [False] * 8, title="DE", window=None, marked="", zone=BERLIN)
    instants = [at for at in drawn.figure.data[1].x if at]
    assert len(set(instants)) == len(instants) == 9
    assert instants[0] == "2026-10-25 00:00:00"
    assert drawn.figure.layout.xaxis.title.text == "time, UTC+02:00"


def test_the_page_marks_the_cleanest_hours_and_has_each_step_in_a_table() -> None:
    rows = steps(9, 9, 9, 9, 1, 1, 1, 1, 9, 9)
    text = forecast.page(
        rows, [False] * 10, title="greenrun forecast: <DE>", lines=["DE: forecast by <b>uk</b>"],
        window=cleanest(rows), marked="the cleanest 4 hours", zone=BERLIN,
    )  # fmt: skip
    assert '<th scope="row">Sun 2026-10-25 02:00 CEST</th><td>9</td><td>forecast</td>' in text
    assert '<th scope="row">Sun 2026-10-25 02:00 CET</th><td>9</td><td>forecast</td>' in text
    assert text.count('<th scope="row">') == 10
    assert "forecast by &lt;b&gt;uk" in text
    assert Page(text).labels == ["greenrun forecast: <DE>: 1 to 9 g CO2e/kWh. the cleanest 4 hours"]
    assert Page(text).asked == []


def test_without_a_forecast_the_page_says_why() -> None:
    text = forecast.page([], [], title="a", lines=["there is no forecast"], window=None, marked="", zone=UTC)
    assert "<p>there is no forecast</p>" in text
    assert Page(text).labels == []
