"""Times in texts are those of the reader's zone."""

from datetime import UTC, datetime, timedelta

from greenrun.core.formatting import day_clock_text, day_span_text, localized_text
from tests.cli.zones import BERLIN

NOW = datetime(2026, 6, 3, 20, tzinfo=UTC)  # a Wednesday, 22:00 in Berlin


def test_instants_within_a_text_become_local() -> None:
    text = "at 2026-06-03 20:00:00Z or 2026-06-04 06:30:15Z; --finish-by 2026-06-04T06:30:16Z"
    assert localized_text(text, NOW, BERLIN) == "at 22:00 or 2026-06-04 08:30:15; --finish-by 2026-06-04T08:30:16"
    assert localized_text("at 2026-06-03 20:00:00Z", zone=BERLIN) == "at 2026-06-03 22:00"
    assert localized_text("Zones are GB, DE", NOW, BERLIN) == "Zones are GB, DE"
    assert localized_text("T 2026-06-04T06:30:16Z", NOW, UTC) == "T 2026-06-04T06:30:16Z"


def test_what_is_copied_out_of_an_hour_that_comes_twice_has_its_offset() -> None:
    told = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z")
    assert [localized_text(text, NOW, BERLIN) for text in told] == ["2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00"]


def test_times_near_now_have_their_weekday() -> None:
    near, far = NOW + timedelta(days=2), NOW + timedelta(days=6)
    assert [day_clock_text(at, NOW, UTC) for at in (NOW, near, far)] == ["20:00", "Fri 20:00", "2026-06-09 20:00"]
    spans = [timedelta(seconds=8), timedelta(hours=6), timedelta(hours=20)]
    assert [day_span_text(near, near + span, NOW, UTC) for span in spans] == [
        "Fri 20:00:00-20:00:08", "Fri 20:00-02:00", "Fri 20:00-Sat 16:00",
    ]  # fmt: skip
