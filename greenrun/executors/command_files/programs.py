"""Say why a program could not be executed, as the kernel would find: its path, its first line, its interpreter.

The command line, the daemon and, once a start has failed, the shim ask this; it imports the standard library alone.
"""

# ruff: noqa: PTH112, PTH113, PTH118, PTH119, PTH208
# No pathlib: the shim of a run asks this too.

import os
import stat
from collections.abc import Sequence

DEFAULT_PATH = "/bin:/usr/bin"  # what execvp(3) searches when there is no PATH
_FIRST_LINE_BYTES = 256  # of which the kernel reads an interpreter: BINPRM_BUF_SIZE of execve(2)
_MOST_INTERPRETERS = 4  # scripts that name scripts: with a fifth execve(2) fails with ELOOP
_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_PROCESSORS = {  # ELF's e_machine: its own, then those that its kernels may execute as well
    "x86_64": (62, 3), "aarch64": (183, 40), "ppc64le": (21,), "s390x": (22,), "riscv64": (243,),
}  # fmt: skip
_OWN_FORMATS = "/proc/sys/fs/binfmt_misc"  # what else this kernel was told to execute


def why_not_executable(program: str, workdir: str, search: str) -> str | None:
    """Say why executing a program in `workdir`, with PATH `search`, is certain to fail; None when it is not."""
    path = found_program(program, workdir, search)
    if path is None:
        return _why_not_found(program, workdir)
    return _why_not_file(program, path) or why_not_by_kernel(path, workdir, search)


def found_program(program: str, workdir: str, search: str) -> str | None:
    """Return the file that a program's name means in `workdir`; None when PATH `search` has none."""
    if "/" in program:
        return os.path.join(workdir, program)
    folders = (os.path.join(workdir, folder) for folder in search.split(os.pathsep))
    return next((path for folder in folders if _is_program(path := os.path.join(folder, program))), None)


def interpreter_of(path: str) -> list[str] | None:
    """Return the words of a script's `#!` line, of which there are at most two; None for any other file."""
    head = _head(path)
    if not head.startswith(b"#!"):
        return None
    return head.split(b"\n", 1)[0][2:].strip(b" \t").decode(errors="replace").split(None, 1)


def _why_not_found(program: str, workdir: str) -> str:
    here = os.path.join(workdir, program)
    if os.path.isfile(here) and (why := why_not_by_kernel(here, workdir, None)):
        return why
    hint = f"for the file here write ./{program}" if os.path.isfile(here) else "check its spelling"
    later = f"for one that will only exist later, submit sh -c '{program} ...'"
    return f"there is no program '{program}' in PATH; {hint} ({later})"


def _why_not_file(program: str, path: str) -> str | None:
    if os.path.isdir(path):
        return f"{path} is a folder, not a program; name the program in it"
    if not os.path.isfile(path):
        return f"there is no program {path}; check its path (it is taken from the job's folder, see --workdir)"
    if not os.access(path, os.X_OK, effective_ids=True):
        return f"{path} is not executable; run chmod +x on it, or name its interpreter, like: python {program}"
    return None


def why_not_by_kernel(path: str, workdir: str, search: str | None) -> str | None:
    """Say why the kernel would not execute what is in this file; None for a binary, and where it cannot be told.

    Without a PATH `search`, what env(1) would find is not looked for.
    """
    for _ in range(_MOST_INTERPRETERS + 1):
        head = _head(path)
        if not head.startswith(b"#!"):
            return _why_no_binary(path, head)
        first, ended, _ = head.partition(b"\n")
        words = first[2:].strip(b" \t").decode(errors="surrogateescape").split(None, 1)
        if why := _why_not_first_line(path, first, words, is_whole=bool(ended) or len(head) < _FIRST_LINE_BYTES):
            return why
        interpreter = os.path.join(workdir, words[0])
        if why := _why_not_interpreter(path, words[0], interpreter):
            return why
        if os.path.basename(interpreter) == "env":
            return _why_not_by_env(path, words[1:], workdir, search)
        path = interpreter
    return f"{path} is a script whose interpreter is a script, and so on: the kernel does not follow so many"


def _why_no_binary(path: str, head: bytes) -> str | None:
    if _has_own_formats() or (b"\0" in head and head[:2] not in _MARKS and not head.startswith(b"\x7fELF")):
        return None
    if head.startswith(b"\x7fELF"):
        return _why_not_of_this_machine(path, head)
    mark = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
    if mark:
        return f"{path} begins with a byte-order mark ({mark}), so the kernel does not see its #!; save it without one"
    if not head:
        return f"{path} is empty, so there is nothing to execute"
    how = "begin it with a line like #!/bin/sh or #!/usr/bin/env python3, or name its interpreter before it"
    return f"{path} has no #! line, so the kernel cannot execute it; {how}"


