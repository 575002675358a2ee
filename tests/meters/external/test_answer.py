"""What an external meter answers is a number of joules or an error, whatever it is."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.meters.external.answer import LONGEST_BYTES, UNITS_J, joules_in

UNITS = st.sampled_from(sorted(UNITS_J))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def number_or_nothing(body: bytes, value: str | None, unit: str) -> float:
    """Return what there is in an answer, 0 where that is refused."""
    try:
        return joules_in(body, value, unit)
    except ValueError:
        return 0.0


@given(body=st.binary(max_size=200), value=st.none() | st.text(max_size=10), unit=UNITS)
def test_any_bytes_are_a_number_of_joules_or_an_error_in_words(body: bytes, value: str | None, unit: str) -> None:
    assert 0 <= number_or_nothing(body, value, unit) < float("inf")


@given(document=JSON, value=st.text(alphabet="ab.01", min_size=1, max_size=8))
def test_any_json_is_a_number_of_joules_or_an_error(document: object, value: str) -> None:
    assert 0 <= number_or_nothing(json.dumps({"a": document}).encode(), value, "J") < float("inf")


@given(number=st.decimals(min_value=0, max_value=10**12, places=3), unit=UNITS)
def test_a_plain_number_is_taken_in_its_unit(number: Decimal, unit: str) -> None:
    expected = pytest.approx(float(number) * UNITS_J[unit])
    assert joules_in(f" {number:f}\n".encode(), None, unit) == expected
    assert joules_in(json.dumps({"energy": [{"total": str(number)}]}).encode(), "energy.0.total", unit) == expected


@pytest.mark.parametrize(
    ("body", "value", "expected"),
    [
        (b'{"EnergykWh": {"Reading": 1.5}}', "EnergykWh.Reading", 1.5),
        (b"[[3], [4.25e2]]", "1.0", 425.0),
        (b"7", None, 7.0),
    ],
)
def test_a_number_is_found_where_it_is_said_to_be(body: bytes, value: str | None, expected: float) -> None:
    assert joules_in(body, value, "J") == expected


@pytest.mark.parametrize(
    ("body", "value", "said"),
    [
        (b"", None, "no plain number"),
        (b"-1", None, "no plain number"),
        (b"nan", None, "no plain number"),
        (b"0x10", None, "no plain number"),
        (b"1_000", None, "no plain number"),
        (b"12 W", None, "no plain number"),
        (b"true", "a", "nothing at a"),
        (b'{"a": true}', "a", "no plain number"),
        (b'{"a": null}', "a", "no plain number"),
        (b'{"a": NaN}', "a", "no plain number"),
        (b'{"a": [1]}', "a.1", "nothing at a.1"),
        (b"{", "a", "not JSON"),
        (b"[" * 60_000, "0", "not JSON"),
        (b"\xff\xfe", None, "not UTF-8"),
        (b"9e307", None, "too large"),
        (b"1" * (LONGEST_BYTES + 1), None, "longer than 64 KiB"),
    ],
)
def test_what_is_no_number_is_refused_in_words(body: bytes, value: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        joules_in(body, value, "kWh")
