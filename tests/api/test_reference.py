"""The pages on the HTTP API and the Python client name what there is, and their examples work."""

import ast
import inspect
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenrun.api.app import create_tcp_app
from greenrun.api.problems import TITLES
from greenrun.api.serving.server import serve_in_thread
from greenrun.api.serving.unix_socket import bind_unix
from greenrun.client import ClientError, client_errors
from greenrun.client.public_client import Client
from greenrun.client.submitted_job import Job
from tests.api.fakes import NOW, World
from tests.api.reference import BEGIN, END, chapter, openapi
from tests.conftest import require
from tests.patience import HANGS_S

DOCS = Path(__file__).parents[2] / "docs"
API, CLIENT = ((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "python-client.md"))
OPENAPI = openapi()
ROUTES = {
    f"{method.upper()} {path}": operation
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
}


@pytest.fixture
def socket(world: World, tmp_path: Path) -> Iterator[Path]:
    """The socket of an API over an empty store."""
    path = tmp_path / "run" / "greenrun.sock"
    metrics_app = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    handle = serve_in_thread(world.app, bind_unix(path), metrics_app, None)
    yield path
    handle.stop()


def sections(text: str) -> dict[str, str]:
    """The sections of routes by method and path."""
    parts = re.split(r"^### `(.+)`\n", text[: text.index(BEGIN)], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[str]:
    """What stands as code in the first column of tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def example(text: str, language: str) -> str:
    """The first fenced block of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[0]


def test_every_route_has_a_section_and_every_section_a_route() -> None:
    assert sorted(sections(API)) == sorted(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_s_section_has_its_parameters_and_no_other(route: str) -> None:
    wanted = [row["name"] for row in ROUTES[route].get("parameters", ()) if row["in"] == "query"]
    assert rows(sections(API)[route]) == wanted


def test_the_models_are_as_the_api_itself_says() -> None:
    """Print them with `python -m tests.api.reference`, and put them between the marks."""
    assert API[API.index(BEGIN) + len(BEGIN) : API.index(END)] == chapter()


def test_every_status_of_a_refusal_is_told_with_its_title() -> None:
    table = API[API.index("## Errors") : API.index("## Limits")]
    assert [title for title in TITLES if f"`{title}`" not in table] == []
    stated = {int(code) for route in ROUTES.values() for code in route["responses"] if int(code) >= 400}
    assert stated - {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == set()


@pytest.mark.system
def test_the_examples_with_curl_work(world: World, socket: Path) -> None:
    done = subprocess.run(
        ["sh", "-e", "-c", example(API, "sh")],
        env={"PATH": os.defpath, "GREENRUN_SOCKET": str(socket), "CURL": str(require("curl"))},
        capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert world.store.jobs.job(1).held


def test_every_method_of_the_client_is_in_its_page_as_it_is() -> None:
    forms = [
        f"{name}({', '.join(_parameters(found))})"
        for kind in (Client, Job)
        for name, found in vars(kind).items()
        if inspect.isfunction(found) and name[0] != "_"
    ]
    kinds = [
        name for name, found in vars(client_errors).items() if inspect.isclass(found) and issubclass(found, ClientError)
    ]
    assert rows(CLIENT) == [*forms, *(name for name in kinds if name != "ClientError")]


def _parameters(function: Any) -> Iterator[str]:
    signs = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    for name, found in inspect.signature(function).parameters.items():
        if name != "self":
            sign = signs.get(found.kind, "")
            yield f"{sign}{name}" if found.default is found.empty else f"{name}={found.default!r}"


def test_the_client_s_example_works(
    world: World, socket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENRUN_SOCKET", str(socket))
    exec(example(CLIENT, "python"), {})
    assert f"1 queued {world.scheduler.tried.reason.text}\n" in capsys.readouterr().out
    assert not world.store.jobs.job(1).held


def test_the_notebook_runs_and_each_answer_shows_itself(
    world: World, socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells run one after the other, as a notebook runs them; what ends a cell is shown, as HTML where it can."""
    monkeypatch.setenv("GREENRUN_SOCKET", str(socket))
    cells = json.loads((DOCS / "examples" / "client.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in (each for each in cells if each["cell_type"] == "code"):
        *steps, last = ast.parse("".join(cell["source"])).body
        is_value = isinstance(last, ast.Expr)
        exec(compile(ast.Module([*steps, *([] if is_value else [last])], []), "notebook", "exec"), names)
        value = (
            eval(compile(ast.Expression(last.value), "notebook", "eval"), names) if isinstance(last, ast.Expr) else None
        )
        shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert [job.cancel_requested for job in names["client"].jobs()] == [True] * 5
    assert [text.count("<div><strong>") for text in shown if text.startswith("<div>")] == [1] * 4
