"""Rows that are columns as JSON and CSV: text is made of a column at a time, and then woven into rows."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json

from greenrun.core.carbon.intensity import Floats
from greenrun.core.formatting import plain_number
from greenrun.core.units import DIGITS

ROWS_AT_ONCE = 32  # whose text is then below what the C library asks the system for each time
_FEW = 100
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # wide ones too
_SPECIAL = re.compile('[,"\r\n]')
_ODD = frozenset(("", " ", *_FORMULAS))  # what begins so may need a sign that it is no formula
_SMALL, _LARGE = 1e-3, 1e11  # between them, numbers are written without an exponent, and powers of 10 are exact
_POWERS = np.array([10.0**power for power in range(DIGITS + 4)])
_NEARLY = 1e-3

Text = bytes | Sequence[bytes]  # that all rows share, or that of each


class JsonTexts(list[bytes]):
    """A column of what is JSON already."""


def json_rows(figures: Mapping[str, Any], count: int, order: Iterable[str], end: bytes) -> Iterator[bytes]:
    """Yield the figures of each row by their names, in that order, as JSON objects with an end; some at a time."""
    texts: list[Text] = []
    for name in order:
        texts += [b"%b%b:" % (b"," if texts else b"{", to_json(name)), _json_column(figures[name], count)]
    return _woven([*texts, b"}", end], count)


def csv_rows(figures: Mapping[str, Any], count: int, order: Sequence[str]) -> Iterator[bytes]:
    """Yield the figures of each row by their names, in that order, as lines of CSV; some at a time."""
    texts: list[Text] = []
    for name in order:
        texts += [b"," if texts else b"", _csv_column(figures[name], count)]
    return _woven([*texts, b"\n"], count)


def csv_line(values: Iterable[Any]) -> bytes:
    """Return one line of CSV: numbers in full, lists joined with `; `, empty where a value is not known."""
    return b",".join(map(_csv_cell, values)) + b"\n"


def _woven(texts: Sequence[Text], count: int) -> Iterator[bytes]:
    """Yield these texts one after the other for each row in turn, some rows at a time: large texts would be costly."""
    joined: list[Text] = []
    for text in texts:
        if isinstance(text, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += text
        elif isinstance(text, bytes) or len(text) == count:
            joined.append(text)
        else:
            raise ValueError(f"a column of {count} rows has {len(text)} values")
    for first in range(0, count, ROWS_AT_ONCE):
        some = min(ROWS_AT_ONCE, count - first)
        pieces: list[bytes] = [b""] * (some * len(joined))
        for at, text in enumerate(joined):
            pieces[at :: len(joined)] = [text] * some if isinstance(text, bytes) else text[first : first + some]
        yield b"".join(pieces)


def _json_column(column: Any, count: int) -> Text:
    if isinstance(column, JsonTexts):
        return column
    if isinstance(column, np.ndarray):
        return _same(column) or to_json(column.tolist(), inf_nan_mode="null")[1:-1].split(b",")
    if not isinstance(column, list):
        return to_json(column)
    if len(column) > _FEW and set(map(type, column)) == {str} and len(set(column)) > _FEW:
        text = to_json(column)
        if b"\\" not in text:  # so no quotation mark is in a value
            return [b'"%b"' % value for value in text[2:-2].split(b'","')]
    return _of_different(column, to_json)


def _same(column: np.ndarray[Any, Any]) -> bytes | None:
    """Return the JSON of a value that all rows share; None where they differ."""
    first = column[:1].item() if len(column) else None
    is_same = np.isnan(column).all() if first != first else (column == first).all()
    return to_json(first, inf_nan_mode="null") if is_same else None


def _of_different(column: list[Any], text: Callable[[Any], bytes]) -> Text:
    """Return a text for each value, made once for what is there many times as the same object."""
    ids = list(map(id, column))
    texts = {key: text(value) for key, value in dict(zip(ids, column, strict=True)).items()}
    return list(map(texts.__getitem__, ids)) if len(texts) > 1 else next(iter(texts.values()), b"")


# cells of CSV


def _csv_column(column: Any, count: int) -> Text:
    if isinstance(column, np.ndarray):
        return _numbers(column) if column.dtype.kind == "f" else to_json(column.tolist())[1:-1].split(b",")
    if not isinstance(column, list):
        return _csv_cell(column)
    if len(column) > _FEW and set(map(type, column)) == {str} and (texts := _plain_texts(column)):
        return texts
    return _of_different(column, _csv_cell)


def _numbers(values: Floats) -> Text:
    """Return numbers as `plain_number` writes them; empty where they are not known."""
    is_known = ~np.isnan(values)
    if not is_known.any():
        return b""
    if (values == values[0]).all():
        return _csv_cell(float(values[0]))
    size = np.abs(values)
    is_usual = is_known & (size >= _SMALL) & (size < _LARGE)
    usual = np.where(is_usual, values, 1.0)
    scale = _POWERS[DIGITS - 1 - np.floor(np.log10(np.abs(usual))).astype(np.int64)]
    scaled = usual * scale
    whole = np.round(scaled)
    is_sure = np.abs(np.abs(scaled - whole) - 0.5) > _NEARLY  # that it is rounded to the same side as its digits are
    is_sure &= is_usual & (np.abs(scaled) >= _POWERS[DIGITS - 1]) & (np.abs(whole) < _POWERS[DIGITS])
    texts = to_json((whole / scale).tolist())[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")
    others = np.flatnonzero(~is_sure)
    for at, value in zip(others.tolist(), values[others].tolist(), strict=True):
        texts[at] = b"" if value != value else b"0.0" if value == 0 else plain_number(value).encode()
    return texts


def _plain_texts(column: Sequence[str]) -> Text | None:
    """Return texts that can stand in cells as they are; None where one cannot."""
    text = ",".join(column)
    begins = {value[:1] for value in column}
    if _SPECIAL.search(text.replace(",", "")) or text.count(",") != len(column) - 1 or not _ODD.isdisjoint(begins):
        return None
    return text.encode().split(b",")


def _csv_cell(value: Any) -> bytes:
    if type(value) is str:
        return _cell_of_text(value)
    if type(value) is float:
        return plain_number(value).encode()
    if value is None:
        return b""
    if type(value) is dict:
        return _cell_of_text("; ".join(f"{key}={item}" for key, item in value.items()))
    return _cell_of_text("; ".join(map(str, value))) if type(value) is list else repr(value).encode()


def _cell_of_text(text: str) -> bytes:
    """Return a text as a cell that a spreadsheet does not take for a formula: a job's name may be anything."""
    shown = f"'{text}" if text.lstrip(" \n").startswith(_FORMULAS) else text
    if _SPECIAL.search(shown):
        quoted = shown.replace('"', '""')
        shown = f'"{quoted}"'
    return shown.encode()
