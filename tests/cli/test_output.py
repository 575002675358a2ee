"""Where a page can be written."""

import pytest

from greenrun.cli.output import page_problems


@pytest.mark.parametrize("name", ["a.svg", "a.png", "a.pdf", "a"])
def test_only_html_is_drawn_and_another_ending_says_so(name: str) -> None:
    assert page_problems(name) == [
        f"'{name}' does not end in .html, and only .html is drawn; its charts can be saved as PNG"
    ]
    assert page_problems("a.HTML") == []
