"""Every case of ../shared/cases has a test: this lists which, and fails for one that has none.

The cases are known by what their README writes in its tables; where that is not there, this is skipped.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.cases import rows

TESTS = Path(__file__).parent

COVERED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "grid": {
        "wt-zero, em-zero, csv/zero.csv": [
            "test_what_is_no_answer_is_not_used", "test_a_file_is_read_or_refused_with_advice",
        ],
        "uk-null, em-null, uk-nan, uk-short, uk-datalist": [
            "test_what_is_missing_is_a_hole_and_told", "test_what_is_no_answer_is_not_used",
        ],
        "uk-empty (`{}` with 200)": ["test_what_is_no_answer_is_not_used"],
        "uk-bom": ["test_the_same_two_days_in_any_wrapping"],
        "uk-429date, uk-429num, uk-500, uk-html, uk-hang, uk-gzip, uk-deflate, uk-br": [
            "test_what_is_no_answer_is_not_used", "test_the_same_two_days_in_any_wrapping",
            "test_who_never_answers_is_given_up",
        ],
        "ec-switch; csv/switch.csv": [
            "test_hours_keep_an_hour_and_quarters_a_quarter",
            "test_an_import_reads_what_a_source_reads",
        ],
        "em-free (access latest, history, forecast)": [
            "test_a_key_without_ranges_settles_from_the_last_day"
        ],
        "wt-warn": ["test_what_the_source_warns_of_is_shown"],
        "wt-ok alone, PUE 1.5, one job": ["test_a_marginal_source_alone_is_marginal_everywhere"],
        "et-ok, et-trunc (A03), et-neg, et-999, et-401, et-dup": [
            "test_a_forecast_of_generation_stays_whole", "test_what_is_no_answer_is_not_used",
        ],
        "et-update, et-mixdup": ["test_a_forecast_of_generation_stays_whole"],
        "zones IE, CY, LU, MT, IT-CALA": ["test_every_zone_of_the_platform_is_served"],
        "csv/empty.csv, csv/em-15.csv, csv/local.csv, csv/crlf.csv, csv/bom.csv": [
            "test_a_file_is_read_or_refused_with_advice",
            "test_an_import_reads_what_a_source_reads",
        ],
        "csv/decq.csv, csv/semi.csv, csv/naive.csv, csv/utf16.csv, csv/neg.csv": [
            "test_a_file_is_read_or_refused_with_advice"
        ],
    },
    "Meters": {
        "powercap tree whose `energy_uj` never changes, `measure --for 12s`": [
            "test_a_counter_that_never_moves_is_no_reading_of_0_watts"
        ],
        "GPU without counter whose power cannot be read (`fault 0 nvmlDeviceGetPowerUsage 0 1e12 3`, `energy=0`)": [
            "test_a_gpu_that_never_was_read_has_no_joules_and_one_that_has_some_keeps_them"
        ],
        "two A100 at 100 and 50 W, `CUDA_VISIBLE_DEVICES=0`, `=1`, a unique UUID prefix": [
            "test_the_gpus_that_are_meant_are_found"
        ],
        "two dies of one package, the second 20 mJ behind the first, both 68 W": [
            "test_a_die_whose_counter_is_a_tick_behind_is_known_by_how_it_advances"
        ],
        "`proc 1 <pid of another> 8000000000`": [
            "test_nothing_is_started_beside_somebody_else_nor_on_a_drained_gpu_over_a_restart"
        ],
        "`constant`, 350 W, 12 s job, wall clock set forward 5 h after 4 s (libfaketime)": [
            "test_energy_follows_steady_time_however_the_wall_clock_is_set"
        ],
    },
    "Jobs": {
        "`S -g 0 -- sh -c 'exit 255'`": ["test_exit_code_255_is_no_signal"],
        "script with `#!/bin/bash` and CRLF; missing interpreter; executable without `#!`": [
            "test_a_script_that_cannot_be_executed_is_refused_at_submission"
        ],
        "`S --log nolog/x.log -- true`": ["test_a_log_in_a_folder_that_is_not_there_is_refused"],
        "`--gpu-memory 80` where no GPU has it": [
            "test_memory_that_no_gpu_has_is_refused_as_too_many_gpus_are"
        ],
        "`#SBATCH --dependency=afterok:999`": ["test_a_dependency_of_a_script_on_no_job_is_refused"],
        "`S --unique k -- a` then `S --unique k -- b`": [
            "test_a_unique_key_is_another_job_s_for_another_command"
        ],
        "`S --retries 50 -- sh -c 'exit 1'`": [
            "test_a_job_that_fails_at_once_is_tried_again_after_pauses_that_grow",
            "test_a_job_that_fails_at_once_is_tried_again_after_pauses_which_a_restart_keeps",
        ],
        "log cap 4 MiB: `yes \\| head -c 60000000`; `logs -f` of a job that passes the cap": [
            "test_a_log_keeps_to_its_limit_and_who_follows_it_reads_to_the_very_end",
            "test_a_log_is_never_larger_than_its_limit_and_keeps_whole_lines_of_its_last_half",
            "test_following_goes_on_past_the_limit_and_neither_stops_nor_repeats",
        ],
        "`S -- sh -c 'sleep 100 & echo started'` as a script": [
            "test_what_a_script_leaves_behind_is_ended_and_said"
        ],
        "four GPUs busy with jobs that overrun, `-g 4`, then 24 one-GPU jobs that say 1 s and run 6": [
            "test_a_large_job_starts_before_all_but_a_first_few_that_came_after_it_and_overrun_their_estimates",
            "test_no_optimist_passes_a_large_job_on_a_plan_that_was_made_before_its_start_slipped",
            "test_a_large_job_is_overtaken_by_no_more_optimists_once_its_start_has_slipped",
        ],
        "blocker on both GPUs, then `--now --priority` 0, 1000, 1": ["test_jobs_for_now_start_by_priority"],
        "one of two GPUs idle, 209 g/kWh now: `--run-below 900 --duration 2h`": [
            "test_a_job_that_may_run_below_more_than_it_is_starts_at_once"
        ],
        "`rm` of the socket under a live daemon": ["test_a_socket_that_is_removed_is_bound_again"],
        "database moved away, daemon started, interruptible job 1 submitted": [
            "test_no_job_reads_the_checkpoint_of_one_of_a_database_that_was_moved_away",
            "test_a_folder_of_another_database_bars_the_run_of_that_name",
            "test_jobs_of_other_databases_with_the_same_id_have_others",
        ],
        "`rm greenrun.db*` under a live daemon, then three submissions": [
            "test_a_database_that_is_deleted_takes_no_job_and_is_told"
        ],
        "`ulimit -n 24`, six one-second jobs, 10 idle connections": [
            "test_with_24_descriptors_and_10_idle_connections_all_jobs_succeed_at_once"
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("section", COVERED)
def test_every_case_has_a_test_and_no_other_is_listed(section: str) -> None:
    assert sorted(rows(section)) == sorted(COVERED[section])


def test_the_tests_that_are_listed_are_there() -> None:
    """By their names, wherever they are."""
    listed = {test for table in COVERED.values() for tests in table.values() for test in tests}
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    there = {name for text in texts for name in re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE)}
    assert listed - there == set()


def test_each_scenario_of_a_source_that_the_cases_name_is_played() -> None:
    """By its name in the tests' own text, so that a row with many names is not covered by one of them."""
    paths = (TESTS / "cli" / "grid" / "test_grid_cases.py", TESTS / "system" / "test_cases.py")
    told = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    found = [
        name for row in rows("grid") for name in re.findall(r"\b(?:uk|wt|em|ec|et)-\w+(?!\.csv)\b|(?<=csv/)[\w-]+", row)
    ]
    assert len(found) > 30
    assert [name for name in found if f'"{name}"' not in told and f"/{name}" not in told] == []


def test_each_case_of_a_job_goes_through_the_real_program() -> None:
    """A daemon and the command line, as a user has them: one test of each row at least is among the system's."""
    told = "\n".join(path.read_text(encoding="utf-8") for path in (TESTS / "system").glob("test_*.py"))
    assert [row for row, tests in COVERED["Jobs"].items() if not any(f"def {test}(" in told for test in tests)] == []
