"""Small charts as inline SVG: bars over days, and bars by group; every text in them is escaped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 860, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 852, 26, 200
_ROW, _BAR_LEFT, _BAR_RIGHT = 26, 190, 700
_LABEL_LENGTH = 28
_MOST_LABELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its label, its parts from the axis outwards, and what is said of it; None where nothing is known."""

    label: str
    parts: tuple[float | None, ...]
    told: str

    @property
    def size(self) -> float:
        """The sum of what is known, negatives as nothing."""
        return sum(max(part or 0.0, 0.0) for part in self.parts)


def over_days(bars: Sequence[Bar], unit: str, title: str) -> str:
    """Return bars side by side under a scale in `unit`, their parts stacked."""
    top = nice(max((bar.size for bar in bars), default=0.0))
    body = [*_scale(top, unit), *_columns(bars, top)]
    return _svg(HEIGHT, title, [bar.told for bar in bars], body)


def by_group(bars: Sequence[Bar], title: str) -> str:
    """Return bars below one another, each with its label before and what is said of it behind."""
    top = max((bar.size for bar in bars), default=0.0) or 1.0
    body = [line for index, bar in enumerate(bars) for line in _row(bar, index, top)]
    return _svg(_ROW * len(bars) + 8, title, [f"{bar.label}: {bar.told}" for bar in bars], body)


def nice(value: float) -> float:
    """Return a round number that is not smaller; 1 for nothing."""
    if value <= 0:
        return 1.0
    size = 10.0 ** floor(log10(value))
    return next(step * size for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if step * size >= value * (1 - 1e-9))


def _scale(top: float, unit: str) -> Iterator[str]:
    for index in range(5):
        value, y = top * index / 4, _BOTTOM - (_BOTTOM - _TOP) * index / 4
        yield f'<line class="{"axis" if not index else "rule"}" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    yield f'<text x="{_LEFT - 8}" y="{_TOP - 12}" text-anchor="end">{escape(unit)}</text>'


def _columns(bars: Sequence[Bar], top: float) -> Iterator[str]:
    step = (_RIGHT - _LEFT) / max(len(bars), 1)
    width, every = min(step * 0.72, 40), ceil(len(bars) / _MOST_LABELS)
    for index, bar in enumerate(bars):
        middle, y = _LEFT + step * (index + 0.5), float(_BOTTOM)
        yield f"<g><title>{escape(bar.told)}</title>"
        for number, part in enumerate(bar.parts):
            height = max(part or 0.0, 0.0) / top * (_BOTTOM - _TOP)
            y -= height
            size = f'x="{middle - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            yield f'<rect class="p{number}" {size}/>'
        if any(part is None for part in bar.parts):
            yield f'<text class="none" x="{middle:.1f}" y="{_BOTTOM - 4}" text-anchor="middle">?</text>'
        yield "</g>"
        if index % every == 0:
            yield f'<text x="{middle:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{escape(bar.label)}</text>'


def _row(bar: Bar, index: int, top: float) -> Iterator[str]:
    y, width = 4 + index * _ROW, bar.size / top * (_BAR_RIGHT - _BAR_LEFT)
    label = bar.label if len(bar.label) <= _LABEL_LENGTH else f"{bar.label[: _LABEL_LENGTH - 1]}…"
    yield f'<text x="{_BAR_LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
    yield f'<rect class="p0" x="{_BAR_LEFT}" y="{y + 4}" width="{max(width, 1):.1f}" height="{_ROW - 9}" rx="2"/>'
    yield f'<text x="{_BAR_LEFT + width + 8:.1f}" y="{y + 16}">{escape(bar.told)}</text>'


def _svg(height: int, title: str, told: Sequence[str], body: Sequence[str]) -> str:
    """Return the picture; who hears the page is told its title and every bar."""
    said = escape(f"{title}. {'; '.join(told)}")
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}">'
    return "\n".join(['<div class="wide" role="presentation">', head, *body, "</svg></div>"])
