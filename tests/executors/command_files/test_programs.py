"""What the kernel would not execute is known before it is tried, and nothing else is refused."""

import os
import subprocess
from pathlib import Path

import pytest

from greenrun.executors.command_files.programs import interpreter_of, why_not_executable

PATH = "/usr/bin:/bin"


def program(path: Path, content: bytes, mode: int = 0o755) -> str:
    """A file of this content, named from its folder."""
    path.write_bytes(content)
    path.chmod(mode)
    return f"./{path.name}"


def starts(name: str, folder: Path) -> bool:
    """Whether the kernel does execute it."""
    try:
        return subprocess.run([name], cwd=folder, env={"PATH": PATH}, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


WRONG = {
    "crlf": (b"#!/bin/bash\r\necho hi\r\n", r"CRLF line ends, so its interpreter would be '/bin/bash\r'"),
    "crlf after an option": (b"#!/bin/sh -e\r\n", r"'/bin/sh -e\r'"),
    "missing interpreter": (b"#!/opt/none/python3\n", "/opt/none/python3, does not exist; install it"),
    "interpreter is a folder": (b"#!/usr/bin\n", "/usr/bin, is a folder"),
    "interpreter not executable": (b"#!/etc/passwd\n", "/etc/passwd, is not executable"),
    "relative interpreter": (b"#!bin/none\n", "taken from the job's folder"),
    "no interpreter named": (b"#!\necho\n", "names no interpreter after #!"),
    "no first line": (b"echo hi\n", "has no #! line"),
    "empty": (b"", "is empty"),
    "byte-order mark": (b"\xef\xbb\xbf#!/bin/sh\n", "byte-order mark (UTF-8)"),
    "UTF-16": ("#!/bin/sh\n".encode("utf-16"), "byte-order mark (UTF-16)"),
    "env without it": (b"#!/usr/bin/env python3.99\n", "'python3.99', which env does not find in the job's PATH"),
    "env with two words": (b"#!/usr/bin/env sh -e\n", "write #!/usr/bin/env -S sh -e"),
    "env -S without it": (b"#!/usr/bin/env -S A=b nosuch -u\n", "'nosuch', which env does not find"),
    "env with another PATH": (b"#!/usr/bin/env -S PATH=/none sh\n", "'sh', which env does not find"),
    "too long": (b"#!/" + b"x" * 300 + b"\n", "more than the kernel reads"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_script_that_the_kernel_would_not_execute_is_said_not_to_be(case: str, tmp_path: Path) -> None:
    content, words = WRONG[case]
    name = program(tmp_path / "job", content)
    assert words in (why_not_executable(name, str(tmp_path), PATH) or "")
    assert not starts(name, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\nexit 0\n", b"#! \t/bin/sh -e\nexit 0\n", b"#!/usr/bin/env sh\n", b"#!/usr/bin/env -S sh -e\n",
        b"#!/usr/bin/env -S -i sh\n", b"#!/usr/bin/env -S -u HOME A=1 sh\n", b"#!/bin/sh", b"#!./inner\n",
    ],
)  # fmt: skip
def test_a_script_that_the_kernel_executes_is_not_refused(content: bytes, tmp_path: Path) -> None:
    program(tmp_path / "inner", b"#!/bin/true\n")
    name = program(tmp_path / "job", content)
    assert (why_not_executable(name, str(tmp_path), PATH), starts(name, tmp_path)) == (None, True)


def test_a_binary_of_another_processor_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("/bin/true").read_bytes()
    name, folder = program(tmp_path / "job", own[:18] + (243).to_bytes(2, "little") + own[20:]), str(tmp_path)
    assert "for the processor riscv64" in (why_not_executable(name, folder, PATH) or "")
    assert not starts(name, tmp_path)
    assert why_not_executable("/bin/true", folder, PATH) is None
    other = os.uname_result(("Linux", "h", "6", "1", "vax"))
    monkeypatch.setattr(os, "uname", lambda: other)
    assert why_not_executable(name, folder, PATH) is None


def test_scripts_that_name_scripts_are_followed_to_the_end(tmp_path: Path) -> None:
    program(tmp_path / "inner", b"#!/none\n")
    assert "/none, does not exist" in (
        why_not_executable(program(tmp_path / "job", b"#!./inner\n"), str(tmp_path), PATH) or ""
    )
    assert "the kernel does not follow" in (
        why_not_executable(program(tmp_path / "round", b"#!./round\n"), str(tmp_path), PATH) or ""
    )


def test_a_program_is_looked_for_in_path_and_from_the_jobs_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, mode in (("bin/tool", 0o755), ("here", 0o755), ("plain", 0o644)):
        program(tmp_path / name, b"#!/bin/sh\n", mode)
    folder = str(tmp_path)
    assert why_not_executable("tool", folder, f"/nowhere:{tmp_path}/bin") is None
    assert why_not_executable("tool", folder, "bin") is None
    assert why_not_executable("./here", folder, "") is None
    assert why_not_executable("./bin/tool", folder, "") is None
    assert "for the file here write ./here" in (why_not_executable("here", folder, "/nowhere") or "")
    assert "is not executable; run chmod +x" in (why_not_executable("./plain", folder, "") or "")
    assert "check its path" in (why_not_executable("./none", folder, "") or "")
    assert "check its spelling" in (why_not_executable("none", folder, "/nowhere") or "")
    assert "is a folder" in (why_not_executable("./bin", folder, "") or "")


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o755)
    assert "there is no program" in (why_not_executable("./pipe", str(tmp_path), PATH) or "")


def test_the_interpreter_of_a_script_is_what_the_kernel_passes(tmp_path: Path) -> None:
    program(tmp_path / "job", b"#! /usr/bin/env -S sh -e\n")
    program(tmp_path / "plain", b"echo\n")
    assert interpreter_of(str(tmp_path / "job")) == ["/usr/bin/env", "-S sh -e"]
    assert interpreter_of(str(tmp_path / "plain")) is None
