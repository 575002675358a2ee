"""Charts for a browser, drawn with Plotly, and self-contained pages that hold them.

Plotly and Jinja2 are imported when something is drawn, so that a daemon or a command that draws nothing does not
pay for them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from html import escape
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from greenrun.charts.steps import Part, StepCurve, Stretch

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure

# Each colour has a contrast of 3 or more with the pages' white and with their dark background.
GREEN, GREY, BLUE, RED, AMBER = "#1a7f37", "#7d8894", "#4a6fa5", "#cf222e", "#9a6700"
CLEAN = "rgba(46, 160, 67, 0.18)"

_INK = "#59636e"  # of texts in a picture that is saved; on a page the page's style sets it
_RULE = "rgba(129, 139, 152, 0.35)"
_CONFIG = {
    "responsive": True, "displaylogo": False,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    "showSendToCloud": False,  # by default a button offers to send the figures to Plotly's server
}  # fmt: skip
_GAP = 56  # pixels between panels, for their headings
_LABEL_LENGTH = 28
_MOST_LABELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure with an id that is unique on its page; `description` says what it shows in words, for screen readers."""

    id: str
    description: str
    figure: "Figure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its label, its parts from the axis outwards (None where unknown), its figures as text, its colour."""

    label: str
    parts: tuple[float | None, ...]
    text: str
    colour: str = GREEN

    @property
    def size(self) -> float:
        """The sum of what is known, negatives as nothing."""
        return sum(max(part or 0.0, 0.0) for part in self.parts)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing of it is known."""
        return all(part is None for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLine:
    """A value that is drawn as a line across a chart, and what it is."""

    value: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A step function as it is drawn: a line with the area below it. `name` is shown in the legend, unless empty."""

    steps: StepCurve
    colour: str
    name: str = ""
    opacity: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Step functions over one axis from 0 to `top` in `unit`, under a heading; `limit` is a dashed line."""

    heading: str
    what: str
    unit: str
    layers: Sequence[Layer]
    top: float
    limit: ReferenceLine | None = None
    height: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts under a caption; the first cell of a row is its head. A folded table opens at a click."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledLine:
    """A value for each bar of a chart, None where it is not known, drawn as a line over a scale of its own."""

    name: str
    values: Sequence[float | None]
    colour: str


def bars_over_days(
    bars: Sequence[Bar], *, id: str, title: str, unit: str, parts: Sequence[str],
    lines: Sequence[ScaledLine] = (), line_unit: str = "",
) -> Chart:  # fmt: skip
    """Return bars side by side over a scale in `unit`, their parts stacked and named; `?` where one is not known.

    `lines` are over a second scale, on the right, in `line_unit`.
    """
    go = _plotly()
    figure, places = go.Figure(), list(range(len(bars)))
    for index, (name, colour) in enumerate(zip(parts, (GREEN, GREY), strict=False)):
        sizes = [None if bar.parts[index] is None else max(bar.parts[index] or 0.0, 0.0) for bar in bars]
        figure.add_bar(x=places, y=sizes, name=_plain(name), marker_color=colour,
                       hovertext=[_plain(bar.text) for bar in bars], hoverinfo="text")  # fmt: skip
    unknown = [place for place, bar in zip(places, bars, strict=True) if None in bar.parts]
    if unknown:
        figure.add_scatter(x=unknown, y=[0.0] * len(unknown), mode="text", text="?", textposition="top center",
                           hovertext=[_plain(bars[place].text) for place in unknown], hoverinfo="text",
                           showlegend=False)  # fmt: skip
    for line in lines:
        figure.add_scatter(x=places, y=list(line.values), mode="lines+markers", name=_plain(line.name), yaxis="y2",
                           line={"color": line.colour, "width": 2}, marker={"size": 5}, hovertemplate=
                           f"{_plain(line.name)}: %{{y:.4~g}} {_plain(line_unit)}<extra></extra>")  # fmt: skip
    every = max(1, ceil(len(bars) / _MOST_LABELS))
    labels = [_plain(bar.label) for bar in bars]
    figure.update_layout(_layout(250), barmode="stack", bargap=0.28)
    figure.update_xaxes(tickvals=places[::every], ticktext=labels[::every], range=[-0.6, len(bars) - 0.4])
    figure.update_yaxes(title_text=_plain(unit), rangemode="tozero", gridcolor=_RULE, zerolinecolor=_RULE)
    if lines:
        figure.update_layout(yaxis2={
            "title": {"text": _plain(line_unit)}, "overlaying": "y", "side": "right", "rangemode": "tozero",
            "showgrid": False, "tickmode": "auto", "nticks": 5,
        }, margin={"r": 56})  # fmt: skip
        figure.update_traces(opacity=0.45, selector={"type": "bar"})
    return Chart(id=id, description=_described(title, [bar.text for bar in bars]), figure=figure)


def bars_by_group(
    bars: Sequence[Bar], *, id: str, title: str, unit: str, reference: ReferenceLine | None = None
) -> Chart:
    """Return horizontal bars over a scale in `unit`, each with its label in front and its figures as text behind.

    The reference line goes through all of them.
    """
    figure, places = _plotly().Figure(), list(range(len(bars)))
    figure.add_bar(
        y=places, x=[None if bar.is_unknown else bar.size for bar in bars], orientation="h",
        marker_color=[bar.colour for bar in bars], text=[_plain(bar.text) for bar in bars], textposition="outside",
        cliponaxis=False, hovertext=[_plain(f"{bar.label}: {bar.text}") for bar in bars], hoverinfo="text",
        showlegend=False,
    )  # fmt: skip
    if unknown := [place for place, bar in zip(places, bars, strict=True) if bar.is_unknown]:
        figure.add_scatter(
            x=[0.0] * len(unknown), y=unknown, mode="text", text=[_plain(bars[place].text) for place in unknown],
            textposition="middle right", hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    if reference is not None:
        figure.add_scatter(
            x=[reference.value] * 2, y=[-0.5, len(bars) - 0.5], mode="lines", line={"color": AMBER, "width": 2},
            name=_plain(reference.name), hoverinfo="name", showlegend=True,
        )  # fmt: skip
    figure.update_layout(_layout(28 * len(bars) + (110 if reference else 80)), bargap=0.35)
    figure.update_layout(margin={"r": 230, "l": 10})
    figure.update_xaxes(title_text=_plain(unit), rangemode="tozero", gridcolor=_RULE, zerolinecolor=_RULE)
    figure.update_yaxes(tickvals=places, ticktext=[_plain(_short(bar.label)) for bar in bars],
                        range=[len(bars) - 0.5, -0.5])  # fmt: skip
    return Chart(id=id, description=_described(title, [f"{bar.label}: {bar.text}" for bar in bars]), figure=figure)


def step_panels(
    panels: Sequence[Panel],
    *,
    id: str,
    description: str,
    shaded: Sequence[Stretch] = (),
    shade: str = "",
    zone: tzinfo = UTC,
) -> Chart:
    """Return panels below one another over one time axis, labelled in `zone`, which has a fixed offset.

    `shaded` stretches lie behind each panel; `shade` says what they are. Values are means of their steps: they are
    drawn as steps, and a hole is a gap.
    """
    from plotly.subplots import make_subplots

    heights = [panel.height for panel in panels]
    total = sum(heights) + _GAP * (len(panels) - 1)
    spacing = _GAP / total if len(panels) > 1 else 0.0
    figure = make_subplots(rows=len(panels), shared_xaxes=True, row_heights=heights, vertical_spacing=spacing)
    for row, panel in enumerate(panels, start=1):
        for trace in _panel_traces(panel, shaded, shade, zone):
            figure.add_trace(trace, row=row, col=1)
        figure.add_annotation(
            text=f"<b>{_plain(panel.heading)}</b>  {_plain(panel.what)}", showarrow=False,
            x=0, y=1, xref="x domain", yref="y domain", xanchor="left", yanchor="bottom", row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=_plain(panel.unit), range=[0, _room(panel)], row=row, col=1)
    for name in {trace.legendgroup for trace in figure.data} - {None}:  # a name is in the legend once, for all panels
        for trace in list(figure.select_traces({"legendgroup": name}))[1:]:
            trace.showlegend = False
    figure.update_layout(_layout(total + 120), margin={"t": 64, "b": 56})
    span = _instants(_span_s(panels[0]), zone)
    figure.update_xaxes(type="date", gridcolor=_RULE, zerolinecolor=_RULE, showgrid=True, range=span)
    figure.update_xaxes(title_text=f"time, {datetime.fromtimestamp(0, zone).tzname()}", row=len(panels), col=1)
    figure.update_yaxes(gridcolor=_RULE, zerolinecolor=_RULE, nticks=5)
    return Chart(id=id, description=description, figure=figure)


def page_script() -> "Markup":
    """Return the script element that a page needs once, before its first chart: Plotly's own, from its package."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(f"<script>{get_plotlyjs()}</script>")  # the library's own code, none of it anybody's data


