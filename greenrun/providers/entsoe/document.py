"""Read the XML of the ENTSO-E platform: power by kind of generation, or of the load, in quarters of an hour."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite, nan
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.core.parsing import parse_instant
from greenrun.providers.payload import checked
from greenrun.providers.web import SHOWN, WebAnswer

CELL = timedelta(minutes=15)
LENGTHS = {"PT15M": CELL, "PT30M": 2 * CELL, "PT60M": 4 * CELL}
HIGHEST_MW = 2_000_000.0  # more than the load of all of Europe
LOAD = ""  # the kind of series that have none

# MW by the start of each quarter of an hour, possibly negative; NaN for implausible values.
Cells = dict[datetime, float]
_Lengths = dict[datetime, timedelta]  # ... how long the slot was that each is of


def cell_of(instant: datetime) -> datetime:
    """Return the start of the quarter of an hour that contains an instant."""
    return datetime.fromtimestamp(instant.timestamp() // CELL.total_seconds() * CELL.total_seconds(), UTC)


def power_of(
    answer: WebAnswer, area: str, start: datetime, end: datetime, *, used: bool, tell: Callable[[str], None]
) -> dict[str, Cells]:
    """Return the power in `[start, end)` by kind of generation (`psrType`), or that of the load under `LOAD`.

    `used` selects the area's consumption instead of its generation. Consumption in a document of generation (pumps,
    charging batteries) is left out. Where series of a kind contradict each other, the finer one holds, and of two alike
    the later one: an update of the one before; `tell` is told so. Raise ProviderUnavailable if the platform says that
    it has no data, ProviderGarbage if the document is not as expected.
    """
    try:
        root = _root(answer.body)
        if _name(root) == "Acknowledgement_MarketDocument":
            raise ProviderUnavailable(_no_data(root, answer))
        power = _power(root, area, cell_of(start), end, used, tell)
    except ValueError as exc:
        text = answer.redacted(f"greenrun does not use what {answer.source} answered: {exc}")[: 2 * SHOWN]
        raise ProviderGarbage(text, answer.shown) from None  # the cause may show a key
    if not power:
        raise ProviderUnavailable(f"{answer.source} has no power of {area} in its answer; what is known stays in use")
    return power


def _root(body: bytes) -> Element:
    """Parse the XML; refuse declarations, since entities can expand without bound or name files.

    It must be UTF-8, whatever it states: in another encoding a declaration would go unnoticed.
    """
    text = body.decode("utf-8-sig")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type, which data do not")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as exc:
        raise ValueError(f"it is no XML ({exc})") from exc


def _no_data(root: Element, answer: WebAnswer) -> str:
    said = " ".join((root.findtext("{*}Reason/{*}text") or "").split())
    why = f" ({said[:SHOWN]})" if said else ""
    return answer.redacted(f"{answer.source} has no data for this question{why}; what is known stays in use")


def _power(
    root: Element, area: str, start: datetime, end: datetime, used: bool, tell: Callable[[str], None]
) -> dict[str, Cells]:
    if _name(root) != "GL_MarketDocument":
        raise ValueError(f"it is a {_name(root)[:40]}, not a GL_MarketDocument")
    power: dict[str, Cells] = {}
    lengths: dict[str, _Lengths] = {}
    for series in root.iterfind("{*}TimeSeries"):
        is_used = series.find("{*}inBiddingZone_Domain.mRID") is None
        _check(series, area, is_used)
        if is_used == used:
            kind = LOAD if used else _kind(series)
            told = _add(power.setdefault(kind, {}), lengths.setdefault(kind, {}), series, start, end)
            if told:
                what = "load" if used else kind
                tell(f"it says two things of {what} in {area}; {told}")
    return power


def _kind(series: Element) -> str:
    kind = _text(series, "MktPSRType", "psrType")
    if not re.fullmatch(r"B\d\d", kind, re.ASCII):
        raise ValueError(f"psrType {kind!r} is no kind of generation")
    return kind


def _check(series: Element, area: str, is_used: bool) -> None:
    """Raise ValueError for another area's power, or another unit."""
    side = "out" if is_used else "in"
    for name, expected in ((f"{side}BiddingZone_Domain.mRID", area), ("quantity_Measure_Unit.name", "MAW")):
        said = _text(series, name)
        if said != expected:
            raise ValueError(f"{name} is {said!r}, not {expected!r}")


def _add(cells: Cells, lengths: "_Lengths", series: Element, start: datetime, end: datetime) -> str:
    """Add a series to those of its kind; return which values hold where it contradicts them, "" where it does not."""
    curve = series.findtext("{*}curveType", "A01").strip()
    if curve not in ("A01", "A03"):
        raise ValueError(f"curveType {curve!r} is none that greenrun knows")
    told = ""
    for period in series.iterfind("{*}Period"):
        length = _length(period)
        for at, mw in _steps(period, length, curve == "A03", start, end):
            if at in cells and cells[at] != mw:
                told = "the finer holds" if length != lengths[at] else "the later holds, as an update"
            if at not in cells or length <= lengths[at]:
                cells[at], lengths[at] = mw, length
    return told


def _length(period: Element) -> timedelta:
    resolution = _text(period, "resolution")
    if resolution not in LENGTHS:
        raise ValueError(f"resolution {resolution!r} is none that greenrun knows")
    return LENGTHS[resolution]


def _steps(
    period: Element, length: timedelta, repeats: bool, start: datetime, end: datetime
) -> Iterator[tuple[datetime, float]]:
    """Yield the power of each cell in `[start, end)`; with `repeats`, a missing position repeats the one before."""
    begin, until = (_instant(period, side) for side in ("start", "end"))
    points = sorted(_point(point, (until - begin) // length) for point in period.iterfind("{*}Point"))
    if not points:
        raise ValueError("a Period has no Point")
    if any(before[0] == after[0] for before, after in pairwise(points)):
        raise ValueError("a position comes twice in one Period")
    stops = [begin + (position - 1) * length for position, _ in points[1:]] + [until]
    for (position, mw), stop in zip(points, stops, strict=True):
        first = begin + (position - 1) * length
        at = max(first, start)
        while at < min(stop if repeats else first + length, end):
            yield at, mw
            at += CELL


def _point(point: Element, positions: int) -> tuple[int, float]:
    position, quantity = _text(point, "position"), _text(point, "quantity")
    if not re.fullmatch(r"[1-9]\d{0,5}", position, re.ASCII) or int(position) > positions:
        raise ValueError(f"position {position!r} is not in its Period")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*([eE][+-]?\d{1,4})?|nan|inf(inity)?)", quantity, re.ASCII | re.IGNORECASE):
        raise ValueError(f"quantity {quantity!r} is not a number")
    mw = float(quantity)
    return int(position), mw if isfinite(mw) and abs(mw) <= HIGHEST_MW else nan


def _instant(period: Element, side: str) -> datetime:
    instant = checked(parse_instant(_text(period, "timeInterval", side)))
    if instant != cell_of(instant):
        raise ValueError(f"a Period begins or ends at {instant.isoformat()}, within a quarter of an hour")
    return instant


def _text(element: Element, *path: str) -> str:
    found = element.findtext("/".join(f"{{*}}{name}" for name in path))
    if found is None or not found.strip():
        raise ValueError(f"{_name(element)} has no {'.'.join(path)}")
    return found.strip()


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]
