"""ARCHITECTURE.md is short, draws what is checked, and names every room."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS = [
    {room.strip() for room in layer.split("|")} for layer in CONTRACTS[0]["layers"] if CONTRACTS[0]["type"] == "layers"
]
OUTSIDE = {
    "client",
    "host_shortage",
    "limited_process",
    "http_over_unix",
    "paths",
    "poll_in_parts",
    "clock",
    "procfs",
    "submitit",
    "tracking",
    "packaged",
    "training",
}  # modules that nearly everybody needs; the diagram leaves them out


def test_it_can_be_read_in_a_few_minutes() -> None:
    assert len(TEXT.split()) <= 1200


def test_it_draws_the_layers_the_tick_and_a_jobs_life() -> None:
    kinds = [diagram.split()[0] for diagram in re.findall(r"```mermaid\n(.+?)```", TEXT, flags=re.DOTALL)]
    assert kinds == ["flowchart", "sequenceDiagram", "stateDiagram-v2"]


def test_the_layers_drawn_are_those_that_are_checked() -> None:
    drawn = TEXT.split("flowchart TD\n")[1].split("subgraph")[0]
    levels: list[set[str]] = []
    for line in drawn.strip().splitlines():
        for level in ({room.strip() for room in part.split("&")} for part in line.split("-->")):
            if level not in levels:
                levels.append(level)
    assert levels == [rooms for layer in LAYERS if (rooms := layer - OUTSIDE)]


def test_it_names_every_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "greenrun").glob("*/__init__.py")}
    core = {f"core/{path.parent.name}" for path in (ROOT / "greenrun" / "core").glob("*/__init__.py")}
    assert {name for name in folders | core if f"`{name}`" not in TEXT} - {"core"} == set()
