"""The command line as a whole: quick to load, helpful when misused, quiet when interrupted."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest

import greenrun
from greenrun.cli.app import _CALLED_ELSEWHERE, COMMANDS, load
from greenrun.config.models import PlannerSettings
from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi, problem
from tests.patience import HANGS_S

HEAVY = (
    "sqlmodel sqlalchemy fastapi starlette numpy httpx pydantic pydantic_core plotly jinja2 uvicorn rich alembic "
    "structlog"
)
PROBE = f"""
import sys
from greenrun.cli.app import main
code = main(sys.argv[1:])
print(code, sorted(set({HEAVY.split()!r}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["submit", "--help"], ["submit", "--finish-by", "tomorrow 18:00", "--", "true"], ["list"],
        ["explain", "12"], ["show", "12"], ["cancel", "12"], ["wait", "12"], ["config", "path"],
    ],
)  # fmt: skip
def test_no_database_web_number_or_table_library_is_loaded(api: FakeApi, words: list[str]) -> None:
    api.post("/v1/jobs", job(), 201)
    api.get("/v1/jobs", [job()])
    api.get("/v1/jobs/12", job(state="succeeded"))
    api.get("/v1/jobs/12/explain", {"sentences": ["It waits."]})
    api.post("/v1/jobs/cancel", [{"id": 12, "job": job(), "problem": None}])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], capture_output=True, text=True, timeout=HANGS_S, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("ls", "list"), ("status", "list"), ("squeue", "list"), ("kill", "cancel"), ("run", "submit"), ("help", "--help")],
)
def test_what_is_called_otherwise_elsewhere_is_named(run: Run, word: str, meant: str) -> None:
    ran = run(word, "1")
    assert (ran.code, f"No such command '{word}'. Did you mean '{meant}'?" in ran.err) == (2, True)


def test_no_word_of_elsewhere_hides_a_command() -> None:
    words = [word for named in _CALLED_ELSEWHERE.values() for word in named.split()]
    assert (set(words) & set(COMMANDS), len(words) - len(set(words))) == (set(), 0)
    assert {name for name in _CALLED_ELSEWHERE if name[0] != "-"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"Usage: greenrun {name}" in ran.out
    assert load(name).help


def _pages() -> Iterator[tuple[str, ...]]:
    yield ()
    for name in COMMANDS:
        yield (name,)
        command = load(name)
        yield from ((name, each) for each in (command.commands if isinstance(command, click.Group) else ()))


def test_every_page_of_help_fits_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pages = list(_pages())
    assert {("submit",), ("config", "units")} < set(pages)
    wide = [line for names in pages for line in run(*names, "--help").out.splitlines() if len(line) > 80]
    assert wide == []


def test_the_commands_and_exit_codes_are_listed(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.split("Commands:\n")[1].splitlines()[: len(COMMANDS)]] == list(COMMANDS)
    assert "7 storage full" in ran.out


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").out == f"greenrun {greenrun.__version__}\n"


def test_a_misspelt_command_is_usage_and_gets_a_suggestion(run: Run) -> None:
    ran = run("submti")
    assert (ran.code, ran.out) == (2, "")
    assert "Did you mean 'submit'?" in ran.err


def test_an_unknown_option_is_usage(run: Run) -> None:
    assert run("list", "--frobnicate").code == 2


def test_a_number_that_is_none_is_usage(run: Run) -> None:
    ran = run("show", "0")
    assert (ran.code, ran.err) == (2, "error: '0' is not a job's number; `greenrun list` shows them\n")


def test_a_refusal_as_json_is_the_api_s_own(api: FakeApi, run: Run) -> None:
    refusal = problem(409, "not possible in this state", "Job 12 is finished.", (("state", "is succeeded"),))
    api.get("/v1/plan", refusal, 409)
    ran = run("plan", "--json")
    assert (ran.code, json.loads(ran.err)) == (2, refusal)


@pytest.mark.parametrize(
    ("words", "code", "title"),
    [(["show", "0"], 2, "usage"), (["plan", "--socket", "/nowhere/s"], 5, "not reachable")],
)
def test_an_error_of_the_command_line_s_own_as_json_is_a_problem_without_a_status(
    run: Run, words: list[str], code: int, title: str
) -> None:
    ran = run(*words, "--json")
    told = json.loads(ran.err)
    assert told.pop("detail")
    kind = f"urn:greenrun:problem:{title.replace(' ', '-')}"
    assert (ran.code, told) == (code, {"type": kind, "title": title, "errors": []})


def test_an_interrupt_ends_quietly_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("greenrun.client.ApiClient.plan", interrupted)
    ran = run("plan", "--socket", "/nowhere")
    assert (ran.code, ran.out, ran.err) == (130, "", "")


def test_a_reader_that_goes_away_ends_it_quietly(api: FakeApi) -> None:
    api.get("/v1/jobs", [job(number) for number in range(1, 3000)])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "greenrun.cli", "list", "--all"]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=HANGS_S, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("loads", ["", "import atexit; atexit.register(print, 'at exit', file=sys.stderr)"])
def test_the_process_leaves_with_the_code_and_all_that_was_printed(api: FakeApi, loads: str) -> None:
    """The short way out, and the long one where somebody asked to be called at exit."""
    api.get("/v1/jobs", [job(number) for number in range(1, 1000)])
    script = f"import sys; {loads}\nfrom greenrun.cli.__main__ import run; run()"
    command = [sys.executable, "-c", script]
    done = subprocess.run([*command, "list", "--all"], capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1000)
    assert done.stderr == ("at exit\n" if loads else "")
    done = subprocess.run([*command, "show", "0"], capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: '0' is not a job's number")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("--help",), ("cancel", "1")])
def test_output_that_cannot_be_written_is_told_without_a_traceback(api: FakeApi, words: tuple[str, ...]) -> None:
    api.get("/v1/jobs", [job(1)])
    api.post("/v1/jobs/1/cancel", job(1))
    api.post("/v1/jobs/cancel", [{"id": 1, "job": job(1), "problem": None}])
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "greenrun.cli", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Errno" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_gone_is_told_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ran = run("submit", "true")
    assert (ran.code, ran.err.startswith("error: the system refused: ")) == (1, True)


def test_serve_hands_the_settings_of_the_file_to_the_daemon(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[timedelta] = []
    monkeypatch.setattr("greenrun.daemon.main_loop.serve", lambda config: given.append(config.planner.tick) or 7)
    (tmp_path / "own.toml").write_text('planner.tick = "7s"\n')
    assert run("serve", "--config", str(tmp_path / "own.toml")).code == 7
    assert run("--config", "own.toml", "serve").code == 7
    assert run("serve").code == 7
    assert given == [timedelta(seconds=7), timedelta(seconds=7), PlannerSettings().tick]


def test_what_is_wrong_in_the_settings_is_told_before_the_daemon_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("nonsense = 1\n")
    command = [sys.executable, "-c", PROBE, "serve", "--config", str(tmp_path / "bad.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert (done.stdout, "nonsense: unknown key" in done.stderr) == (
        "78 ['numpy', 'pydantic', 'pydantic_core']\n",
        True,
    )


def test_a_shell_completes_the_commands(api: FakeApi) -> None:
    asked = {"_GREENRUN_COMPLETE": "bash_complete", "COMP_WORDS": "greenrun sta", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "greenrun.cli"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.stdout.split() == ["plain,start-now"]
