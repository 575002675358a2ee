"""Job files in TOML and YAML, from a file or standard input: the same jobs, and the same refusals with their places."""

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi, problem

TOML = """
[[job]]
command = "sh -c 'a b'"
duration = "6h"
gpus = 2
labels = { team = "x" }
now = true
[[job]]
command = ["true", "0.01"]
finish-by = "2030-01-01T18:00Z"
grid = { lr = [1e-5, 1e-3], opt = ["adam"] }
env = { A = "1" }
after = [7, "8:any"]
"""
YAML = """
- command: sh -c 'a b'
  duration: 6h
  gpus: 2
  labels: {team: x}
  now: true
- command: ["true", 0.01]
  finish-by: 2030-01-01T18:00Z
  grid:
    lr: [1e-5, 1e-3]
    opt: [adam]
  env: {A: 1}
  after: [7, 8:any]
"""


@pytest.fixture(autouse=True)
def accepting(api: FakeApi) -> None:
    api.post("/v1/jobs", [job(1), job(2)], 201)


def feed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let standard input hold this text."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_both_forms_state_the_same_from_a_file_and_from_standard_input(
    api: FakeApi, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs.toml").write_text(TOML)
    (tmp_path / "jobs.yaml").write_text(YAML)
    (tmp_path / "jobs").write_text(f"jobs:\n{YAML}")
    for name in ("jobs.toml", "jobs.yaml", "jobs"):
        assert run("submit", "--file", name).code == 0
    for text in (TOML, YAML, f"job:{YAML}"):
        feed(monkeypatch, text)
        assert run("submit", "--file", "-").code == 0
    first = api.asked[0].body
    assert [asked.body for asked in api.asked] == [first] * 6
    assert (first[0]["command"], first[0]["labels"], first[0]["start_now"]) == (
        ["sh", "-c", "a b"],
        {"team": "x"},
        True,
    )
    assert (first[1]["command"], first[1]["env"]["A"]) == (["true", "0.01"], "1")
    assert first[1]["grid"] == {"lr": ["1e-5", "1e-3"], "opt": ["adam"]}
    assert first[1]["after"] == [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}]


