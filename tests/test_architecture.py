"""The layers hold: what pyproject.toml says of imports is true of the code, and each rule there catches its breach."""

import ast
import builtins
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.patience import HANGS_S

ROOT = Path(__file__).parents[1]
LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True, no_logo=True))
"""

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
CONTRACTS = TOOLS["importlinter"]["contracts"]

PURE_BUILTINS = {
    *("ArithmeticError", "AssertionError", "Exception", "KeyError", "LookupError", "OverflowError", "StopIteration"),
    *("TypeError", "ValueError", "ZeroDivisionError", "__name__", "abs", "all", "any", "bool", "bytes", "callable"),
    *(
        "classmethod",
        "dict",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "frozenset",
        "getattr",
        "hasattr",
        "hash",
        "int",
    ),
    *("isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next", "object", "pow", "property"),
    *("range", "repr", "reversed", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "super", "tuple"),
    *("type", "zip"),
}


class Breach(NamedTuple):
    """A line that breaks a contract when it stands at the end of a module, and the import that is told."""

    contract: str
    module: str
    code: str
    told: str


LAZY = "def _late():\n    {}\n"
BREACHES = [
    Breach("imports go down only", "store.records", "import greenrun.engine.engine", "greenrun.engine.engine"),
    Breach("imports go down only", "meters.none", "from greenrun.providers import web", "greenrun.providers.web"),
    Breach("imports go down only", "core.units", LAZY.format("import greenrun.client"), "greenrun.client"),
    Breach(
        "imports go down only, inside the engine", "engine.ports",
        "import greenrun.engine.runs", "greenrun.engine.runs",
    ),
    Breach(
        "imports go down only, inside the core", "core.carbon.blend",
        "from greenrun.core.planning import planner", "greenrun.core.planning.planner",
    ),
    Breach(
        "imports go down only, inside the core", "core.units",
        LAZY.format("from greenrun.core.jobs.job import Job"), "greenrun.core.jobs.job",
    ),
    *(
        Breach("the core imports itself, numpy and the standard library's pure modules", f"core.{module}", code, told)
        for module, code, told in [
            ("planning.planner", "import os.path", "os"),
            ("planning.improvement.repair", LAZY.format("from pathlib import Path"), "pathlib"),
            ("carbon.blend", "import importlib", "importlib"),
            ("energy.model", "from io import open", "io"),
            ("jobs.job", "from greenrun import clock", "greenrun.clock"),
            ("jobs.reasons", LAZY.format("import random"), "random"),
            ("jobs.status", "import pydantic", "pydantic"),
        ]
    ),
    Breach("greenrun imports only what is listed", "cli.text", "import multiprocessing", "multiprocessing"),
    Breach("greenrun imports only what is listed", "reports.rows", LAZY.format("import pandas"), "pandas"),
    Breach("only the store knows SQL", "engine.queue", "import sqlite3", "sqlite3"),
    Breach("only the store knows SQL", "engine.runs", LAZY.format("import sqlite3.dbapi2"), "sqlite3"),
    Breach("only the store knows SQL", "api.views", "if False:\n    from sqlmodel import Session", "sqlmodel"),
    Breach("only the store knows SQL", "daemon.daemon", "from sqlalchemy.orm import Session", "sqlalchemy"),
    Breach("only the store knows SQL", "cli.serve", LAZY.format("import alembic"), "alembic"),
    Breach("only providers ask over HTTP", "grid.backfill", "import httpx", "httpx"),
    Breach("only these speak TLS", "grid.backfill", "import ssl", "ssl"),
    Breach("only the client speaks HTTP by h11", "api.server", "import h11", "h11"),
    Breach("only the systemd executor speaks D-Bus", "daemon.systemd", LAZY.format("import jeepney"), "jeepney"),
    Breach("only these open sockets", "engine.zone", "import socket", "socket"),
    Breach("only the API and the page serve the web", "daemon.wiring", "from fastapi import FastAPI", "fastapi"),
    Breach("only the API and the page serve the web", "meters.sampler.wire", "import asyncio", "asyncio"),
    Breach("only the command line draws on the terminal", "reports.cells", "import rich", "rich"),
    Breach("only these make pages", "cli.options", LAZY.format("import plotly.graph_objects"), "plotly"),
    Breach("only these start other processes", "executors.spawn", "import subprocess", "subprocess"),
    Breach("only these send or catch signals", "engine.engine", "import signal", "signal"),
    Breach("only the edges run threads", "engine.engine", "import threading", "threading"),
    Breach("only the edges run threads", "simulation.play", "from concurrent.futures import Future", "concurrent"),
    Breach("only the edges read a clock", "engine.engine", "from time import monotonic", "time"),
    Breach("only the edges touch the operating system", "engine.engine", "from os import environ", "os"),
    Breach("only these call into C", "daemon.systemd", "import ctypes", "ctypes"),
    Breach("only the drivers of GPUs load their makers' libraries", "meters.gpu.amd", "import pynvml", "pynvml"),
    Breach("only the demonstration looks at processes by psutil", "meters.cpu.cpu_time", "import psutil", "psutil"),
    Breach("only these import by name", "engine.engine", "from importlib import import_module", "importlib"),
    Breach("only the metrics speak Prometheus", "engine.zone", "import prometheus_client", "prometheus_client"),
    Breach("only functions that are jobs are pickled", "store.records", "import pickle", "pickle"),
    Breach("only training programs' callbacks import a framework", "measuring.measurement", "import torch", "torch"),
    Breach("only the borders are pydantic models", "engine.zone", "from pydantic import BaseModel", "pydantic"),
    Breach("only the daemon's clockwork is APScheduler", "grid.backfill", "import apscheduler", "apscheduler"),
]  # fmt: skip


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the package in a folder to the contracts that stand beside it."""
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, timeout=HANGS_S, check=False
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What import-linter says under each contract that is broken, of a copy of the package with every breach in it."""
    folder = tmp_path_factory.mktemp("breached")
    shutil.copytree(ROOT / "greenrun", folder / "greenrun", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in ("pyproject.toml", "tests/__init__.py", "tests/import_contracts.py"):
        shutil.copy(ROOT / name, folder / name)
    for breach in BREACHES:
        with (folder / "greenrun" / f"{breach.module.replace('.', '/')}.py").open("a", encoding="utf-8") as module:
            module.write(f"\n{breach.code}\n")
    done = lint(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    sections = done.stdout.split("\nBroken contracts\n")[1]
    heads = {contract["name"]: f"\n{contract['name']}\n{'-' * len(contract['name'])}\n" for contract in CONTRACTS}
    starts = sorted((sections.index(head), name) for name, head in heads.items() if head in sections)
    ends = [start for start, _ in starts[1:]] + [len(sections)]
    return {name: sections[start:end] for (start, name), end in zip(starts, ends, strict=True)}


@pytest.mark.slow
def test_every_contract_of_imports_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contract_has_a_breach() -> None:
    assert {breach.contract for breach in BREACHES} == {contract["name"] for contract in CONTRACTS}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.module} {breach.told}")
def test_a_breach_is_told_under_the_contract_that_it_breaks(told: dict[str, str], breach: Breach) -> None:
    assert f"greenrun.{breach.module} -> {breach.told} (l." in told.get(breach.contract, "it is not broken")


# what imports do not show


def trees(folder: Path) -> dict[str, ast.Module]:
    """The modules under a folder, parsed."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_bytes()) for path in sorted(folder.rglob("*.py"))}


