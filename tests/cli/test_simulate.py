"""`greenrun simulate` prints what each policy comes to, writes a schedule whole, and refuses bad input as a whole."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.simulation.build import write_grid, write_jobs

VALUES = [90, 90, 20, 10, 90, 90, 60, 60, 60, 60, 60, 60]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    write_grid(tmp_path / "grid.csv", VALUES)
    write_jobs(tmp_path / "jobs.csv", "0,3600,1,1000,18000,False", "600,1800,2,1000,18000,False")
    return ["simulate", "--intensity", "grid.csv", "--jobs", "jobs.csv", "--gpus", "2", "--start", "2026-03-02T00:00Z"]


def test_the_json_has_the_promised_form(run: Run, words: list[str]) -> None:
    done = run(*words, "--json")
    told = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert (told["jobs"], told["gpus"], told["start"]) == (2, 2, "2026-03-02T00:00:00Z")
    assert list(told["policies"]) == ["greenrun", "start-at-once", "own-best-window"]
    assert set(told["policies"]["greenrun"]) == {
        "emissions_g", "saving_ratio", "earliest_start_g", "earliest_start_saving_ratio", "late", "mean_delay_s",
        "checkpoints", "peak_gpus", "peak_w", "undone", "undone_reasons", "users",
    }  # fmt: skip
    assert told["bound_g"] <= told["policies"]["greenrun"]["emissions_g"] < told["start_at_once_g"]
    assert told["wall_s"] >= 0


def test_without_json_a_table_says_what_each_policy_is(run: Run, words: list[str]) -> None:
    done = run(*words, "--policy", "threshold:50", "--policy", "percentile:30", "--policy", "start-at-once")
    assert done.code == 0
    for said in ("threshold:50", "start at or under 50 g/kWh", "percentile:30", "2 jobs on 2 GPUs", "emits less than"):
        assert said in done.out


def test_both_baselines_are_told_where_they_differ(run: Run, tmp_path: Path) -> None:
    """The larger job came second and starts first: first come, first served the smaller one has the cleaner hour."""
    write_grid(tmp_path / "grid.csv", [50, 90, 10, 20, 90, 90, 90, 90])
    write_jobs(tmp_path / "jobs.csv", "0,3600,1,1000,10800,False", "0,3600,1,3000,10800,False")
    words = ["simulate", "--intensity", "grid.csv", "--jobs", "jobs.csv", "--gpus", "1", "--start", "2026-03-02T00:00Z"]
    told = json.loads(run(*words, "--json").out)
    mine = told["policies"]["greenrun"]
    assert (told["start_at_once_g"], mine["emissions_g"], mine["earliest_start_g"]) == pytest.approx((320, 50, 240))
    assert mine["earliest_start_saving_ratio"] == pytest.approx(1 - 50 / 240)
    out = run(*words, "--policy", "greenrun", "--policy", "start-at-once", "--plot", "out.html").out
    line = "against the earliest start on the same GPUs, as reports compare: greenrun 79.2 % of 240 g"
    assert f"saving against first come, first served: 320 g CO2e\n{line}\n" in out
    assert line[1:] in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_one_baseline_is_told_where_they_are_the_same(run: Run, words: list[str]) -> None:
    assert "as reports compare" not in run(*words, "--gpus", "inf").out


def test_gpus_may_be_without_limit(run: Run, words: list[str]) -> None:
    told = json.loads(run(*words, "--gpus", "inf", "--json").out)
    assert (told["gpus"], told["policies"]["own-best-window"]["late"]) == ("inf", 0)
    assert told["policies"]["greenrun"]["emissions_g"] == pytest.approx(told["bound_g"])


def test_the_schedule_is_written(run: Run, words: list[str], tmp_path: Path) -> None:
    assert run(*words, "--gpus", "inf", "--schedule-out", "out.csv").code == 0
    rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert rows == ["job,start_s,end_s", "0,10800,14400", "1,10800,12600"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.csv", "jobs.csv", "out.csv"]


def test_the_picture_is_written_beside_what_is_printed(run: Run, words: list[str], tmp_path: Path) -> None:
    done = run(*words, "--plot", "out.html", "--json")
    drawn = (tmp_path / "out.html").read_text(encoding="utf-8")
    saving = json.loads(done.out)["policies"]["greenrun"]["saving_ratio"]
    assert (done.code, drawn.count('<figure class="chart"')) == (0, 2)
    assert f"saving {100 * saving:.1f} %, 0 late" in drawn
    assert "no schedule that keeps every limit emits less than" in drawn
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.csv", "jobs.csv", "out.html"]


def test_where_no_schedule_keeps_every_limit_there_is_no_bound_but_the_reason(
    run: Run, words: list[str], tmp_path: Path
) -> None:
    write_jobs(tmp_path / "jobs.csv", "0,3600,2,1000,0,False", "0,3600,2,1000,0,False")
    done = run(*words)
    assert "saving -" not in done.out
    assert "there is no bound to compare with: no schedule keeps every limit" in done.out
    told = json.loads(run(*words, "--json").out)
    assert (told["bound_g"], told["bound_saving_ratio"]) == (None, None)
    assert told["bound_missing_reason"] == "no schedule keeps every limit"


def test_max_delay_and_interruptible_are_for_every_job(run: Run, words: list[str]) -> None:
    told = json.loads(run(*words, "--max-delay", "0s", "--policy", "own-best-window", "--json").out)
    assert told["policies"]["own-best-window"]["saving_ratio"] == 0
    whole, divided = (
        json.loads(run(*words, *more, "--gpus", "inf", "--policy", "start-at-once", "--json").out)["bound_g"]
        for more in ([], ["--interruptible"])
    )
    assert divided <= whole * (1 + 1e-9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--gpus", "0"], "--gpus: 0 is not"),
        (["--gpus", "-3"], "--gpus: '-3' is neither"),
        (["--gpus", "few"], "--gpus: 'few' is neither"),
        (["--start", "yesterday"], "--start: 'yesterday' is not an instant"),
        (["--start", "2026-03-02T00:00"], "has no zone"),
        (["--horizon", "0s"], "--horizon: it must be longer than zero"),
        (["--horizon", "48"], "--horizon: '48' has no unit"),
        (["--max-delay", "long"], "--max-delay: 'long' is not a duration"),
        (["--policy", "magic"], "--policy: 'magic' is none of greenrun, start-at-once"),
        (["--policy", "threshold:x"], "--policy: 'threshold:x' is none of"),
        (["--policy", "percentile:101"], "--policy: 'percentile:101' is none of"),
        (["--jobs", "absent.csv"], "absent.csv: it cannot be read"),
        (["--schedule-out", "no/such/out.csv"], "is not a folder"),
        (["--plot", "out.svg"], "--plot: 'out.svg' does not end in .html, and only .html is drawn"),
        (["--plot", "no/such/out.html"], "is not a folder"),
        (["--plot", "out.html", "--schedule-out", "out.html"], "--plot: --schedule-out names the same file"),
    ],
)
def test_a_bad_option_is_refused_with_2_and_nothing_is_written(
    more: list[str], said: str, run: Run, words: list[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    done = run(*words, "--schedule-out", "out.csv", *more)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "nothing was simulated or written" in done.err
    assert sorted(tmp_path.iterdir()) == before


def test_problems_of_options_and_files_are_told_together(run: Run, words: list[str], tmp_path: Path) -> None:
    write_jobs(tmp_path / "bad.csv", "0,-1,1,1000,0,False")
    done = run(*words, "--jobs", "bad.csv", "--policy", "magic", "--start", "then", "--json")
    told = json.loads(done.err)
    assert done.code == 2
    assert [row["field"] for row in told["errors"]] == ["--policy", "--start", "bad.csv line 2"]


def test_a_schedule_of_a_policy_that_is_not_ours_is_refused(run: Run, words: list[str]) -> None:
    done = run(*words, "--policy", "start-at-once", "--schedule-out", "out.csv")
    assert done.code == 2
    assert "add --policy greenrun" in done.err


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--gpus", "2"], ["--intensity", "--jobs", "--start"]),
        (["--gpus", "2", "--history", "30d", "--jobs", "jobs.csv"], ["--jobs", "--history", "--history"]),
    ],
)
def test_files_or_history_are_needed_and_not_both(
    words: list[str], fields: list[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GREENRUN_PATHS__STATE", str(tmp_path / "none"))  # who tests may have a database of their own
    done = run("simulate", *words, "--json")
    assert done.code == 2
    assert [row["field"] for row in json.loads(done.err)["errors"]] == fields


SITE = """
[devices]
exclude = ["0"]