def page_style() -> "Markup":
    """Return the rules that a page's style needs, so that charts follow its colours."""
    return _render("chart.css")


def fragment(chart: Chart) -> "Markup":
    """Return a chart as HTML, for a page that has `page_script` before it and `page_style` in its style."""
    from markupsafe import Markup
    from plotly.io import to_html

    drawn = to_html(chart.figure, config=_CONFIG, include_plotlyjs=False, full_html=False, div_id=chart.id,
                    default_width="100%", default_height=f"{chart.figure.layout.height}px")  # fmt: skip
    return _render("chart.html", chart=chart, drawn=Markup(drawn))  # Plotly writes JSON in which < is \u003c


def page(
    *, title: str, heading: str, lines: Sequence[str], charts: Sequence[Chart], tables: Sequence[Table],
    notes: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return one HTML page with charts and tables, whose content security policy lets it load nothing."""
    return str(_render(
        "page.html", title=title, heading=heading, lines=lines, charts=[fragment(chart) for chart in charts],
        tables=tables, notes=notes, script=page_script(), style=page_style(),
    ))  # fmt: skip


def _plotly() -> Any:
    import plotly.graph_objects

    return plotly.graph_objects


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(loader=PackageLoader("greenrun.charts"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)  # fmt: skip


def _render(template: str, **values: Any) -> "Markup":
    from markupsafe import Markup

    return Markup(_templates().get_template(template).render(**values))  # autoescaped


def _layout(height: int) -> Mapping[str, Any]:
    return {
        "height": height, "template": {}, "autosize": True, "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": _INK},
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": "#1f2328"}, "align": "left"},
        "legend": {
            "orientation": "h", "traceorder": "normal", "x": 0, "xanchor": "left", "y": 1, "yanchor": "top",
            "yref": "container",
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _INK, "activecolor": GREEN},
        "margin": {"l": 64, "r": 16, "t": 36, "b": 50},
    }  # fmt: skip


def _panel_traces(panel: Panel, shaded: Sequence[Stretch], shade: str, zone: tzinfo) -> Iterator[Any]:
    go = _plotly()
    still = {"hoverinfo": "skip", "mode": "lines", "showlegend": False}
    if shaded:
        boxes = [(stretch, [_room(panel)]) for stretch in shaded]
        yield go.Scatter(_polygons(boxes, zone), **still, fill="toself", line_width=0, fillcolor=CLEAN)
        yield go.Scatter(  # its key: of the area itself the legend would show a line without a width
            x=[None], y=[None], mode="markers", marker={"symbol": "square", "size": 12, "color": CLEAN},
            name=_plain(shade), legendgroup=_plain(shade), showlegend=True,
        )  # fmt: skip
    for layer in panel.layers:
        parts, name = list(layer.steps.parts()), _plain(layer.name or panel.heading)
        area = {"fill": "toself", "line_width": 0, "fillcolor": layer.colour, "opacity": layer.opacity}
        yield go.Scatter(_polygons(parts, zone), **still, **area)
        yield go.Scatter(
            _line(parts, zone), mode="lines", line={"shape": "hv", "width": 1.5, "color": layer.colour},
            name=name, legendgroup=name, showlegend=bool(layer.name),
            hovertemplate=f"%{{customdata}}: %{{y:.4~g}} {_plain(panel.unit)}<extra></extra>",
        )  # fmt: skip
    if panel.limit is not None:
        name = _plain(panel.limit.name)
        yield go.Scatter(
            x=_instants(_span_s(panel), zone), y=[panel.limit.value] * 2, mode="lines", hoverinfo="skip",
            line={"color": RED, "width": 1.5, "dash": "dash"}, name=name, legendgroup=name, showlegend=True,
        )  # fmt: skip


def _room(panel: Panel) -> float:
    """Return where the axis of a panel ends, a little above its top."""
    return 1.08 * (panel.top or 1.0)


def _span_s(panel: Panel) -> Stretch:
    edges_s = panel.layers[0].steps.edges_s
    return float(edges_s[0]), float(edges_s[-1])


def _polygons(parts: Iterable[Part], zone: tzinfo) -> Mapping[str, Any]:
    """Return outlines of areas from 0 up to steps, one for each part."""
    xs: list[str | None] = []
    ys: list[float | None] = []
    for edges_s, values in parts:
        corners = _instants([at_s for at_s in edges_s for _ in range(2)], zone)
        xs += [*corners, None]
        ys += [0.0, *(value for value in values for _ in range(2)), 0.0, None]
    return {"x": xs, "y": ys}


def _line(parts: Iterable[Part], zone: tzinfo) -> Mapping[str, Any]:
    """Return the points of a line that keeps each value until the next; between parts it breaks off."""
    xs: list[str | None] = []
    ys: list[float | None] = []
    labels: list[str | None] = []
    for edges_s, values in parts:
        instants = _instants(edges_s, zone)
        spans = [f"{start[:16]} to {end[11:16]}" for start, end in pairwise(instants)]
        xs += [*instants, None]
        ys += [*values, values[-1], None]
        labels += [*spans, spans[-1], None]
    return {"x": xs, "y": ys, "customdata": labels}


def _instants(moments_s: Iterable[float], zone: tzinfo) -> list[str]:
    """Return instants as Plotly takes them: the clock of the zone, without its offset."""
    return [f"{datetime.fromtimestamp(at_s, zone):%Y-%m-%d %H:%M:%S}" for at_s in moments_s]


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"


def _described(title: str, texts: Sequence[str]) -> str:
    return f"{title}. {'; '.join(texts)}"


def _plain(text: str) -> str:
    """Return a text in which Plotly, whose texts are a small HTML, finds no tags: names are anybody's."""
    return escape(text, quote=False)
