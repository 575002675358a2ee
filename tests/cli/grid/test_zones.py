"""`zones` tells what is known of grid areas without a daemon or a source."""

import json

import pytest

from tests.cli.conftest import Run


def found(run: Run, text: str) -> dict[str, list[str]]:
    """The zones that a search finds, with the kinds that serve each."""
    ran = run("zones", "--search", text, "--json")
    assert ran.code == 0
    return {row["zone"]: [source["kind"] for source in row["sources"]] for row in json.loads(ran.out)}


def test_zones_are_listed_with_the_kinds_that_serve_them(run: Run) -> None:
    lines = run("zones").out.splitlines()
    assert lines[0].split() == ["ZONE", "NAME", "SOURCES"]
    row = next(line for line in lines if line.startswith("DK-DK1 "))
    assert "Western Denmark" in row
    assert "energinet" in row
    assert lines[-1].startswith("what these serve depends on their file, their address or their key: ")
    assert "file" in lines[-1].split(": ")[1]


@pytest.mark.parametrize("text", ["western den", "DK-DK1", "dk-dk1", "k-d"])
def test_a_zone_is_found_by_its_name_or_code(run: Run, text: str) -> None:
    assert "energinet" in found(run, text)["DK-DK1"]


@pytest.mark.parametrize(
    ("text", "zone"), [("germany", "DE"), ("UK", "GB"), ("United Kingdom", "GB"), ("kosovo", "XK")]
)
def test_a_country_is_found_even_where_no_source_lists_it(run: Run, text: str, zone: str) -> None:
    assert zone in found(run, text)


def test_a_zone_that_is_none_is_a_sentence_and_no_json(run: Run) -> None:
    ran = run("zones", "--search", "qqqq")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: no zone is called 'qqqq', nor anything like it; `greenrun zones` lists all\n"
    assert run("zones", "--search", "qqqq", "--json").out == "[]\n"
