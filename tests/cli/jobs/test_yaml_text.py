"""YAML comes through as it is written, and what is not read is refused with its line."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.cli.jobs.yaml_text import Node, YamlError, parse_yaml
from tests.sampling import examples


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 18:00\nb: 1e-3\nc: 010\nd: on\n", {"a": "18:00", "b": "1e-3", "c": "010", "d": "on"}),
        ("a: true\nb: 'true'\nc: null\nd:\ne: ~\n", {"a": True, "b": "true", "c": None, "d": None, "e": None}),
        ("# first\n---\na: b # why\n", {"a": "b"}), ("a: x#y\nb: '# z' # w\n", {"a": "x#y", "b": "# z"}),
        ("- a\n-   b\n-\n  - c\n", ["a", "b", ["c"]]),
        ("- - a\n  - b\n- c: d\n  e: f", [["a", "b"], {"c": "d", "e": "f"}]),
        ("job:\n- a: 1\n- a: 2\n", {"job": [{"a": "1"}, {"a": "2"}]}),
        ("a:\n  b:\n    c: d\n", {"a": {"b": {"c": "d"}}}),
        ("a: [1, 'b,c', {d: e}]\n", {"a": ["1", "b,c", {"d": "e"}]}), ("a: [1,\n  2]\nb: {c: d,\n e: f}", {
            "a": ["1", "2"], "b": {"c": "d", "e": "f"}}),
        ('{"a": [1, "b\\n"], "c": null, "d": false}', {"a": ["1", "b\n"], "c": None, "d": False}),
        ("a: 'it''s'\nb: \"x\\\"y\"\nc: it's\n", {"a": "it's", "b": 'x"y', "c": "it's"}),
        ("a: |\n  x\n    y\n\n  z\nb: 1\n", {"a": "x\n  y\n\nz\n", "b": "1"}),
        ("a: >-\n  x\n  y\n\n  z\n", {"a": "x y\nz"}),
        ("a: |-\n  # no comment\n", {"a": "# no comment"}), ("a: x\n  y\n", {"a": "x y"}),
        ("a: http://b:80/c\n", {"a": "http://b:80/c"}), ("'a: b': c\n", {"a: b": "c"}),
        ("a: -1\nb: --x\n", {"a": "-1", "b": "--x"}),
        ("\N{ZERO WIDTH NO-BREAK SPACE}a: b\r\nc: d\r\n", {"a": "b", "c": "d"}), ("", None), ("# only\n", None),
        ("a: []\nb: {}\n", {"a": [], "b": {}}),
    ],
)  # fmt: skip
def test_a_document_says_what_it_says(text: str, found: Node) -> None:
    assert parse_yaml(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1\nb: *x", "line 1 is meant by an alias again"), ("a: *x", "line 1 cannot be read: found undefined"),
        ("a: !!int 1", "line 1 has a tag"), ("a: !x 1", "line 1 has a tag"),
        ("? [a]\n: b", "has a key that is no text"),
        ("<<: {a: 1}", "merges another mapping"), ("a: 1\n---\nb: 2", "line 2 cannot be read"),
        ("a:\n\tb: 1", "line 2 cannot be read: found character"), ("a: [1, 2", "cannot be read: did not find"),
        ('a: "x', "cannot be read: found unexpected end of stream"), ("a: {b: 1, b: 2}", "names b a second time"),
        ("a: 1\na: 2", "line 2 names a a second time"), ("- a\nb: 1", "line 2 cannot be read"),
        ("a: 1\n   b: 2", "line 2 cannot be read: mapping values"), ("a: b: c", "mapping values are not allowed"),
        ("- [1 2]]", "line 1 cannot be read"), ('a: "\\q"', "found unknown escape character"),
        ("a: b\nc\n", "cannot be read"), ("a: 1\nb: \x01", "line 2 has a character"), ("[" * 5000, "line 1"),
        ("[" * 100 + "]" * 100, "nested too deeply"), ("- " * 100 + "a", "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(YamlError, match=r"^line \d") as refused:
        parse_yaml(text)
    assert why in str(refused.value)


@examples(300)
@given(st.text(st.sampled_from("ab:-# \n'\"[]{},|>&*!?~\\\t012"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(YamlError):
        assert parse_yaml(text) == parse_yaml(f"{text}\n")
