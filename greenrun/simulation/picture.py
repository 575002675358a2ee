"""A comparison as one picture in SVG: the grid, the GPUs in use under each policy, and what the policies emitted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from greenrun.simulation.axes import HOUR_S, instant_text, numbers, times
from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison
from greenrun.simulation.curves import Steps, Stretch, gpu_steps, intensity_steps
from greenrun.simulation.rules import GREENRUN

WIDTH = 960
_LEFT, _RIGHT = 64, 936  # of the panels
_MOST_STEPS = 600  # in one curve: more are too narrow to be seen
_CLEAN = 1 / 3  # the share of the time whose hours are marked as the cleanest
_TOP = 118  # of the first panel
_GRID_HEIGHT, _GPU_HEIGHT, _ROW_HEIGHT = 120, 84, 28
_BARS_LEFT, _BARS_RIGHT = 170, 650

STYLE = """
.gr-back { fill: #ffffff } .gr-ink { fill: #1f2328 } .gr-muted { fill: #59636e } .gr-clean { fill: #d3f0da }
.gr-rule { stroke: #d1d9e0; stroke-width: 1; fill: none } .gr-axis { stroke: #818b98; stroke-width: 1; fill: none }
.gr-grid { fill: #818b98; fill-opacity: 0.22 } .gr-line { stroke: #59636e; stroke-width: 1.5; fill: none }
.gr-own { fill: #1a7f37 } .gr-peer { fill: #4a6fa5 }
.gr-limit { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none }
.gr-bound { stroke: #1f2328; stroke-width: 2; fill: none }
@media (prefers-color-scheme: dark) {
.gr-back { fill: #0d1117 } .gr-ink { fill: #e6edf3 } .gr-muted { fill: #9da7b3 } .gr-clean { fill: #12361f }
.gr-rule { stroke: #2d343d } .gr-axis { stroke: #6e7681 } .gr-line { stroke: #b1bac4 }
.gr-own { fill: #3fb950 } .gr-peer { fill: #6c9be0 } .gr-limit { stroke: #ff7b72 } .gr-bound { stroke: #ffffff }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A policy as people read it: what it does, and each of its figures as text by the name of its column."""

    name: str
    what: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is drawn: a comparison with its texts. `bound` says what no schedule can pass, "" when that is unknown."""

    case: Case
    found: Comparison
    rows: Sequence[Row]
    bound: str

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
    def summary(self) -> str:
        """Everything the picture says, in sentences: for those who do not see it."""
        start, end = map(instant_text, self.span_s)
        told = [f"{row.name}: {row.cells['CO2e']} CO2e, saving {row.cells['saving']}, {row.cells['late']} late"
                for row in self.rows]  # fmt: skip
        return ". ".join([f"{self.title}, {start} to {end} UTC", *told, *([self.bound] if self.bound else [])]) + "."


def draw(shown: Shown) -> str:
    """Return the picture as an SVG document, without references to anything outside it; under 1 MB for any case."""
    parts = [part.strip() for part in _body(shown)]
    height = _height(shown)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-labelledby="gr-title gr-desc" font-family="system-ui, sans-serif" font-size="12">',
        f'<title id="gr-title">greenrun simulate: {escape(shown.title)}</title>',
        f'<desc id="gr-desc">{escape(shown.summary)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="gr-back" width="{WIDTH}" height="{height}"/>',
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip


def _height(shown: Shown) -> int:
    return _TOP + _GRID_HEIGHT + len(shown.rows) * (_GPU_HEIGHT + 34) + 70 + len(shown.rows) * _ROW_HEIGHT + 44


def _body(shown: Shown) -> Iterator[str]:
    start_s, end_s = shown.span_s
    grid = intensity_steps(shown.case.measured, start_s, end_s).coarser(_MOST_STEPS)
    used = {
        name: gpu_steps(schedule, shown.case.jobs, start_s, end_s).coarser(_MOST_STEPS)
        for name, schedule in shown.found.schedules.items()
    }
    clean = list(grid.lowest(_CLEAN))
    yield _text(24, 36, shown.title, size=20, bold=True)
    yield _text(24, 58, f"{instant_text(start_s)} to {instant_text(end_s)} UTC", css="gr-muted")
    yield from _legend(shown)
    panel = _Panel(top=_TOP, height=_GRID_HEIGHT, span_s=(start_s, end_s), marks=numbers(grid.top))
    yield _heading(_LEFT, panel.top - 9, "Carbon intensity", _means([grid, *used.values()]))
    yield panel.unit("g CO2e/kWh")
    yield from (panel.stretches(clean), panel.scale(), panel.area(grid, "gr-grid"), panel.line(grid, "gr-line"))
    most = max([curve.top for curve in used.values()] + [shown.case.gpus or 0])
    for row in shown.rows:
        panel = _Panel(top=panel.bottom + 34, height=_GPU_HEIGHT, span_s=(start_s, end_s),
                       marks=numbers(most, least_step=1.0))  # fmt: skip
        yield from _policy(row, used[row.name], panel, clean, shown.case.gpus)
    yield panel.clock()
    yield from _bars(shown, panel.bottom + 70)


def _policy(row: Row, used: Steps, panel: "_Panel", clean: Sequence[Stretch], gpus: int | None) -> Iterator[str]:
    yield _heading(_LEFT, panel.top - 9, row.name, row.what)
    yield _text(_RIGHT, panel.top - 9, f"mean delay {row.cells['mean delay']}", css="gr-muted", anchor="end")
    yield panel.unit("GPUs in use")
    yield from (panel.stretches(clean), panel.scale(), panel.area(used, _colour(row.name)))
    if gpus is not None:
        yield f'<path class="gr-limit" d="M{_LEFT} {panel.y(gpus):.1f}H{_RIGHT}"/>'


def _legend(shown: Shown) -> Iterator[str]:
    yield '<rect class="gr-clean" x="24" y="68" width="16" height="11"/>'
    yield _text(46, 78, "the cleanest third of this time", css="gr-muted")
    if shown.case.gpus is not None:
        yield '<path class="gr-limit" d="M244 74H268"/>'
        yield _text(274, 78, "GPUs there are", css="gr-muted")


def _bars(shown: Shown, top: float) -> Iterator[str]:
    """Emissions of the policies as bars from 0, with the bound that none can pass."""
    yield _heading(24, top, "Emissions", "CO2e; savings are against starting each job as soon as GPUs are free")
    most = max(figures.emissions_g or 0.0 for figures in shown.found.figures.values())
    scale = (_BARS_RIGHT - _BARS_LEFT) / (most or 1.0)
    for index, row in enumerate(shown.rows):
        y = top + 14 + index * _ROW_HEIGHT
        width = scale * (shown.found.figures[row.name].emissions_g or 0.0)
        told = f"{row.cells['CO2e']}, saving {row.cells['saving']}, {row.cells['late']} late"
        yield _text(_BARS_LEFT - 10, y + 14, row.name, anchor="end")
        yield f'<rect class="{_colour(row.name)}" x="{_BARS_LEFT}" y="{y:.1f}" width="{width:.1f}" height="18" rx="2"/>'
        yield _text(_BARS_LEFT + width + 10, y + 14, told)
    bottom = top + 14 + len(shown.rows) * _ROW_HEIGHT
    if shown.found.bound_g is not None and shown.found.bound_g <= most:  # above, no schedule here keeps every limit
        x = _BARS_LEFT + scale * shown.found.bound_g
        yield f'<path class="gr-bound" d="M{x:.1f} {top + 8:.1f}V{bottom:.1f}"/>'
        yield f'<path class="gr-bound" d="M{_BARS_LEFT + 20} {bottom + 5:.1f}v12"/>'
    yield _text(_BARS_LEFT + 32, bottom + 15, shown.bound, css="gr-muted")


def _heading(x: float, y: float, name: str, what: str) -> str:
    # One text element, so that what follows the name begins where the name ends in whatever font there is.
    return (
        f'<text class="gr-ink" x="{x:.1f}" y="{y:.1f}" font-size="13" font-weight="600">{escape(name)}'
        f'<tspan class="gr-muted" dx="10" font-size="12" font-weight="400">{escape(what)}</tspan></text>'
    )


def _text(x: float, y: float, text: str, *, css: str = "gr-ink", anchor: str = "start", size: int = 12,
          bold: bool = False) -> str:  # fmt: skip
    weight = ' font-weight="600"' if bold else ""
    where = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}"'
    return f'<text class="{css}" {where} text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _colour(policy: str) -> str:
    return "gr-own" if policy == GREENRUN else "gr-peer"


def _means(curves: Iterable[Steps]) -> str:
    step_s = next((curve.step_s for curve in curves if curve.step_s), None)
    if step_s is None:
        return ""
    length, unit = (step_s / 60, "min") if step_s < HOUR_S else (step_s / HOUR_S, "h")
    return f"curves with more steps than can be seen are drawn as means of {length:g} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """A rectangle in which time runs to the right and a number from 0 upwards."""

    top: float
    height: float
    span_s: Stretch
    marks: Sequence[float]

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, at_s: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (at_s - self.span_s[0]) / (self.span_s[1] - self.span_s[0])

    def y(self, value: float) -> float:
        return self.bottom - self.height * value / self.marks[-1]

    def scale(self) -> str:
        lines = [f"M{_LEFT} {self.y(mark):.1f}H{_RIGHT}" for mark in self.marks[1:]]
        lines += [f"M{self.x(at_s):.1f} {self.top:.1f}V{self.bottom:.1f}" for at_s, _ in times(*self.span_s)]
        texts = [
            _text(_LEFT - 8, self.y(mark) + 4, f"{mark:g}", css="gr-muted", anchor="end", size=11)
            for mark in self.marks
        ]
        axis = f'<path class="gr-axis" d="M{_LEFT} {self.bottom:.1f}H{_RIGHT}"/>'
        return "\n".join([f'<path class="gr-rule" d="{"".join(lines)}"/>', *texts, axis])

    def unit(self, text: str) -> str:
        """What the numbers count, upright at the left."""
        x, y = 18, self.top + self.height / 2
        where = f'x="{x}" y="{y:.1f}" transform="rotate(-90 {x} {y:.1f})"'
        return f'<text class="gr-muted" {where} font-size="11" text-anchor="middle">{escape(text)}</text>'

    def clock(self) -> str:
        """The times under the last panel."""
        marks = [(self.x(at_s), text) for at_s, text in times(*self.span_s)]
        texts = [_text(x, self.bottom + 17, text, css="gr-muted", anchor="middle", size=11) for x, text in marks]
        return "\n".join([*texts, _text(_RIGHT, self.bottom + 34, "UTC", css="gr-muted", anchor="end", size=11)])

    def stretches(self, clean: Iterable[Stretch]) -> str:
        boxes = [
            f"M{self.x(first_s):.1f} {self.top:.1f}V{self.bottom:.1f}H{self.x(last_s):.1f}V{self.top:.1f}z"
            for first_s, last_s in clean
        ]
        return f'<path class="gr-clean" d="{"".join(boxes)}"/>'

    def area(self, steps: Steps, css: str) -> str:
        outlines = [
            f"M{self.x(edges_s[0]):.1f} {self.bottom:.1f}{path}V{self.bottom:.1f}z"
            for edges_s, path in self._paths(steps, "V")
        ]
        return f'<path class="{css}" d="{"".join(outlines)}"/>'

    def line(self, steps: Steps, css: str) -> str:
        lines = [path for _, path in self._paths(steps, "M")]
        return f'<path class="{css}" d="{"".join(lines)}"/>'

    def _paths(self, steps: Steps, first: str) -> Iterator[tuple[Sequence[float], str]]:
        """Each part without a hole: its edges, and its steps as the path's commands."""
        known = np.isfinite(steps.values)
        for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known.astype(int))) + 1):
            if not known[part[0]]:
                continue
            edges_s = steps.edges_s[part[0] : part[-1] + 2].tolist()
            heights = [self.y(value) for value in steps.values[part].tolist()]
            begin = f"M{self.x(edges_s[0]):.1f} {heights[0]:.1f}" if first == "M" else f"V{heights[0]:.1f}"
            moves = [
                f"H{self.x(at_s):.1f}" + (f"V{heights[index]:.1f}" if index < len(heights) else "")
                for index, at_s in enumerate(edges_s[1:], start=1)
            ]
            yield edges_s, begin + "".join(moves)
