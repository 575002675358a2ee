"""Arrays, grids and dependencies are read as people write them, or refused in a sentence before anything is sent."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.formatting import ranges_text
from greenrun.core.jobs.spec import MOST_TOGETHER
from greenrun.submission.sweep import parse_after, parse_array, parse_axis
from tests.cli.conftest import Run
from tests.cli.examples import NOT_SAID, job, planned
from tests.fake_api import FakeApi

INDICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True)
RANGES = st.builds(
    lambda first, count, step: range(first, first + count * step, step),
    st.integers(0, 1000), st.integers(1, 200), st.integers(1, 50),
)  # fmt: skip


def of_array(first: int, count: int, **changes: Any) -> list[dict[str, Any]]:
    """What the API answers to an array."""
    place = {"key": "a", "size": count, "at_once": None}
    return [
        job(first + index, name=f"train[{index}]", array={**place, "index": index}, **changes) for index in range(count)
    ]


@given(indices=INDICES, at_once=st.none() | st.integers(1, 999))
def test_listed_indices_are_the_array(indices: list[int], at_once: int | None) -> None:
    text = ",".join(map(str, indices)) + ("" if at_once is None else f"%{at_once}")
    assert parse_array(text) == {"indices": sorted(indices)} | ({} if at_once is None else {"at_once": at_once})


@given(stepped=RANGES)
def test_a_range_includes_its_ends_and_goes_by_its_step(stepped: range) -> None:
    assert parse_array(f"{stepped[0]}-{stepped[-1]}:{stepped.step}") == {"indices": list(stepped)}


@given(indices=INDICES)
def test_numbers_are_told_so_that_they_read_back_as_the_same(indices: list[int]) -> None:
    assert parse_array(ranges_text(indices)) == {"indices": sorted(indices)}


@given(text=st.text(st.sampled_from("0123456789,-:% x"), max_size=12))
def test_any_text_is_an_array_or_refused_in_a_sentence(text: str) -> None:
    try:
        array = parse_array(text)
    except ValueError:
        with pytest.raises(ValueError, match=re.escape(f"'{text}' ")):
            parse_array(text)
        return
    assert array
    assert array.keys() <= {"indices", "at_once"}
    assert len(array.get("indices", [])) <= MOST_TOGETHER


@pytest.mark.parametrize(
    "text",
    ["", "%", "%0", "5-1", "1-9:0", "1,1", "1-3,2", "0-10000", "0-999999999", "-1", "a", "1-", "1:2", "1000001", "0%x"],
)
def test_an_array_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        parse_array(text)


@given(name=st.from_regex(r"[a-z]{1,6}", fullmatch=True), values=st.lists(st.integers(), min_size=1, unique=True))
def test_an_axis_is_a_name_and_its_values(name: str, values: list[int]) -> None:
    assert parse_axis(f"{name} = {', '.join(map(str, values))}") == (name, [str(value) for value in values])


@pytest.mark.parametrize("text", ["lr", "lr=", "=1", "lr=1,,2", "lr=1,1", "lr=1,"])
def test_an_axis_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"lr=1e-3,1e-4|names a value twice"):
        parse_axis(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7", {"job": 7, "on": "ok"}),
        ("7:ok", {"job": 7, "on": "ok"}),
        (" 7:ANY ", {"job": 7, "on": "any"}),
        ("train", {"job": "train", "on": "ok"}),
        ("sweep[1-5]:any", {"job": "sweep[1-5]", "on": "any"}),
        ("7,8", {"job": "7,8", "on": "ok"}),
        ("lr:0.1", {"job": "lr:0.1", "on": "ok"}),
        ("17[]", {"job": "17[]", "on": "ok"}),
    ],
)
def test_a_dependency_is_a_job_and_how_it_must_end(text: str, meant: dict[str, Any]) -> None:
    assert parse_after(text) == meant


@pytest.mark.parametrize("text", ["", "0", "7:", "7:failed", "-1", ":any", "7-9:x"])
def test_a_dependency_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 7"):
        parse_after(text)


def test_every_new_option_reaches_its_field(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", job(), 201)
    words = "--gpu-model A100 --gpu-memory 40GB --interruptible --min-run 30m --restart-cost 90s"
    words += " --checkpoint-signal sigusr2 --checkpoint-exit-code 3 --after 7 --after 8:any"
    assert run("submit", *words.split(), "true").code == 0
    sent = {key: value for key, value in api.asked[0].body.items() if key not in (*NOT_SAID, "workdir")}
    assert sent == {
        "command": ["true"], "gpus": 1, "gpu_model": "A100", "gpu_memory_gib": 37.252903, "interruptible": True,
        "min_run_s": 1800, "restart_cost_s": 90, "checkpoint_signal": "USR2", "checkpoint_exit_code": 3,
        "after": [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "gib"), [("40", 40.0), ("40GiB", 40.0), ("40 gib", 40.0), ("1TiB", 1024.0), ("512MiB", 0.5)]
)
def test_memory_is_in_gib_unless_it_says_otherwise(api: FakeApi, run: Run, text: str, gib: float) -> None:
    api.post("/v1/jobs", job(), 201)
    run("submit", "--gpu-memory", text, "true")
    assert api.asked[0].body["gpu_memory_gib"] == gib


def test_all_problems_of_the_new_options_are_told_at_once(api: FakeApi, run: Run) -> None:
    words = "--gpu-memory much --min-run 5m --restart-cost 5 --checkpoint-signal KILL --after 0 --array 5-1"
    words += " --grid lr=1 --grid lr=2 --gpu-memory 0"
    ran = run("submit", *words.split(), "true")
    assert (ran.code, api.changes) == (2, [])
    told = [line.strip() for line in ran.err.splitlines()[1:]]
    assert [line.partition(":")[0] for line in told] == [
        "--gpu-memory", "--restart-cost", "--checkpoint-signal", "--after", "--array", "--grid",
        "--min-run", "--restart-cost", "--checkpoint-signal",
    ]  # fmt: skip
    assert told[6].endswith("applies to interruptible jobs only; add --interruptible, or leave it out")


def test_an_array_is_sent_as_one_job_and_answered_in_one_line(api: FakeApi, run: Run) -> None:
    answer = of_array(12, 10)
    answer[9] |= {"planned": None, "reason": {"code": "array_full", "text": "waits for its turn"}}
    api.post("/v1/jobs", answer, 201)
    ran = run("submit", "--array", "0-9%4", "--unique", "k", "true")
    assert api.asked[0].body["array"] == {"indices": list(range(10)), "at_once": 4}
    assert ran.out.startswith("10 jobs of train queued (12-21), 9 planned from ")
    assert ran.out.endswith("; 1 without a place yet: waits for its turn (times in UTC)\n")
    assert run("submit", "--array", "0-9", "-q", "true").out.split() == [str(number) for number in range(12, 22)]
    assert json.loads(run("submit", "--array", "0-9", "--json", "true").out) == answer


def test_an_array_that_was_submitted_before_is_said_to_be_known(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", of_array(12, 3, state="succeeded", planned=None, reason=None), 200)
    ran = run("submit", "--array", "0-2", "--unique", "k", "true")
    assert ran.out == "3 jobs of train were submitted before with this key (12-14)\n"


def test_a_dry_run_of_a_grid_sums_what_its_jobs_would_emit(api: FakeApi, run: Run) -> None:
    answer = [row | {"id": None} for row in of_array(1, 2, planned=planned(expected_g=100.0, start_now_g=300.0))]
    api.post("/v1/jobs", answer, 200)
    first, *rest = run("submit", "--grid", "lr=1,2", "--dry-run", "true").out.splitlines()
    assert api.asked[0].body["grid"] == {"lr": ["1", "2"]}
    assert first.startswith("dry run, nothing submitted: 2 jobs of train, 2 planned from ")
    assert rest == ["  expected emissions: 200 g CO2e; started now: 600 g CO2e"]


def test_a_script_and_a_job_file_may_say_it_too(api: FakeApi, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text(
        "#!/bin/sh\n#GREENRUN --grid lr=1,2 --after 7 --interruptible\n#GREENRUN --after=8:any --array %2\n"
    )
    script.chmod(0o755)
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\ncommand = "true"\nafter = [7, "8:any"]\ngrid = {lr = [1e-3, "x"], n = 3}\n'
        '[[job]]\ncommand = "true"\narray = "0-4:2"\ninterruptible = true\nmin-run = "1h"\ngpu-memory = 40\n'
    )
    api.post("/v1/jobs", of_array(1, 2), 201)
    assert run("submit", "./train.sh").code == run("submit", "--file", "jobs.toml").code == 0
    after = [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}]
    sent, (first, second) = (asked.body for asked in api.asked)
    assert (sent["grid"], sent["after"], sent["array"], sent["interruptible"]) == (
        {"lr": ["1", "2"]}, after, {"at_once": 2}, True,
    )  # fmt: skip
    assert (first["after"], first["grid"]) == (after, {"lr": ["1e-3", "x"], "n": ["3"]})
    assert (second["array"], second["min_run_s"], second["gpu_memory_gib"]) == ({"indices": [0, 2, 4]}, 3600, 40.0)


def test_faults_in_scripts_and_job_files_are_told_with_their_place(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text("#!/bin/sh\n#GREENRUN --array 5-1\n#GREENRUN --min-run 5m\n")
    script.chmod(0o755)
    (tmp_path / "jobs.toml").write_text('[[job]]\ncommand = "true"\ngrid = {lr = ["1,2"]}\narray = [1, 2]\n')
    told = [line.strip().split(": ")[:2] for line in run("submit", "./train.sh").err.splitlines()[1:]]
    assert told == [["train.sh line 2", "--array"], ["train.sh line 3", "--min-run"]]
    assert run("submit", "--file", "jobs.toml").err.splitlines()[1:] == [
        "  job 1: grid: needs names with values that hold no comma",
        "  job 1: array: needs one value, like 0-9 or '1,3,5'",
    ]


def test_a_slurm_array_is_understood_and_says_which_variable_it_has(api: FakeApi, run: Run, tmp_path: Path) -> None:
    api.post("/v1/jobs", of_array(1, 2), 201)
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --array=0-7:2%2 --output=out_%a.txt\n")
    script.chmod(0o755)
    ran = run("submit", "./job.sh")
    assert api.asked[0].body["array"] == {"indices": [0, 2, 4, 6], "at_once": 2}
    assert api.asked[0].body["log"].endswith("/out_%a.txt")
    assert "GREENRUN_ARRAY_INDEX" in ran.err


def test_the_card_of_a_job_tells_what_it_waits_for_and_how_it_is_interrupted(api: FakeApi, run: Run) -> None:
    parts = {
        "gpu_model": "A100", "gpu_memory_gib": 40.0, "interruptible": True, "min_run_s": 1800.0,
        "restart_cost_s": 300.0, "checkpoint_signal": "USR1", "checkpoint_exit_code": 85, "progress_s": 5400.0,
        "after": [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}],
        "array": {"key": "k", "index": 3, "size": 10, "at_once": 4},
    }  # fmt: skip
    api.get("/v1/jobs/12", job(**parts))
    lines = [line.strip() for line in run("show", "12").out.splitlines()]
    assert "gpus:       1, A100, 40 GiB each" in lines
    assert "after:      job 7 succeeded, job 8 ended" in lines
    assert "array:      index 3 of 10 jobs, at most 4 at once" in lines
    told = "on SIGUSR1 (exit code 85), at the soonest 30m after a start, 5m to continue, 1h30m done so far"
    assert f"checkpoint: {told}" in lines
