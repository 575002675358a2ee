"""What a job allows of the power limit of its GPUs, as it is written, and as watts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.power_limit import (
    DirtyThreshold,
    LimitReading,
    PowerCap,
    ThresholdKind,
    parse_power_cap,
    parse_threshold,
)

H100 = LimitReading(limit_w=700.0, least_w=200.0, most_w=700.0, default_w=700.0)


@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("70%", PowerCap(share=0.7)),
        ("210W", PowerCap(watts=210.0)),
        ("212.5 w", PowerCap(watts=212.5)),
        ("none", PowerCap()),
        ("70%:slowdown=8%", PowerCap(share=0.7, slowdown=0.08)),
        ("70%:above=p75", PowerCap(share=0.7, above=DirtyThreshold(kind=ThresholdKind.QUANTILE, value=0.75))),
        (
            "300W:above=250:slowdown=0%",
            PowerCap(watts=300.0, slowdown=0.0, above=DirtyThreshold(kind=ThresholdKind.STATED, value=250.0)),
        ),
    ],
)
def test_it_is_read_as_it_is_written_and_written_as_it_is_read(text: str, cap: PowerCap) -> None:
    assert parse_power_cap(text) == cap
    assert parse_power_cap(str(cap)) == cap


@pytest.mark.parametrize(
    "text",
    [
        "", "70", "100%", "0%", "9%", "-70%", "nan%", "0W", "99999W", "70%:slowdown", "70%:slowdown=8",
        "70%:slowdown=101%", "70%:above=p0", "70%:above=p100", "70%:above=-1", "70%:above=inf", "70%:above=",
        "70%:until=9", "none:slowdown=8%",
        "70%:slowdown=8%:slowdown=9%", "\u0667\u0660%",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|slowdown must be|is no threshold"):
        parse_power_cap(text)


@pytest.mark.parametrize(
    ("text", "limit_w"),
    [("70%", 490.0), ("10%", 200.0), ("150W", 200.0), ("650W", 650.0), ("700W", None), ("900W", None), ("none", None)],
)
def test_the_limit_lies_between_the_least_and_what_it_is_now(text: str, limit_w: float | None) -> None:
    assert parse_power_cap(text).limit_w(H100) == (None if limit_w is None else pytest.approx(limit_w))


@given(
    share=st.floats(0.1, 0.99), now_w=st.floats(100, 1000), least_w=st.floats(50, 400), default_w=st.floats(100, 1000)
)
def test_it_is_never_below_the_least_nor_above_the_most_nor_raised(
    share: float, now_w: float, least_w: float, default_w: float
) -> None:
    most_w = max(now_w, default_w, least_w)
    reading = LimitReading(limit_w=now_w, least_w=least_w, most_w=most_w, default_w=default_w)
    limit_w = PowerCap(share=share).limit_w(reading)
    assert limit_w is None or least_w <= limit_w < now_w


def test_a_threshold_is_the_mean_a_quantile_or_a_value() -> None:
    assert [str(parse_threshold(text)) for text in ("mean", " P75 ", "300", "0.5")] == ["mean", "p75", "300", "0.5"]
