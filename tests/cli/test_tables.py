"""A table in a pipe is drawn with characters that one can read."""

from greenrun.cli.tables import plain_lines


def test_a_plain_table_is_aligned() -> None:
    assert plain_lines(("id", "name"), [["1", "a"], ["12", "bcd"]], right=("id",)) == ["ID  NAME", " 1  a", "12  bcd"]
