"""The patterns in a log's name stand for what they stand for in sbatch."""

from dataclasses import replace

import pytest

from greenrun.core.jobs.job import ArrayPlace
from greenrun.core.jobs.log_names import filled, numbered, unknown_patterns
from tests.api.fakes import spec, stored


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/out-%j.log", "/out-12.log"), ("/%x-%4j", "/train_a-0012"), ("/%A", "/12"), ("/%u/%%j", "/ada/%j"),
        ("/%J.%s.%t.%n", "/12.0.0.0.0"), ("/plain", "/plain"), ("/100%%", "/100%"),
    ],
)  # fmt: skip
def test_a_new_job_s_log_is_named_after_it(name: str, path: str) -> None:
    (job,) = numbered([stored(0, log=name, name="train/a")], 12)
    assert (job.id, job.spec.log) == (12, path)


def test_a_job_without_a_name_is_called_by_its_program() -> None:
    assert numbered([stored(0, log="/%x", command=("/opt/bin/train", "-x"))], 1)[0].spec.log == "/train"


def test_the_jobs_of_an_array_have_its_first_id_and_their_own() -> None:
    def member(key: str, index: int) -> object:
        return ArrayPlace(key=key, index=index, size=2)

    jobs = [
        stored(0, log="/%A_%j", array=member(key, index)) for key, index in [("a", 3), ("b", 0), ("a", 5), ("b", 1)]
    ]
    alone = replace(jobs[0], spec=spec(log="/%A_%j"))
    assert [job.spec.log for job in numbered([*jobs, alone], 7)] == ["/7_7", "/8_8", "/7_9", "/8_10", "/11_11"]


def test_only_what_is_known_is_filled_in() -> None:
    assert filled("%3a-%b-%j-%%a", {"a": 7, "b": 7}) == "007-7-%j-%%a"


def test_a_pattern_that_stands_for_nothing_is_named() -> None:
    assert unknown_patterns("/a%j%q%3z%-%") == ["%q", "%3z", "%-", "%"]
