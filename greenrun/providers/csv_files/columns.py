"""The columns of a CSV file: greenrun's own format, or that of the Electricity Maps portal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenrun.core.carbon.intensity import Basis

PLAIN_HEADER = ("start", "g_per_kwh")
ISSUED_HEADER = ("issued_at", *PLAIN_HEADER)

_UTC, _ZONE, _ESTIMATED = "datetime (utc)", "zone id", "data estimated"
_VALUES = {
    Basis.LIFECYCLE: ("carbon intensity gco2eq/kwh (life cycle)", "carbon intensity gco2eq/kwh (lca)"),
    Basis.DIRECT: ("carbon intensity gco2eq/kwh (direct)",),
}
_HAS_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The indices of a row's cells; None: there is no such column.

    `basis` is that of the values, if the header states it; instants without an offset are then in UTC.
    """

    width: int
    start: int
    value: int
    issued: int | None = None
    zone: int | None = None
    estimated: int | None = None
    basis: Basis | None = None

    def instant_text(self, text: str) -> str:
        """Return an instant as written, with the UTC offset that the header implies."""
        return f"{text}Z" if self.basis and text and not _HAS_ZONE.search(text) else text

    def is_estimated(self, cells: Sequence[str]) -> bool:
        """Whether a row's value was estimated according to the file; in doubt it was."""
        return self.estimated is not None and cells[self.estimated].strip().lower() != "false"


def columns_of(header: Sequence[str], basis: Basis | None) -> Columns:
    """Return the columns of a file with this header; raise ValueError with a sentence for an unknown header.

    `basis` chooses among a portal file's columns; LIFECYCLE if None.
    """
    names = [name.strip() for name in header]
    if tuple(names) == PLAIN_HEADER:
        return Columns(width=2, start=0, value=1)
    if tuple(names) == ISSUED_HEADER:
        return Columns(width=3, issued=0, start=1, value=2)
    plain = [name.lower().replace("₂", "2") for name in names]
    if _UTC in plain and any(name in plain for known in _VALUES.values() for name in known):
        return _of_portal(plain, basis or Basis.LIFECYCLE)
    wanted = f"{','.join(PLAIN_HEADER)} or {','.join(ISSUED_HEADER)} or the Electricity Maps portal's"
    raise ValueError(f"its header is {','.join(header)[:80]!r} instead of {wanted}")


def _of_portal(names: Sequence[str], basis: Basis) -> Columns:
    value = _place(names, _VALUES[basis])
    if value is None:
        other = next(each for each in Basis if each is not basis)
        raise ValueError(f'it has no {basis} intensities; set basis = "{other}", which it has')
    return Columns(
        width=len(names), start=names.index(_UTC), value=value, zone=_place(names, (_ZONE,)),
        estimated=_place(names, (_ESTIMATED,)), basis=basis,
    )  # fmt: skip


def _place(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
