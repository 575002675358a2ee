"""What JobSpec declares passes every border: the command line, the API, the database, and back to who asks."""

import os
from collections.abc import Iterator
from dataclasses import MISSING, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from greenrun.api.job_models import JobOut
from greenrun.api.job_request import JobIn
from greenrun.core.jobs.declaration import FieldInfo, Trait, field_infos
from greenrun.core.jobs.job import ArrayPlace, DurationSource, JobSpec
from greenrun.store import Store
from greenrun.store.tables import JobRecord
from greenrun.submission.job_options import OPTIONS, SubmissionContext, Value, state_job
from tests.api.fakes import NOW, World, spec, stored

FIELDS = field_infos(JobSpec)
GIVEN = [row for row in FIELDS if row.option and not row.has(Trait.READ_ONLY)]
TEXTS = {  # something to say for each form of value that an option may have, other than any default
    "": "true", "N": "2", "D": "61s", "T": "36h", "NAME": "x", "MODEL": "A100", "GIB": "40", "K=V": "a=b", "KEY": "k",
    "W": "100", "5%": "5%", "G": "80", "JOB[:ok|any]": "7:any", "DIR": "/tmp", "NAME[=V]": "A=b", "FILE": __file__,
    "A,B": "stuck", "CPUS": "4", "WEIGHT": "50", "CODE": "75", "FORM": "index", "LIMIT": "70%:slowdown=8%",
    "IMAGE": "lab/image:1",
}  # fmt: skip
OWN = {"checkpoint_signal": "INT", "notify": "late"}
TOGETHER = {
    "expire": {"max-delay": "1h"},
    "retry_on": {"retries": "2"},
}  # what else must be said for it to mean anything
FILLED_IN: dict[str, Any] = {
    "duration_source": DurationSource.LEARNED,
    "duration_note": "learned",
    "power_note": "learned",
    "power_cap_note": "learned",
    "noted_files": {"/w/a.py": "1 2 3"},
    "array": ArrayPlace(key="k", index=1, size=2, at_once=1),
}


@pytest.fixture(autouse=True)
def an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of containers, which not every machine has."""
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "engines" / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'engines'}:{os.environ['PATH']}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new database."""
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def stated(row: FieldInfo) -> dict[str, Any]:
    """The request of a job that says this field on the command line."""
    assert row.option
    said = {row.option_name: OWN.get(row.name) or TEXTS[row.option.form], **TOGETHER.get(row.name, {})}
    said |= {"interruptible": "true"} if row.has(Trait.INTERRUPTIBLE_ONLY) else {}
    context = SubmissionContext(
        now=NOW, zone=lambda: UTC, folder=Path("/"), environ={"PATH": "/bin:/usr/bin"}, variables=("PATH",)
    )
    return state_job({name: Value((text,), f"--{name}") for name, text in said.items()}, ["/bin/true"], context).fields


def accepted(row: FieldInfo) -> tuple[JobSpec, dict[str, Any]]:
    """What the API stores, and answers, when the field is said on the command line."""
    world = World()
    world.store.keep(stored(7))
    answer = world.ask("POST", "/v1/jobs", json=stated(row))
    assert answer.status_code == 201, answer.text
    return world.store.jobs.job(answer.json()["id"]).spec, answer.json()


def test_the_request_has_each_field_that_may_be_stated_and_the_answer_each_that_is_told() -> None:
    assert {field.alias for field in JobIn.model_fields.values() if field.alias} == {
        row.json_name for row in FIELDS if not row.has(Trait.READ_ONLY)
    }
    assert {row.json_name for row in FIELDS if not row.has(Trait.WRITE_ONLY)} <= JobOut.model_fields.keys()


def test_each_field_has_a_column() -> None:
    assert {row.json_name for row in FIELDS} <= JobRecord.model_fields.keys()


def test_each_option_is_one_of_the_command_line_s() -> None:
    assert {row.option_name: row.json_name for row in FIELDS if row.option}.items() <= {
        name: option.field for name, option in OPTIONS.items()
    }.items()  # fmt: skip


@pytest.mark.parametrize("row", GIVEN, ids=lambda row: row.option_name)
def test_what_is_said_on_the_command_line_reaches_the_job_and_is_told_of_it(row: FieldInfo) -> None:
    made, told = accepted(row)
    assert getattr(made, row.name) != row.default
    if row.has(Trait.WRITE_ONLY):
        assert row.json_name not in told
    else:
        assert told[row.json_name] not in (row.default, None)


def test_the_database_gives_back_every_field_as_it_was_given(store: Store) -> None:
    said = {row.name: getattr(accepted(row)[0], row.name) for row in GIVEN}
    given = replace(spec(git_commit="abc", umask="027", limits={"core": "0:0"}), **said, **FILLED_IN)
    assert [row.name for row in FIELDS if getattr(given, row.name) in (row.default, MISSING)] == []
    job, _ = store.jobs.add_job(given, user="ada", uid=1, now=NOW)
    assert store.jobs.job(job.id).spec == given
