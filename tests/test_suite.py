"""The tests' own house: what they share lies beside its subject, and one seed draws the same tests again."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.sampling import Effort, left_out

TESTS = Path(__file__).parent


def imported(source: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def borrowed(source: str) -> list[str]:
    """Return what a module imports out of test modules."""
    return [
        name
        for name in imported(source)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]


def test_no_test_module_is_imported_by_another() -> None:
    """What several need lies in a module without tests, in the folder of its subject."""
    files = {path.relative_to(TESTS): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    assert {str(path): found for path, source in files.items() if (found := borrowed(source))} == {}


def test_a_test_module_that_is_imported_by_another_is_found() -> None:
    for line in ("from tests.a.test_b import c", "from tests.a import test_b", "import tests.test_b as d"):
        assert len(borrowed(line)) == 1


def test_a_user_s_run_leaves_out_some_modules_by_the_seed_and_others_none() -> None:
    modules = [f"test_{number}.py" for number in range(24)]
    left = left_out(modules, "a label", user=1 / 4, effort=Effort.USER)
    assert len(left) == 18
    assert left == left_out(modules, "a label", user=1 / 4, effort=Effort.USER)
    assert left != left_out(modules, "another label", user=1 / 4, effort=Effort.USER)
    assert left_out(modules, "a label", user=1 / 4, effort=Effort.CI) == []
    assert left_out(modules, "a label", user=1 / 4, effort=Effort.LONG) == []
