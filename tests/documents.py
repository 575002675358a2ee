"""The documents as text, and what they must name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text(encoding="utf-8")
