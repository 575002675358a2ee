"""Read a job's `--env-file`: lines of NAME=value, with or without `export` and quotes; `#` begins a comment."""

# No pathlib: the shim of a run reads it.

import errno
import os

MOST_CHARACTERS = 2 << 20  # more than Linux takes for the environment of a program by default


def variables_in(path: str, *, is_waited_for: bool = True) -> dict[str, str]:
    """Return the variables of a file, in order; raise OSError, also for a file that is longer than any environment.

    Unless `is_waited_for`, a pipe or a file that its user holds a lease on is read as it is, or not at all.
    """
    found: dict[str, str] = {}
    opener = None if is_waited_for else open_at_once
    with open(path, encoding="utf-8", errors="surrogateescape", opener=opener) as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, f"it is longer than {MOST_CHARACTERS} characters, more than an environment may be")
    for line in text.split("\n"):
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not key.startswith("#"):
            found[key.strip()] = _unquoted(value.strip())
    return found


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for anybody, whatever it has become since it was looked at; raise OSError."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
