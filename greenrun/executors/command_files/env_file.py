"""Read a job's `--env-file`: lines of NAME=value, with or without `export` and quotes; `#` begins a comment."""

# ruff: noqa: PTH123
# No pathlib: the shim of a run reads it.


def variables_in(path: str) -> dict[str, str]:
    """Return the variables of a file, in order; raise OSError."""
    found: dict[str, str] = {}
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            key, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and not key.startswith("#"):
                found[key.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
