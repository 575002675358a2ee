"""The documents of ENTSO-E: steps, curves, units and areas, and what would harm their reader."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.providers import Provider
from tests.providers.entsoe.platform import (
    BEGIN,
    COAL,
    DAY,
    KEY,
    QUARTER,
    WIND,
    acknowledgement,
    document,
    documents,
    entsoe,
    forecast_of,
    history_of,
    quarters,
    series,
    values,
)
from tests.providers.source import NOW, answering

HOUR = timedelta(hours=1)


def test_steps_of_any_length_meet_in_quarters_of_an_hour(tmp_path: Path) -> None:
    """A load in hours and wind in quarters of one; a position that curve A03 leaves out is as the one before."""
    hours = [BEGIN.replace(minute=0) + index * HOUR for index in range(3)]
    load = document(series(hours, [100, None, 200], side="out", curve="A03"))
    with answering(documents(load=load)):
        found = forecast_of(entsoe(tmp_path))
    assert {slot.end - slot.start for slot in found} == {QUARTER}
    assert values(found) == pytest.approx([0.6 * 0.75 * 760] * 7 + [0.8 * 0.75 * 760])


@pytest.mark.parametrize("curve", ["A01", "A03"])
def test_a_position_left_out_is_missing_but_in_curve_a03(tmp_path: Path, curve: str) -> None:
    """A03 names only changes, up to the end of its Period; in A01 what is left out is not known."""
    wind = document(series(quarters(4), [40, None, 40, None], WIND, curve=curve, until=BEGIN + HOUR))
    with answering(documents(renewable=wind)):
        found = forecast_of(entsoe(tmp_path))
    assert len(found) == (4 if curve == "A03" else 2)


def test_what_is_drawn_is_not_generated(tmp_path: Path) -> None:
    """A document of generation also tells what pumps draw, of the same kind as what they give."""
    past = quarters(96, BEGIN - DAY)
    pumps = series(past, [1000] * 96, COAL, side="out")
    with answering(documents(history=document(series(past, [30] * 96, "B14"), pumps))):
        assert set(values(history_of(entsoe(tmp_path)))) == {0.0}


def _garbage() -> Mapping[str, str]:
    ahead = quarters(8)
    good = series(ahead, [40] * 8, WIND)
    return {
        "another unit": document(series(ahead, [40] * 8, WIND, unit="KWT")),
        "another area": document(series(ahead, [40] * 8, WIND, area="10YFR-RTE------C")),
        "another curve": document(series(ahead, [40] * 8, WIND, curve="A02")),
        "another resolution": document(good.replace("PT15M", "PT1M")),
        "no kind": document(series(ahead, [40] * 8)),
        "a kind of grid": document(series(ahead, [40] * 8, "A04")),
        "position twice": document(good.replace(">2</position", ">1</position")),
        "position 0": document(good.replace(">1</position", ">0</position")),
        "beyond the end": document(good.replace(">8</position", ">9</position")),
        "underscore": document(good.replace(">40<", ">4_0<")),
        "odd minute": document(good.replace(":15Z</start>", ":16Z</start>")),
        "another document": document(good).replace("GL_MarketDocument", "Publication_MarketDocument"),
        "cut off": document(good)[:-30],
        "no points": document(re.sub("<Point>.*</Point>", "", good, flags=re.DOTALL)),
    }


@pytest.mark.parametrize("wrong", _garbage())
def test_a_document_of_another_kind_is_garbage(tmp_path: Path, wrong: str) -> None:
    """What greenrun does not know is told, and never read as something else."""
    with answering(documents(renewable=_garbage()[wrong])), pytest.raises(ProviderGarbage) as caught:
        forecast_of(entsoe(tmp_path))
    assert "zip()" not in str(caught.value)


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><GL_MarketDocument>&b;</GL_MarketDocument>'


@pytest.mark.parametrize(
    "body",
    [
        LAUGHS.encode(),
        b'<?xml version="1.0" encoding="UTF-16"?>' + LAUGHS.encode(),
        ('<?xml version="1.0" encoding="UTF-16"?>' + LAUGHS).encode("utf-16"),
        ('<?xml version="1.0" encoding="utf-7"?>' + LAUGHS.replace("<!", "+ADwAIQ-")).encode(),
        b"<a>" * 500_000 + b"</a>" * 500_000,
    ],
    ids=["entities", "encoding as declared", "true encoding", "utf-7", "deep"],
)
def test_documents_that_would_harm_their_reader_are_refused(tmp_path: Path, body: bytes) -> None:
    """No entity is ever declared, in whatever encoding, and depth costs nothing."""
    with answering(documents(renewable=body)), pytest.raises(ProviderGarbage):
        forecast_of(entsoe(tmp_path))


def test_no_data_comes_with_status_200_and_means_later(tmp_path: Path) -> None:
    """The platform's own sentence is told, and a key in it is not."""
    said = acknowledgement(f"No matching data found for Data item [14.1.D] {KEY}")
    with answering(documents(load=said)), pytest.raises(ProviderUnavailable, match="No matching data found") as caught:
        forecast_of(entsoe(tmp_path))
    assert KEY not in str(caught.value)


def test_the_later_of_two_series_alike_is_an_update_and_is_told(tmp_path: Path) -> None:
    ahead = quarters(8)
    wind = document(series(ahead, [40] * 8, WIND), series(ahead[2:4], [60] * 2, WIND))
    platform = entsoe(tmp_path).open()
    with answering(documents(renewable=wind)):
        found = values(platform.forecast("DE", NOW).series)
    assert found == pytest.approx([0.6 * 0.75 * 760] * 2 + [0.4 * 0.75 * 760] * 2 + [0.6 * 0.75 * 760] * 4)
    assert _warned(platform) == ["it says two things of B19 in 10Y1001A1001A83F; the later holds, as an update"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_finer_of_two_series_holds_wherever_it_stands(tmp_path: Path, order: int) -> None:
    hours = [BEGIN.replace(minute=0) + index * HOUR for index in range(4)]
    both = [series(quarters(4), [40] * 4, WIND), series(hours, [60] * 4, WIND)][::order]
    platform = entsoe(tmp_path).open()
    with answering(documents(renewable=document(*both))):
        found = values(platform.forecast("DE", NOW).series)
    assert found == pytest.approx([0.6 * 0.75 * 760] * 4 + [0.4 * 0.75 * 760] * 4)
    assert _warned(platform) == ["it says two things of B19 in 10Y1001A1001A83F; the finer holds"]


def test_two_series_that_agree_are_not_worth_a_word(tmp_path: Path) -> None:
    ahead = quarters(8)
    platform = entsoe(tmp_path).open()
    with answering(documents(renewable=document(series(ahead, [40] * 8, WIND), series(ahead, [40] * 8, WIND)))):
        platform.forecast("DE", NOW)
    assert _warned(platform) == []


def _warned(platform: Provider) -> list[str]:
    assert platform.web is not None
    return platform.web.warnings
