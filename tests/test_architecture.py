"""The layers hold: what pyproject.toml says of imports is true of the code."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT_S = 120

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS = SETTINGS["contracts"][0]["layers"]


@pytest.mark.slow
def test_imports_go_down_only_the_core_is_pure_and_only_the_store_knows_sql() -> None:
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_architecture_md_draws_the_layers_that_are_checked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = text.split("## Imports go down only\n\n```\n")[1].split("\n```")[0].splitlines()
    assert [line.partition("  ")[0] for line in drawn] == LAYERS


def test_architecture_md_names_every_part_of_the_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {f"{path.parent.name}/" for path in (ROOT / "greenrun").glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / "greenrun").glob("*.py") if path.name != "__init__.py"}
    core = {path.name for path in (ROOT / "greenrun" / "core").glob("*.py") if path.name != "__init__.py"}
    assert {name for name in folders | modules | core if name not in text} == set()
