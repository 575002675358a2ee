"""Variables that the site does not let jobs be given are refused at submission and at a requeue, and never told."""

from pathlib import Path

from greenrun.core.jobs.job import State
from greenrun.core.jobs.site_variables import VariableRules
from tests.api.fakes import NOW, World, stored

RULES = VariableRules(refused=("LD_*",), from_file=("*TOKEN*",))


def test_a_refused_variable_refuses_the_submission_also_from_a_file(tmp_path: Path) -> None:
    world = World(variables=RULES)
    file = tmp_path / "variables"
    file.write_text("LD_PRELOAD=/SECRET.so\n", encoding="utf-8")
    for parts in ({"env": {"LD_PRELOAD": "/SECRET.so"}}, {"env_file": str(file)}):
        for query in ("", "?dry_run=true"):
            answer = world.submit(query, **parts)
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["field"]) == (422, "env")
            assert "LD_PRELOAD is never passed to jobs here ([jobs] env_refused)" in error["message"]
            assert "SECRET" not in answer.text
    assert world.store.kept == {}


def test_a_secret_comes_from_a_file_of_which_the_path_alone_is_kept(tmp_path: Path) -> None:
    world = World(variables=RULES)
    answer = world.submit(env={"HF_TOKEN": "SECRET-value"})
    assert (answer.status_code, "--env-file" in answer.text, "SECRET-value" in answer.text) == (422, True, False)
    file = tmp_path / "secrets"
    file.write_text("HF_TOKEN=SECRET-value\n", encoding="utf-8")
    assert world.submit(env_file=str(file)).status_code == 201
    (job,) = world.store.kept.values()
    assert (job.spec.env_file, "SECRET-value" in repr(job)) == (str(file), False)


def test_a_job_runs_again_only_with_variables_that_may_be_passed() -> None:
    world = World(variables=RULES)
    world.store.keep(stored(1, State.FAILED, finished_at=NOW, gpus=0, env={"LD_PRELOAD": ""}))
    answer = world.ask("POST", "/v1/jobs/1/requeue", json={"env": {"LD_PRELOAD": "/SECRET.so"}})
    assert (answer.status_code, "[jobs] env_refused" in answer.text, "SECRET" in answer.text) == (422, True, False)
