"""How many columns of a terminal a text takes, and texts that take so many: wide characters count twice."""

import re

ELLIPSIS = "…"
_BETWEEN_WORDS = r" (?!(?:%|g|kg|t|Wh|kWh|MWh|g/kWh|W|kW)(?![\w]))"  # a number and its unit stay together


def cell_width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character or an emoji, none for a combining mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # its tables are for those who need them

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, with an ellipsis where something was left out."""
    if cell_width(text) <= width:
        return text
    return _beginning(text, width - 1) + ELLIPSIS if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text followed, or preceded, by as many blanks as it takes to fill `width` columns."""
    blanks = " " * (width - cell_width(text))
    return blanks + text if right else text + blanks


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Return the lines of a text that is broken between words, and within a word that is longer than a line.

    All lines but the first begin with the indent.
    """
    lines: list[str] = []
    line = " " * (len(text) - len(text.lstrip(" ")))
    for word in re.split(_BETWEEN_WORDS, text.lstrip(" ")):
        joined = f"{line} {word}" if line.strip() else line + word
        if cell_width(joined) <= width:
            line = joined
        if cell_width(joined) <= width or not word:
            continue
        if line.strip():
            lines.append(line)
            line = indent + word
        else:
            line = joined
        while cell_width(line) > width:
            piece = _beginning(line, width)
            if piece.strip():
                lines.append(piece)
                line = indent + line[len(piece) :]
            elif line.startswith(" "):
                line = line.lstrip(" ")  # there is no room for an indent
            else:
                break  # nor for a single character
    return [*lines, line]


def _beginning(text: str, width: int) -> str:
    """Return the longest beginning that takes at most so many columns, with the marks that belong to its last sign."""
    if text.isascii():
        return text[: max(0, width)]
    length = min(len(text), max(0, width))
    while length and cell_width(text[:length]) > width:
        length -= 1
    while length < len(text) and cell_width(text[: length + 1]) <= width:
        length += 1
    return text[:length]