def test_a_file_may_state_one_job_alone(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("command: sh\nname: a\n", 'command = "true"\nname = "a"\n', '{"command": ["true"], "name": "a"}'):
        feed(monkeypatch, text)
        run("submit", "--file", "-")
    assert [[row["name"] for row in asked.body] for asked in api.asked] == [["a"]] * 3


def test_the_form_is_told_from_the_first_line_that_says_something(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = (
        "# a = 1\n\n- command: true\n  name: |\n    x = 1\n",
        "\n# - x\n[[ job ]]\ncommand = 'true'\nname = '''x = 1'''\n",
    )
    for text in texts:
        feed(monkeypatch, text)
        assert run("submit", "--file", "-").code == 0
    assert [asked.body[0]["command"] for asked in api.asked] == [["true"]] * 2
    assert [asked.body[0]["name"].strip() for asked in api.asked] == ["x = 1"] * 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("- command: ['true']\n  gpus: two\n- gpu: 1\n", [
            "job 1: gpus: 'two' is not a whole number from 0 up",
            "job 2: gpu: there is no such option; see greenrun submit --help",
            "job 2: command: there is no command to run; name it last, like: "]),
        ("- command: ['true']\n  name: [a, b]\n  finish-by: 2030-01-01\n  finish_by: 18:00\n", [
            "job 1: name: needs one value", "job 1: finish_by: is said by finish-by already"]),
        ("- command: \"sh -c 'a\"\n", ["job 1: command: cannot be split into words: No closing quotation"]),
        ("- command: [sh, {a: b}]\n  name: {a: b}\n", [
            "job 1: name: needs one value",
            "job 1: command: must be a text, or a list of the program and its arguments"]),
        ("- command: ['true']\n  now: 'yes'\n  name:\n", [
            "job 1: now: say true or false", "job 1: name: needs one value"]),
        ("- command: no-such-program\n- a\n", ["job 2: is not a table of options with their values"]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told_at_once_with_its_place(
    api: FakeApi, run: Run, tmp_path: Path, text: str, lines: list[str]
) -> None:
    (tmp_path / "jobs.yml").write_text(text)
    ran = run("submit", "--file", "jobs.yml")
    assert (ran.code, [asked.query for asked in api.asked if "dry_run" not in asked.query]) == (2, [])
    told = ran.err.replace("error: no job of jobs.yml was submitted: ", "")
    assert [
        line for line in lines if line.replace("job 2: is not", "job 2 is not") not in told and line not in told
    ] == []


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.toml", "[[job]\n", "cannot read jobs from a.toml: "),
        ("a.yaml", "- a: [1\n", "a.yaml: line 2 cannot be read: did not find expected ',' or ']'"),
        ("a.toml", "[[task]]\ncommand = 'x'\n", "a.toml lists no jobs"),
        ("a.yaml", "", "a.yaml lists no jobs"),
        ("a.toml", "[defaults]\ngpus = 1\n[[job]]\ncommand = 'true'\n", "'defaults' is no list of jobs"),
        ("a.yaml", "a: \udce9\n", "a.yaml: "),
        ("none.toml", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    api: FakeApi, run: Run, tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    ran = run("submit", "--file", name)
    assert (ran.code, api.changes) == (2, [])
    assert why in ran.err


def test_what_the_daemon_refuses_is_told_by_job_and_key(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(TOML)
    errors = (("[1].start_after", "contradicts --now"), ("[0].env", "is set by greenrun"))
    detail = "; ".join(f"{field}: {message}" for field, message in errors)
    api.post("/v1/jobs", problem(422, "invalid job", detail, errors), 422)
    ran = run("submit", "--file", "jobs.toml")
    assert ran.err.splitlines() == [
        "error: these are wrong", "  job 2: --start-after: contradicts --now", "  job 1: --env: is set by greenrun",
    ]  # fmt: skip


def test_what_the_daemon_would_refuse_is_told_with_what_is_wrong_here(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- command: nosuch\n- command: sh\n- command: sh\n  now: true\n- gpu: 1\n")
    api.post("/v1/jobs", problem(422, "invalid job", "No.", (("[2].start_now", "is refused"),)), 422)
    ran = run("submit", "--file", "jobs.yaml")
    assert [line.split(": ")[:2] for line in ran.err.splitlines()[1:]] == [
        ["  job 1", "COMMAND"], ["  job 3", "--now"], ["  job 4", "gpu"], ["  job 4", "command"],
    ]  # fmt: skip
    assert api.changes == []


def test_without_a_daemon_what_is_wrong_here_is_told_all_the_same(run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- command: nosuch\n- command: sh\n")
    ran = run("submit", "--file", "jobs.yaml", "--socket", str(tmp_path / "none"))
    assert (ran.code, "job 1: COMMAND" in ran.err) == (2, True)


def test_the_lines_of_a_script_count_in_a_file_too_and_its_keys_win(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    script = tmp_path / "sub/train.sh"
    script.write_text("#!/bin/sh\n#GREENRUN --gpus 4 --name own\n#SBATCH --mem=1G --dependency=afterok:7\n")
    script.chmod(0o755)
    (tmp_path / "jobs.yaml").write_text("- command: ./train.sh 1\n  workdir: sub\n  name: file\n")
    ran = run("submit", "--file", "jobs.yaml")
    (sent,) = api.asked[0].body
    assert (sent["command"], sent["gpus"], sent["name"]) == ([str(script), "1"], 4, "file")
    assert (sent["after"], "--mem=1G" in ran.err) == ([{"job": 7, "on": "ok"}], True)
    script.write_text("#!/bin/sh\n#SBATCH --dependency=singleton\n")
    assert "job 1: train.sh line 2: #SBATCH --dependency: " in run("submit", "--file", "jobs.yaml").err


@pytest.mark.parametrize(
    "text",
    ["- command: |\n    python a.py\n    python b.py\n", '[[job]]\ncommand = """\npython a.py\npython b.py\n"""\n',
     "- command: |\n    cd x\n\n    echo 'two\n    lines'\n"],
)  # fmt: skip
def test_a_command_of_several_lines_is_refused(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    feed(monkeypatch, text)
    ran = run("submit", "--file", "-")
    assert (ran.code, "job 1: command: has several lines" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- command: |\n    sh -c \\\n      true\n", ["sh", "-c", "true"]),
        ("- command: >\n    sh -c\n    true\n", ["sh", "-c", "true"]),
        ("- command: |\n    sh -c 'a\n    b'\n", ["sh", "-c", "a\nb"]),
        ('[[job]]\ncommand = """\nsh -c true\n"""\n', ["sh", "-c", "true"]),
    ],
)
def test_a_line_that_goes_on_is_one_command(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    feed(monkeypatch, text)
    assert run("submit", "--file", "-").code == 0
    assert api.asked[0].body[0]["command"] == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[job]]\ncommand = "true"\n[[jobs]]\ncommand = "false"\n', "'jobs' is a second list of jobs"),
        ("- command: !!python/object/apply:os.system [id]\n", "line 1 has a tag"),
        ("- command: id\n  env: !include {A: 1}\n", "line 2 has a tag"),
        ("- command: 'true'\n  env: {A: null}\n", "job 1: env: needs names with one value each"),
        ("- command: 'true'\n  array: [1, 2]\n", "job 1: array: needs one value, like 0-9"),
    ],
)
def test_what_no_job_would_get_is_refused(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    feed(monkeypatch, text)
    ran = run("submit", "--file", "-")
    assert (ran.code, why in ran.err, api.changes) == (2, True, [])