def names(tree: ast.AST) -> set[str]:
    """The names that a module reads, without those that it binds itself."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in found if not isinstance(node.ctx, ast.Load)}
    return {node.id for node in found} - bound


def impure(tree: ast.AST) -> set[str]:
    """The builtins in a module that reach beyond it, or may, and what it takes of `sys` but the largest size."""
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    of_sys = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "sys"}
    return (names(tree) & set(dir(builtins))) - PURE_BUILTINS | {f"sys.{name}" for name in of_sys - {"maxsize"}}


def test_the_core_uses_no_builtin_that_reaches_the_world() -> None:
    assert {path: found for path, tree in trees(ROOT / "greenrun" / "core").items() if (found := impure(tree))} == {}
    assert [impure(ast.parse(line)) for line in ("open('x')", "__import__('os')", "sys.modules['os']", "print(1)")] == [
        {"open"}, {"__import__"}, {"sys.modules"}, {"print"},
    ]  # fmt: skip


def test_no_module_imports_or_runs_what_a_string_says() -> None:
    ways_round = {"__import__", "eval", "exec", "compile", "__builtins__"}
    assert {path: found for path, tree in trees(ROOT / "greenrun").items() if (found := names(tree) & ways_round)} == {}


CLOCKS = """\
import asyncio, datetime as dt, time
from datetime import UTC, date, datetime

