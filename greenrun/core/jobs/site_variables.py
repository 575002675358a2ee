"""Which environment variables a site lets jobs be given: what is never passed, and what only a file may hold.

It keeps secrets out of the database and mistakes out of jobs. It is no wall: a job may set any variable itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

OWN = "GREENRUN_"  # variables that greenrun sets by itself are not the submitter's


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableRules:
    """Names of variables, in which a `*` at the end or the beginning (or both) stands for anything.

    Only what is `allowed` is passed, and nothing `refused`. A value that is to be `from_file` alone may not be stated.
    """

    allowed: tuple[str, ...] = ("*",)
    refused: tuple[str, ...] = ()
    from_file: tuple[str, ...] = ()

    def problem(self, stated: Iterable[str], in_file: Iterable[str] = ()) -> str | None:
        """Say which variables may not be passed, by which rule, and what to do; None for none of them."""
        names = sorted(name for name in stated if not name.startswith(OWN))
        both = sorted({*names, *in_file})
        if found := [name for name in both if _is_among(name, self.refused)]:
            return f"{_listed(found)} never passed to jobs here ([jobs] env_refused): leave {_it(found)} out"
        if found := [name for name in both if not _is_among(name, self.allowed)]:
            return f"{_listed(found)} not among what jobs may be given ([jobs] env_allowed): leave {_it(found)} out"
        if found := [name for name in names if _is_among(name, self.from_file)]:
            return (
                f"{_listed(found)} a secret here ([jobs] env_from_file), and a stated value is kept in the database "
                f"until the job has ended: write {_it(found)} into a file that only you can read, and name that by "
                "--env-file"
            )
        return None


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    middle = pattern.strip("*")
    if pattern.startswith("*") and (pattern.endswith("*") or not middle):
        return middle in name
    if pattern.endswith("*"):
        return name.startswith(middle)
    return name.endswith(middle) if pattern.startswith("*") else name == pattern


def _listed(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _it(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"
