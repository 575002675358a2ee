"""The ENTSO-E platform in the tests' hands: documents of the true shape, and answers to each of the questions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx

from greenrun.core.carbon.intensity import Basis, Series
from greenrun.providers import open_provider
from greenrun.providers.entsoe.entsoe import EntsoeSettings
from tests.providers.source import NOW, Respond, Source, Values, json_answer

QUARTER = timedelta(minutes=15)
AREA = "10Y1001A1001A83F"
KEY = "hunter2+/secret key"
NAMESPACE = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
RESOLUTIONS = {QUARTER: "PT15M", 2 * QUARTER: "PT30M", 4 * QUARTER: "PT60M"}
COAL, WIND = "B05", "B19"
BEGIN = NOW.replace(minute=15)  # of the slot that holds NOW
DAY = timedelta(days=1)
TOTAL_MW = 760  # as many MW as coal's factor has g/kWh: so many MW of it are so many g/kWh


def series(
    starts: Sequence[datetime], values: Sequence[object], kind: str = "", *, side: str = "in", curve: str = "A01",
    until: datetime | None = None, area: str = AREA, unit: str = "MAW",
) -> str:  # fmt: skip
    """A TimeSeries with one Period; None leaves a position out."""
    step = min((after - before for before, after in pairwise(starts)), default=QUARTER)
    points = [
        f"<Point><position>{(start - starts[0]) // step + 1}</position><quantity>{value}</quantity></Point>"
        for start, value in zip(starts, values, strict=True)
        if value is not None
    ]
    between = f"<start>{_text(starts[0])}</start><end>{_text(until or starts[-1] + step)}</end>"
    return f"""<TimeSeries><mRID>1</mRID><businessType>A01</businessType>
        <{side}BiddingZone_Domain.mRID codingScheme="A01">{area}</{side}BiddingZone_Domain.mRID>
        <quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name><curveType>{curve}</curveType>
        {f"<MktPSRType><psrType>{kind}</psrType></MktPSRType>" if kind else ""}
        <Period><timeInterval>{between}</timeInterval>
        <resolution>{RESOLUTIONS[step]}</resolution>{"".join(points)}</Period></TimeSeries>"""


def document(*parts: str) -> str:
    """A document of these TimeSeries."""
    declared = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{declared}<GL_MarketDocument xmlns="{NAMESPACE}"><type>A75</type>{"".join(parts)}</GL_MarketDocument>'


def acknowledgement(text: str) -> str:
    """What comes, with status 200, where there is nothing."""
    reason = f"<Reason><code>999</code><text>{text}</text></Reason>"
    name, space = "Acknowledgement_MarketDocument", "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
    return f'<{name} xmlns="{space}">{reason}</{name}>'


def question(request: httpx.Request) -> str:
    """Which of the four questions this is: load, renewable, mix (for a forecast), or history."""
    kind = request.url.params.get("documentType", "A69")
    if kind == "A75":
        start, end = window(request)
        return "mix" if end - start == timedelta(days=2) else "history"
    return {"A65": "load", "A69": "renewable"}[kind]


def window(request: httpx.Request) -> tuple[datetime, datetime]:
    """The interval that is asked for."""
    start, end = (
        datetime.strptime(request.url.params[name], "%Y%m%d%H%M").replace(tzinfo=UTC)
        for name in ("periodStart", "periodEnd")
    )
    return start, end


def starts(request: httpx.Request) -> list[datetime]:
    """Every quarter of an hour that is asked for."""
    start, end = window(request)
    return [start + index * QUARTER for index in range((end - start) // QUARTER)]


def side(request: httpx.Request) -> httpx.Response | None:
    """A load and a mix that never change: coal alone makes what the wind does not."""
    asked = question(request)
    if asked == "load":
        return _xml(document(series(starts(request), [TOTAL_MW] * len(starts(request)), side="out")))
    if asked == "mix":
        coal = series(starts(request), [TOTAL_MW] * len(starts(request)), COAL)
        return _xml(document(coal))
    return None


def renewable(begins: Sequence[datetime], values: Values) -> str:
    """The wind that leaves so many g/kWh; what is no intensity stands in its place."""
    told = [v if v is None or v == 77777 else TOTAL_MW - v for v in values]
    return document(series(begins, told, WIND))


def measured(begins: Sequence[datetime], values: Values) -> str:
    """Coal and wind that emitted so many g/kWh."""
    coal = series(begins, values, COAL)
    wind = series(begins, [None if v is None else TOTAL_MW - v for v in values], WIND)
    pumps = series(begins, [5000 for _ in values], "B10", side="out")
    return document(coal, wind, pumps)


def entsoe(folder: Path, basis: Basis = Basis.DIRECT) -> Source:
    """The platform, on which every MW of coal is one g/kWh."""
    key_file = folder / "key"
    key_file.write_text(f"{KEY}\n", encoding="utf-8")
    key_file.chmod(0o600)
    return Source(
        open=lambda: open_provider("tp", EntsoeSettings(key_file=key_file, basis=basis), lambda key: NOW),
        zone="DE",
        step=QUARTER,
        forecast=renewable,
        history=measured,
        is_history=lambda request: question(request) == "history",
        side=side,
        ahead=timedelta(hours=24),
    )


def forecast_of(source: Source) -> Series:
    """The forecast for Germany."""
    return source.open().forecast("DE", NOW).series


def history_of(source: Source) -> Series:
    """The day before NOW in Germany."""
    return source.open().history("DE", NOW - DAY, NOW, NOW)


def saying(**said: str | bytes) -> Respond:
    """Answer these questions so, and others as a platform on which coal never changes."""

    def respond(request: httpx.Request) -> httpx.Response:
        return json_answer(said[question(request)])

    return respond


def quarters(count: int, begin: datetime = BEGIN) -> list[datetime]:
    """The starts of so many slots."""
    return [begin + index * QUARTER for index in range(count)]


def documents(**changed: str | bytes) -> Respond:
    """Two hours of forecasts and a day of a mix, of which some are changed."""
    ahead, past = quarters(8), quarters(96, BEGIN - DAY)
    good = {
        "renewable": document(series(ahead, [40] * 8, WIND)),
        "load": document(series(ahead, [100] * 8, side="out")),
        "mix": document(series(past, [30] * 96, COAL), series(past, [10] * 96, "B14"), series(past, [99] * 96, WIND)),
        "history": document(series(past, [30] * 96, COAL), series(past, [10] * 96, "B14")),
    }
    return saying(**{**good, **changed})


def values(found: Series) -> list[float]:
    """The values of a series."""
    return [slot.intensity_g_per_kwh for slot in found]


def _xml(body: str | bytes) -> httpx.Response:
    return httpx.Response(200, content=body, headers={"Content-Type": "application/xml"})


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"
