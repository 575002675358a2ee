"""A job takes along the commit that git's files tell, and its program is looked for where it will run."""

from pathlib import Path

import pytest

from greenrun.paths import JOB_ENVIRONMENT, find_job_environment
from greenrun.submission.environment import git_commit, kept

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


@pytest.fixture
def git(tmp_path: Path) -> Path:
    folder = tmp_path / ".git"
    (folder / "refs/heads").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_a_branch_is_followed_to_its_commit(git: Path, tmp_path: Path) -> None:
    (git / "refs/heads/main").write_text(f"{COMMIT}\n")
    (tmp_path / "src/deep").mkdir(parents=True)
    assert git_commit(tmp_path / "src/deep") == COMMIT


def test_a_packed_branch_is_found(git: Path, tmp_path: Path) -> None:
    (git / "packed-refs").write_text(f"# peeled\n{OTHER} refs/heads/other\n{COMMIT} refs/heads/main\n^{OTHER}\n")
    assert git_commit(tmp_path) == COMMIT


def test_a_worktree_is_followed_to_the_shared_repository(git: Path, tmp_path: Path) -> None:
    (git / "refs/heads/topic").write_text(COMMIT)
    (git / "worktrees/w").mkdir(parents=True)
    (git / "worktrees/w/HEAD").write_text("ref: refs/heads/topic\n")
    (git / "worktrees/w/commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text(f"gitdir: {git}/worktrees/w\n")
    assert git_commit(tmp_path / "w") == COMMIT


@pytest.mark.parametrize("head", ["", "nonsense", "ref: refs/heads/unborn", "ref: ../../../etc/passwd", "\udcff\x00"])
def test_what_is_no_commit_is_none(git: Path, tmp_path: Path, head: str) -> None:
    (git / "HEAD").write_bytes(head.encode("utf-8", "surrogateescape"))
    assert git_commit(tmp_path) is None


def test_only_the_listed_variables_are_kept() -> None:
    environ = {"PATH": "/bin", "LC_ALL": "C", "CONDA_PREFIX": "/c", "AWS_SECRET": "x", "PATHS": "x", "HOME": "/h"}
    assert kept(environ, JOB_ENVIRONMENT) == {"PATH": "/bin", "LC_ALL": "C", "CONDA_PREFIX": "/c", "HOME": "/h"}


def test_the_settings_say_which_variables_are_kept(tmp_path: Path) -> None:
    (tmp_path / "greenrun.toml").write_text('[jobs]\nenv = ["PATH", "HF_*"]\n')
    names = find_job_environment(tmp_path / "greenrun.toml")
    assert kept({"PATH": "/bin", "HF_HOME": "/hf", "HOME": "/h"}, names) == {"PATH": "/bin", "HF_HOME": "/hf"}


def test_what_greenrun_sets_for_each_run_is_not_inherited() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_HOME": "/cuda", "GREENRUN_JOB_ID": "7"}
    assert kept(environ, ["CUDA_*", "GREENRUN_*"]) == {"CUDA_HOME": "/cuda"}