datetime.now(UTC)
datetime.utcnow()
datetime.today()
date.today()
dt.datetime.now(dt.UTC)
time.time()
from time import time as now
time.time_ns()
time.clock_gettime(0)
time.localtime()
time.gmtime()
time.sleep(1)
asyncio.sleep(1)
"""
CLOCK_IMPORTS = 2


@pytest.mark.parametrize(("path", "is_clock"), [("greenrun/engine/engine.py", False), ("greenrun/clock.py", True)])
def test_the_wall_clock_is_read_and_slept_by_in_clock_py_alone(path: str, is_clock: bool) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--output-format", "json"]
    done = subprocess.run(
        [*ruff, "--stdin-filename", path, "-"], input=CLOCKS, cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = {row["location"]["row"] for row in json.loads(done.stdout)}
    reads = {row for row, line in enumerate(CLOCKS.splitlines(), start=1) if row > CLOCK_IMPORTS and line}
    assert told == (set() if is_clock else reads)


# what the command line waits for before it answers

HEAVY = {
    *("alembic", "apscheduler", "fastapi", "httpx", "importlib.metadata", "jinja2", "numpy", "plotly"),
    *("prometheus_client", "pydantic", "pydantic_core", "pydantic_settings", "rich", "sqlalchemy", "sqlmodel"),
    *("starlette", "structlog", "uvicorn"),
}


@pytest.mark.parametrize(
    "code",
    [
        "import greenrun.cli.app",
        "import greenrun.client",
        "from greenrun.paths import find_socket; find_socket()",
        "import greenrun.training",
        "import greenrun",
    ],
)
def test_the_quick_path_loads_nothing_heavy(code: str) -> None:
    probe = f"import sys; {code}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"


def test_a_daemon_that_shows_no_page_does_not_hold_what_makes_pages() -> None:
    probe = "import sys, greenrun.daemon.daemon; print(sorted({'jinja2', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"


# what is found at a glance

MOST_MODULES = 20


def test_no_folder_has_more_modules_than_one_can_look_over() -> None:
    """Migrations alone are as many as there have been."""
    folders = [folder for folder in (ROOT / "greenrun").rglob("*") if folder.is_dir() and folder.name != "versions"]
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


# one name for one thing

SAME_CLASS = {
    "Books": "stored, and as a report looks at them",
    "Change": "a kind of event in the store's journal; a figure's change in a report of two periods",
    "Counters": "of a device, emulated; the totals that outlive restarts, as forecast quality counts them",
    "ConstantSettings": "of a meter: as the file has them, and as the meter is given them",
    "EmulatedSettings": "likewise",
    "Executor": "the port of runs, and submitit's word for what submits functions",
    "Figures": "what a comparison of policies found; a row of a report. Both are headed so for their readers",
    "Held": "GPUs until a job's end, for a sentence; how long runs held devices, for a report",
    "Job": "as the core decides about it, and as the Python client shows it",
    "Log": "a run's, to be shown and to be written",
    "Members": "processes of a run; runs of a group, in a report",
    "Owner": "of a budget, of what was used in a period",
    "Place": "of a row in a plan, of a host in a report",
    "Problem": "that an input has; that the planner solves, as optimisation calls it",
    "Role": "of a caller, towards a job; of a source, for a zone",
    "Schedule": "the planner's, changed in place; a policy's, as it was played",
    "Standing": "of a budget, of an account by fair share",
    "Store": "the port, and what the daemon plugs into it",
}
LAYERS_OF_ONE_SUBJECT = {
    *(
        "accounting",
        "anomalies",
        "availability",
        "baseline",
        "baselines",
        "budget",
        "budgets",
        "charged_hours",
        "devices",
        "electricity",
        "estimate",
    ),
    "events",
    *("fair_share", "forecast", "forecast_quality", "grid", "history", "identity", "jobs", "model"),
    *("outlook", "problems", "reports", "reservations", "runs", "schedule", "settings", "status", "stray_runs"),
    *("ports", "power_limits", "submit", "trace", "trail", "zones"),
}
SAME_MODULE = {
    "app": "the API's and the command line's: what each is started by",
    "columns": "of a CSV file, of a table",
    "command": "of the command line; that a meter runs",
    "counters": "the store's totals, the emulated devices'",
    "page": "of a report, of a comparison: what each is as HTML",
    "play": "a demonstration, a simulation",
    "tables": "of the database, on a terminal",
    "values": "of settings, of a CSV file",
    "web": "what asks over HTTP: for a meter, for a provider",
}


def test_two_public_classes_share_a_name_only_for_a_reason() -> None:
    assert doubles(public_classes()) - set(SAME_CLASS) == set()


def test_two_modules_share_a_name_only_for_one_subject_in_its_layers_or_a_reason() -> None:
    modules = [path.stem for path in sources() if not path.stem.startswith("__") and "migrations" not in path.parts]
    assert doubles(modules) - LAYERS_OF_ONE_SUBJECT - set(SAME_MODULE) == set()


def sources() -> list[Path]:
    return sorted((ROOT / "greenrun").rglob("*.py"))


def public_classes() -> list[str]:
    told = ROOT / "greenrun" / "client" / "answers.py"  # its classes are the core's own things, as the API tells them
    nodes = (node for path in sources() if path != told for node in ast.parse(path.read_text(encoding="utf-8")).body)
    return [node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def doubles(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}
