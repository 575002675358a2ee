"""What is drawn takes the columns that a terminal gives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.cli.tables import Column, fitted, table_lines
from greenrun.cli.terminal.width import cell_width, padded, shortened, wrapped
from tests.sampling import examples

TEXTS = st.text(alphabet=st.sampled_from("ab c漢字e\u0301👍🏽🇩🇪ｱ한"), max_size=60)


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("👍🏽", 2), ("ｱ", 1), ("한글", 4), ("", 0)]
)
def test_wide_characters_count_twice_and_marks_not_at_all(text: str, width: int) -> None:
    assert cell_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("train", 5, "train"), ("train", 4, "tra…"), ("train", 1, "…"), ("train", 0, ""), ("漢字漢字", 5, "漢字…"),
        ("漢字漢字", 4, "漢…"), ("e\u0301" * 5, 3, "e\u0301e\u0301…"),
    ],
)  # fmt: skip
def test_a_text_is_shortened_with_an_ellipsis(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected


@examples(60)
@given(TEXTS, st.integers(2, 30))
def test_nothing_is_wider_than_it_may_be_and_nothing_is_lost_by_wrapping(text: str, width: int) -> None:
    assert cell_width(shortened(text, width)) <= width
    lines = wrapped(text, width)
    assert [line for line in lines if cell_width(line) > width] == []
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert cell_width(padded(shortened(text, width), width)) == width


def test_wrapped_lines_are_indented() -> None:
    assert wrapped("waits for job 7 to succeed", 14, "  ") == ["waits for job", "  7 to succeed"]
    assert wrapped("    below its row", 12, "    ") == ["    below", "    its row"]


def test_columns_go_by_rank_and_texts_are_squeezed_before_the_last_ones_go() -> None:
    columns = [
        Column("id"),
        Column("name", rank=1, least=16, squeezed=6),
        Column("why", rank=2),
        Column("user", rank=5),
    ]
    row = ["12", "n" * 30, "w" * 10, "u" * 5]
    shown = {width: fitted(columns, [row], width).widths for width in (60, 45, 35, 25, 19, 9)}
    assert shown == {
        60: {0: 2, 1: 30, 2: 10, 3: 5},
        45: {0: 2, 1: 22, 2: 10, 3: 5},
        35: {0: 2, 1: 19, 2: 10},
        25: {0: 2, 1: 9, 2: 10},
        19: {0: 2, 1: 15},
        9: {0: 2},
    }


def test_a_text_that_has_no_room_beside_the_rest_goes_below_its_row() -> None:
    columns = [Column("job"), Column("why", wraps=True)]
    row = ["12", "waits for the cleanest free window before its latest start"]
    assert table_lines(columns, [row], width=20) == [
        "JOB", "12", "    waits for the", "    cleanest free", "    window before", "    its latest start",
    ]  # fmt: skip
    assert table_lines(columns, [row], width=40)[1:] == [
        "12   waits for the cleanest free window",
        "     before its latest start",
    ]