def _why_not_of_this_machine(path: str, head: bytes) -> str | None:
    """Say that a binary is of another kind of processor; None for this one's, and where either is not known."""
    kind = int.from_bytes(head[18:20], "big" if head[5:6] == b"\x02" else "little")
    here = os.uname().machine
    if len(head) < 20 or here not in _PROCESSORS or kind in _PROCESSORS[here]:
        return None
    known = next((name for name, kinds in _PROCESSORS.items() if kind == kinds[0]), f"another (ELF machine {kind})")
    return f"{path} is a binary for the processor {known}, and this machine has {here}; build or get it for this one"


def _why_not_first_line(path: str, first: bytes, words: Sequence[str], *, is_whole: bool) -> str | None:
    if first.endswith(b"\r"):
        named = first[2:].decode(errors="replace").strip()
        return f"{path} has CRLF line ends, so its interpreter would be '{named}\\r'; convert it, as with dos2unix"
    if not words:
        return f"{path} names no interpreter after #!; write a path there, like #!/bin/sh"
    if not is_whole and len(words) == 1:
        return f"{path} has a #! line of more than {_FIRST_LINE_BYTES - 1} bytes, more than the kernel reads"
    return None


def _why_not_interpreter(path: str, named: str, interpreter: str) -> str | None:
    if os.path.isdir(interpreter):
        return f"the interpreter of {path}, {named}, is a folder; correct its #! line"
    if not os.path.isfile(interpreter):
        where = "" if named.startswith("/") else " (a relative path, taken from the job's folder)"
        return f"the interpreter of {path}, {named}, does not exist{where}; install it, or correct the #! line"
    if not os.access(interpreter, os.X_OK, effective_ids=True):
        return f"the interpreter of {path}, {named}, is not executable; correct its #! line"
    return None


def _why_not_by_env(path: str, words: Sequence[str], workdir: str, search: str | None) -> str | None:
    """Say why env(1) would not find the program that a `#!` line has it look for."""
    if not words:
        return f"{path} names no program after #!/usr/bin/env; write one there, like python3"
    text = words[0].strip()
    is_split = text.startswith(("-S", "--split-string"))
    if not is_split and any(sign.isspace() for sign in text):
        return (
            f"env would look for one program named '{text}', as the kernel passes all after #!/usr/bin/env in {path} "
            f"as one word; write #!/usr/bin/env -S {text}"
        )
    if is_split:
        text = text.removeprefix("-S").removeprefix("--split-string").removeprefix("=").strip()
    if search is None:
        return None
    program, search = _program_of_env(text.split(), search)
    if not program or "$" in program or "\\" in program:
        return None
    found = found_program(program, workdir, search)
    if found is None:
        how = "install it, or correct the #! line"
        return f"{path} is run by '{program}', which env does not find in the job's PATH; {how}"
    return _why_not_interpreter(path, program, found)


def _program_of_env(words: Sequence[str], search: str) -> tuple[str, str]:
    """Return the program among the words that env gets, and the PATH it is searched in; "" where that is not sure."""
    rest = iter(words)
    for word in rest:
        if word in ("-i", "-", "--ignore-environment"):
            search = DEFAULT_PATH
        elif word in ("-u", "--unset"):
            search = DEFAULT_PATH if next(rest, "") == "PATH" else search
        elif word.startswith("PATH="):
            search = word.removeprefix("PATH=")
        elif word in ("-v", "--debug") or ("=" in word and not word.startswith("-")):
            continue
        elif word.startswith(("-", "'", '"')):
            return "", search
        else:
            return word, search
    return "", search


def _has_own_formats() -> bool:
    """Whether this kernel executes more than ELF and `#!`: such as Java, Wine, or binaries of another architecture."""
    try:
        return any(name not in ("register", "status") for name in os.listdir(_OWN_FORMATS))
    except OSError:
        return False


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)


def _head(path: str) -> bytes:
    """Return the start of a plain file; as if it were a binary's where it may be executed but not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"\x7fELF"
    try:
        is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.pread(descriptor, _FIRST_LINE_BYTES, 0) if is_plain else b""
    finally:
        os.close(descriptor)