[devices.reserved.course]
gpus = ["1"]
from = "00:00"
to = "02:00"
timezone = "UTC"

[budget]
timezone = "UTC"

[budget.user.ada]
gpu_hours = 1
over = "refuse"

[budget.project.red]
gpu_hours = 1
over = "ask"
"""
COLUMNS = "submitted_s,duration_s,gpus,power_w,max_delay_s,interruptible"


def test_what_the_settings_set_holds_in_a_simulation(run: Run, words: list[str], tmp_path: Path) -> None:
    """Ada's second job is refused, and so is the first to start before two; the numbers of GPUs are the machine's."""
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    write_grid(tmp_path / "grid.csv", [100] * 48)
    rows = ["0,3600,1,1000,18000,false,ada,red,", "0,3600,1,1000,18000,false,ada,,70%"]
    header = f"{COLUMNS},user,project,power_limit"
    (tmp_path / "jobs.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    done = run(*words, "--site", "--config", "site.toml", "--policy", "greenrun", "--json")
    told = json.loads(done.out)
    mine = told["policies"]["greenrun"]
    assert (told["gpus"], mine["undone"], mine["users"]["ada"]["undone"]) == (1, 1, 1)
    assert "budget of user ada has no room" in mine["undone_reasons"][0]["why"]
    assert mine["mean_delay_s"] == 7200, "GPU 1 is all there is, and reserved until two"
    out = run(*words, "--site", "--config", "site.toml", "--policy", "greenrun").out
    assert "nobody approves anything in a simulation" in out
    assert "the job in row 1 was refused: " in out
    assert "the budget of user ada has no room" in out


def test_settings_that_cannot_be_simulated_are_told_with_all_else_that_is_wrong(
    run: Run, words: list[str], tmp_path: Path
) -> None:
    text = SITE.replace('exclude = ["0"]', 'exclude = ["GPU-2ac5"]')
    (tmp_path / "site.toml").write_text(text, encoding="utf-8")
    header, row = f"{COLUMNS},power_limit,project", "0,3600,1,1000,18000,false,700,"
    (tmp_path / "jobs.csv").write_text("\n".join([header, row, ""]), encoding="utf-8")
    done = run(*words, "--site", "--config", "site.toml", "--policy", "no such")
    assert done.code == 2
    for said in ("devices.exclude names GPU-2ac5", "power_limit must be like", "'no such' is none of"):
        assert said in done.err
