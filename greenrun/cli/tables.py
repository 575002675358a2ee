"""Print tables: with rich on a terminal (loaded only then), as plain aligned columns in a pipe."""

import shutil
import sys
from collections.abc import Sequence

_STYLES = {"running": "green", "starting": "green", "failed": "red", "cancelled": "yellow", "expired": "yellow"}
_GAP = "  "


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows under their columns; those named in `right` are right-aligned."""
    if sys.stdout.isatty():
        _print_rich(columns, rows, right)
        return
    for line in plain_lines(columns, rows, right):
        print(line)


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Return the table as text: upper-case heads, columns two spaces apart, no trailing blanks."""
    table = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    aligned = [
        [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        for row in table
    ]
    return [_GAP.join(row).rstrip() for row in aligned]


def terminal_width() -> int:
    """Return the columns of the terminal, 100 in a pipe."""
    return shutil.get_terminal_size((100, 24)).columns


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)
