"""Energinet: both halves of Denmark, every promise of a provider on the web, and its own traps."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import httpx
import pytest

from greenrun.core.errors import ProviderUnavailable
from greenrun.providers import open_provider
from greenrun.providers.energinet import EnerginetSettings
from tests.providers.source import NOW, Source, Values, answering
from tests.providers.web_contract import WebContract

HOUR = timedelta(hours=1)


def body(starts: Sequence[datetime], values: Values) -> str:
    """Rows of a dataset: the start without its zone, which is UTC."""
    rows = [
        {"Minutes5UTC": f"{start:%Y-%m-%dT%H:%M:%S}", "Minutes5DK": "", "PriceArea": "DK1", "CO2Emission": value}
        for start, value in zip(starts, values, strict=True)
    ]
    return json.dumps({"total": len(rows), "dataset": "CO2EmisProg", "records": rows})


def energinet() -> Source:
    """Energinet's service."""
    return Source(
        open=lambda: open_provider("dk", EnerginetSettings(), lambda key: NOW),
        zone="DK-DK1",
        step=timedelta(minutes=5),
        forecast=body,
        history=body,
        is_history=lambda request: request.url.path.endswith("/CO2Emis"),
        names_times=False,
        ahead=timedelta(hours=9),
    )


class TestEnerginet(WebContract):
    """Energinet keeps every promise."""

    @pytest.fixture
    def source(self) -> Source:
        """Energinet's service."""
        return energinet()


def test_all_rows_are_asked_for_in_order() -> None:
    """By default only the farthest hundred come, in falling order."""
    with answering(energinet().well(NOW)) as asked:
        energinet().open().forecast("DK-DK1", NOW)
    params = asked.requests[0].url.params
    assert (params["limit"], params["sort"], params["filter"]) == ("0", "Minutes5UTC ASC", '{"PriceArea": ["DK1"]}')


def test_the_other_half_s_rows_are_left_out() -> None:
    """A filter that is not heeded must not make one half's values those of the other."""
    western = body(energinet().starts(NOW, NOW + HOUR), [50.0] * 13)
    with answering(energinet().saying(western)), pytest.raises(ProviderUnavailable, match="no values for DK-DK2"):
        energinet().open().forecast("DK-DK2", NOW)


@pytest.mark.parametrize("ahead_h", [1, 2])
def test_danish_time_is_asked_for_generously(ahead_h: int) -> None:
    """The question's bounds are read as Danish time, which must not cut off what is wanted in summer or winter."""
    start, end = NOW - timedelta(hours=6), NOW
    with answering(energinet().well(NOW)) as asked:
        energinet().open().history("DK-DK1", start, end, NOW)
    params: httpx.QueryParams = asked.requests[0].url.params
    local = [at.replace(tzinfo=None) + timedelta(hours=ahead_h) for at in (start, end)]
    assert datetime.fromisoformat(params["start"]) <= local[0]
    assert datetime.fromisoformat(params["end"]) >= local[1]


def test_one_question_a_minute_for_each_dataset() -> None:
    """The service allows no more: a second question within the minute fails here, and does not reach it."""
    provider = energinet().open()
    with answering(energinet().well(NOW)) as asked:
        provider.forecast("DK-DK1", NOW)
        provider.history("DK-DK1", NOW - timedelta(hours=1), NOW, NOW)
        with pytest.raises(ProviderUnavailable, match="asked again in 1m"):
            provider.history("DK-DK1", NOW - timedelta(hours=2), NOW, NOW)
    assert len(asked.requests) == 2
