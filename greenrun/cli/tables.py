"""Print tables: on a terminal as wide as that is, the least important columns left out; in a pipe all of them.

States and times are never cut: texts that may be are shortened with an ellipsis, or wrapped.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from greenrun.cli.terminal.encoding import encodable
from greenrun.cli.terminal.width import cell_width, padded, shortened, wrapped

GREEN, RED, YELLOW, BOLD, DIM, REVERSE = "32", "31", "33", "1", "2", "7"  # of ECMA-48's SGR
_STYLES = {
    "running": GREEN, "starting": GREEN, "failed": RED, "cancelled": YELLOW, "expired": YELLOW, "held": YELLOW,
    "suspended": YELLOW,
}  # fmt: skip
KEPT = 2  # the highest rank of columns that are squeezed before they are left out
_GAP = "  "
_LEAST_WRAPPED = 24  # columns; a text that would have fewer goes below its row
_INDENT = "    "


class Column(NamedTuple):
    """A column: the higher its rank the sooner it is left out, and 0 never is.

    Its cells may be shortened to `least` columns, or wrapped, where that is said; else they are always whole. Where
    nothing but columns of ranks up to KEPT is left, they are shortened to `squeezed` before one of those goes.
    """

    name: str
    right: bool = False
    rank: int = 0
    least: int | None = None
    squeezed: int | None = None
    wraps: bool = False


class Layout(NamedTuple):
    """Which columns are shown, by index, and how wide each is."""

    widths: dict[int, int]
    below: tuple[int, ...] = ()  # texts for which there is no room beside the others

    def shows(self, index: int) -> bool:
        """Whether this column is shown."""
        return index in self.widths or index in self.below


def print_table(
    columns: Sequence[str | Column], rows: Sequence[Sequence[str]], right: Sequence[str] = (), width: int | None = None
) -> None:
    """Print rows under their columns; those named in `right` are right-aligned. On a terminal it fits its width."""
    for line in table_lines(columns, rows, right, output_width() if width is None else width, styled=has_styles()):
        print(line)


def table_lines(
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    width: int | None = None,
    *,
    styled: bool = False,
) -> list[str]:
    """Return the table as lines of at most `width` columns (None: as wide as it is), without trailing blanks."""
    described = [column if isinstance(column, Column) else Column(column, column in right) for column in columns]
    cells = [[encodable(cell) for cell in row] for row in rows]
    layout = fitted(described, cells, width)
    head = [column.name.upper() for column in described]
    lines = list(_row_lines(described, head, layout, styled=False))
    if styled:
        lines = [style(line, BOLD) for line in lines]
    for row in cells:
        lines += _row_lines(described, row, layout, styled=styled)
        for index in layout.below:
            lines += wrapped(_INDENT + row[index], width or 0, _INDENT) if row[index] else ()
    return lines


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Return the table as text: upper-case heads, columns two spaces apart, no trailing blanks."""
    return table_lines(columns, rows, right)


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> Layout:
    """Return the columns that fit into this width: the least important are left out first, texts shortened before."""
    wanted = {
        index: max([cell_width(column.name), *(cell_width(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    }
    if width is None:
        return Layout(wanted)
    shown = [index for index in wanted if not columns[index].rank or any(row[index] for row in rows)]
    below: list[int] = []
    leasts = {index: _least(columns[index], wanted[index]) for index in wanted}
    while _total(leasts, shown) > width:
        droppable = [index for index in shown if columns[index].rank]
        last = max(droppable, key=lambda index: (columns[index].rank, index), default=None)
        if last is None or columns[last].rank <= KEPT:
            squeezed = {index: min(leasts[index], columns[index].squeezed or leasts[index]) for index in leasts}
            if squeezed != leasts:
                leasts = squeezed
                continue
            wrapping = [index for index in shown if columns[index].wraps]
            if last is None and not wrapping:
                break
            below += [] if last is not None else wrapping
            shown = [index for index in shown if index not in (last, *below)]
        else:
            shown.remove(last)
    return Layout(_grown(columns, wanted, {index: leasts[index] for index in shown}, width), tuple(below))


def _grown(columns: Sequence[Column], wanted: Mapping[int, int], widths: dict[int, int], width: int) -> dict[int, int]:
    """Return the widths with what is left of the whole: evenly until texts can be read, then the important first."""
    room, grown = width - _total(widths, list(widths)), dict(widths)
    by_rank = sorted(widths, key=lambda index: columns[index].rank)
    while room > 0 and (short := [index for index in by_rank if grown[index] < _least(columns[index], wanted[index])]):
        for index in short[:room]:
            grown[index] += 1
            room -= 1
    for index in by_rank:
        more = min(max(0, room), wanted[index] - grown[index])
        grown[index] += more
        room -= more
    return grown


def _least(column: Column, wanted: int) -> int:
    if column.wraps:
        return min(wanted, _LEAST_WRAPPED)
    return wanted if column.least is None else min(wanted, max(column.least, len(column.name)))


def _total(widths: Mapping[int, int], shown: Sequence[int]) -> int:
    return sum(widths[index] for index in shown) + len(_GAP) * (len(shown) - 1)


def _row_lines(columns: Sequence[Column], row: Sequence[str], layout: Layout, *, styled: bool) -> Iterator[str]:
    cells = [_cell_lines(columns[index], row[index], width) for index, width in layout.widths.items()]
    for number in range(max(map(len, cells), default=0)):
        line = _GAP.join(
            _styled(padded(cell[number] if number < len(cell) else "", width, right=columns[index].right), styled)
            for cell, (index, width) in zip(cells, layout.widths.items(), strict=True)
        )
        yield line.rstrip()


def _cell_lines(column: Column, cell: str, width: int) -> list[str]:
    if column.wraps:
        return wrapped(cell, width)
    return [cell if column.least is None else encodable(shortened(cell, width))]


def _styled(cell: str, styled: bool) -> str:
    code = _STYLES.get(cell.strip()) if styled else None
    return cell if code is None else style(cell, code)


def style(text: str, code: str) -> str:
    """Return a text in this style, which its end resets."""
    return f"\x1b[{code}m{text}\x1b[0m" if text else text


def has_styles() -> bool:
    """Whether stdout is a terminal whose user wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def output_width() -> int | None:
    """Return the columns that lines may take: the terminal's, or what COLUMNS says (as `watch` does); else None."""
    is_limited = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return terminal_width() if is_limited else None


def terminal_width() -> int:
    """Return the columns of the terminal, 100 in a pipe."""
    return shutil.get_terminal_size((100, 24)).columns


def print_wrapped(lines: Iterable[str], indent: str = "") -> None:
    """Print sentences, broken between words where the terminal ends; the lines after the first are indented."""
    width = output_width()
    for line in lines:
        for part in [line] if width is None else wrapped(encodable(line), width, indent):
            print(part)
