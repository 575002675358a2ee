"""A job or its changes as they were stated, without what is wrong, and what is wrong with it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from greenrun.core.errors import InputProblem


class Stated(NamedTuple):
    """A job or its changes without the fields that are wrong, which those are, and what is told of them.

    `told` are the fields of which something is told; not all of them had to be left out.
    """

    fields: dict[str, Any]
    problems: Sequence[InputProblem] = ()
    told: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()

    def without(self, wrong: Iterable[str]) -> "Stated":
        """Return it without these fields as well."""
        names = frozenset(wrong)
        kept = {name: value for name, value in self.fields.items() if name not in names}
        return self._replace(fields=kept, told=self.told | names, left_out=self.left_out | names)
