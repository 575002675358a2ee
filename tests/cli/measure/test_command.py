"""A command under `greenrun measure` is as it would be without: its exit code, output and options."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenrun.measuring import measurement
from greenrun.measuring.measurement import READING_LIMIT_S
from tests.cli.conftest import Run
from tests.cli.measure.runs import COMMAND, NOTHING, PLUG, PRICED, Settings, answer, measured
from tests.patience import HANGS_S, watching


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_the_command_s_own(run: Run, script: str, code: int) -> None:
    ran = run("measure", *NOTHING, "--json", "--", "sh", "-c", script)
    assert (ran.code, answer(ran.out)["exit_code"]) == (code, code)


def test_what_cannot_be_executed_is_told_as_a_shell_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    missing, plain = run("measure", *NOTHING, "--", "no-such-command"), run("measure", *NOTHING, "--", "./plain")
    assert (missing.code, plain.code) == (127, 126)
    assert missing.err.splitlines()[-1] == "error: there is no command 'no-such-command'; nothing was run"


@pytest.mark.system
def test_a_command_that_cannot_be_run_is_told_of_at_once(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "READING_LIMIT_S", READING_LIMIT_S)
    config = settings(PRICED + PLUG.replace('"3s"', '"30s"'))
    with watching() as watch:
        assert run("measure", "--config", str(config), "--", "no-such-command").code == 127
    assert watch.seconds < 15


@pytest.mark.parametrize("words", [("--output", "/dev/full"), ("--json",)])
def test_a_result_that_cannot_be_written_changes_nothing_of_how_the_command_ended(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *NOTHING, *words, "--", "sh", "-c", "exit 4"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert "what was measured cannot be written (No space left on device); the command ran" in done.stderr


def test_output_is_the_command_s_own_and_the_summary_goes_to_stderr() -> None:
    done = measured(*NOTHING, "--", "sh", "-c", "echo out; echo err >&2; cat", given="in\n")
    assert done.stdout == "out\nin\n"
    assert done.stderr.splitlines()[0] == "err"
    assert "energy unknown: no meter is named" in done.stderr


def test_the_command_s_options_are_its_own() -> None:
    done = measured(*NOTHING, "sh", "-c", "echo $0 $1", "--json", "--for")
    assert done.stdout == "--json --for\n"


def test_json_may_go_to_a_file(tmp_path: Path) -> None:
    done = measured(*NOTHING, "--output", str(tmp_path / "energy.json"), "--", "echo", "out")
    assert done.stdout == "out\n"
    assert json.loads((tmp_path / "energy.json").read_text())["exit_code"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "20"), "--for: '20' has no unit"),
        (("--for", "0s"), "--for: it must be longer than nothing"),
        (("--for", "2s", "--", "true"), "leave one out"),
        (
            ("--output", "/nonexistent/energy.json", "--", "true"),
            "--output: /nonexistent/energy.json cannot be written",
        ),
    ],
)
def test_bad_usage_is_a_sentence_and_runs_nothing(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("measure", *words)
    assert ran.code == 2
    assert said in ran.err


def test_an_unknown_meter_is_refused_before_anything_runs(run: Run, tmp_path: Path) -> None:
    ran = run("measure", "--meter", "watts", "--", "touch", "ran")
    assert ran.code == 78
    assert "'watts' is not a meter" in ran.err
    assert not (tmp_path / "ran").exists()


def test_how_a_command_ended_is_known_where_nobody_waits_for_children() -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", code, *COMMAND, *NOTHING, "--", "sh", "-c", "exit 4"]
    assert subprocess.run(words, capture_output=True, timeout=HANGS_S, check=False).returncode == 4


def test_it_loads_nothing_heavy_where_there_is_nothing_to_price() -> None:
    script = (
        "import sys; from greenrun.cli.app import main;"
        "main(['measure', '--meter', 'none', '--cpu-meter', 'none', 'true']);"
        "print([name for name in ('numpy', 'pydantic', 'httpx', 'sqlmodel', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"
