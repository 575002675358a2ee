"""Why a command could not be started is told by what is not as it was at submission."""

from pathlib import Path

import pytest

from greenrun.executors.command_files.start_failure import AS_SUBMITTED, why_not_started
from greenrun.executors.launch import NotStarted


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NotStarted("cannot execute './job': [Errno 2] No such file or directory: './job'", 127),
         "cannot execute './job': the interpreter of {}/./job, /opt/none, does not exist; install it, "
         "or correct the #! line"),
        (NotStarted("cannot change to its working folder /x: [Errno 13] Permission denied: '/x'", 126),
         "cannot change to its working folder /x: Permission denied"),
        (FileNotFoundError(2, "No such file or directory", "/l/x.log"),
         "its log /l/x.log cannot be opened: No such file or directory"),
        (PermissionError(13, "Permission denied", "/v/vars"),
         "its file of variables /v/vars cannot be opened: Permission denied"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_is_named(tmp_path: Path, error: Exception, sentence: str) -> None:
    (tmp_path / "job").write_text("#!/opt/none\n")
    (tmp_path / "job").chmod(0o755)
    workdir = "/no/such" if "working folder" in str(error) else str(tmp_path)
    said = why_not_started(error, ["./job"], workdir, {}, log="/l/x.log", env_file="/v/vars")
    assert said == f"{sentence.format(tmp_path)}; {AS_SUBMITTED}"


@pytest.mark.parametrize("error", [NotStarted("/x is gone, which was there", 127), OSError(24, "Too many open files")])
def test_what_has_another_cause_stays_as_it_was_said(tmp_path: Path, error: Exception) -> None:
    assert why_not_started(error, ["true"], str(tmp_path), {}, log="/l", env_file=None) == str(error)
