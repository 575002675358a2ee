"""Read a CSV file of intensities and send it to the daemon in parts, each of which is stored whole or not at all."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenrun.cli import text
from greenrun.cli.command import USAGE, LocalError
from greenrun.cli.options import print_json
from greenrun.clock import utc_now
from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.core.errors import InvalidInput, ProviderError
from greenrun.core.formatting import clock_text, count_text
from greenrun.grid.backfill import PRESENT
from greenrun.providers.csv_files.trace import SIZE_CAP_BYTES, Trace, TraceIssue, from_us, parse_trace

if TYPE_CHECKING:
    from greenrun.client import ApiClient

AT_ONCE = 5_000  # values in one request

_Part = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOptions:
    """The series of a file's values according to the options; None where not given."""

    zone: str | None = None
    provider: str | None = None
    signal: str | None = None
    accounting: str | None = None
    basis: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A file's slots as start, value and length, oldest first, and descriptions of what is left out.

    Slots are usually `step` long.
    """

    step: timedelta
    parts: Sequence[_Part]
    left_out: Sequence[str]
    holes: int

    @property
    def values(self) -> int:
        """How many values there are."""
        return sum(len(part["slots"]) for part in self.parts)


def run(client: "ApiClient", file: Path, options: SeriesOptions, *, as_json: bool) -> None:
    """Import the file and print the outcome; raise InvalidInput with all its problems."""
    _check(options)
    trace = _parsed(file, options)
    whose = _completed(client, file, options, trace)
    read = _read(trace, utc_now())
    if not read.parts:
        raise InvalidInput(f"{file} has nothing to import: {'; '.join(read.left_out)}")
    done = _sent(client, whose, read)
    if as_json:
        print_json({**done, "holes": read.holes, "left_out": list(read.left_out)})
        return
    for line in _lines(done, read):
        print(line)


def _check(options: SeriesOptions) -> None:
    """Raise LocalError for a word that is none of those an option takes."""
    for name, known in (("signal", Signal), ("accounting", Accounting), ("basis", Basis)):
        word = getattr(options, name)
        if word is not None and word not in list(known):
            raise LocalError(f"--{name}: '{word}' is not one of {', '.join(known)}", USAGE)


def _parsed(file: Path, options: SeriesOptions) -> Trace:
    try:
        with file.open("rb") as opened:
            raw = opened.read(SIZE_CAP_BYTES + 1)
    except OSError as exc:
        raise LocalError(f"{file} cannot be read ({exc.strerror}); nothing was imported", USAGE) from exc
    try:
        basis = Basis(options.basis) if options.basis else None
        return parse_trace(raw, str(file), keep_holes=True, basis=basis, zone=options.zone)
    except ProviderError as exc:
        raise InvalidInput(str(exc)) from exc


def _completed(client: "ApiClient", file: Path, options: SeriesOptions, trace: Trace) -> SeriesOptions:
    """Return the options completed from the file; the portal's values are flow-traced (consumption-based)."""
    flows = Accounting.CONSUMPTION if trace.basis else None
    provider = options.provider or _own_name(client, file)
    return replace(
        options, provider=provider, zone=options.zone or trace.zone, basis=options.basis or trace.basis,
        accounting=options.accounting or flows,
    )  # fmt: skip


def _own_name(client: "ApiClient", file: Path) -> str:
    """Return the file's own name; it must not be taken for a source's by accident, for that cannot be undone."""
    if file.stem in {row["name"] for row in client.providers()}:
        raise LocalError(
            f"{file.stem!r} is a configured provider: say --provider {file.stem} if these are its own numbers, and"
            " another name if not",
            USAGE,
        )
    return file.stem


def _read(trace: Trace, now: datetime) -> Read:
    parts, left_out = list[_Part](), dict[str, int]()

    def leave(why: str, count: int) -> None:
        left_out[why] = left_out.get(why, 0) + count

    for issue in trace.issues:
        slots = _slots(issue)
        over = [slot for slot in slots if slot[0] + slot[2] <= now]
        if issue.issued_us is None:
            leave("values that the file calls estimated", len(issue.values) - len(slots))
            leave("values of slots that are not over yet", len(slots) - len(over))
            parts += [{"issued_at": None, "slots": over[at : at + AT_ONCE]} for at in range(0, len(over), AT_ONCE)]
        elif len(over) < len(slots) or from_us(issue.issued_us) > now - PRESENT:
            leave("forecasts of the present, which only their source may provide", 1)
        elif slots:
            parts.append({"issued_at": from_us(issue.issued_us), "slots": slots})
    holes = sum(int((issue.starts_us[1:] > issue.ends_us[:-1]).sum()) for issue in trace.issues)
    step = timedelta(microseconds=trace.step_us)
    return Read(step=step, parts=parts, left_out=[f"{n} {why}" for why, n in left_out.items() if n], holes=holes)


def _slots(issue: TraceIssue) -> list[tuple[datetime, float, timedelta]]:
    rows = zip(issue.starts_us, issue.values, issue.ends_us, issue.estimated, strict=True)
    return [
        (from_us(start), float(value), from_us(end) - from_us(start))
        for start, value, end, estimated in rows
        if not estimated
    ]


def _sent(client: "ApiClient", whose: SeriesOptions, read: Read) -> dict[str, Any]:
    """Send everything, the oldest first, so that what is refused for its age is refused before anything is kept."""
    done: dict[str, Any] = {}
    head = {name: getattr(whose, name) for name in ("provider", "zone", "signal", "accounting", "basis")}
    sent = 0
    for parts in _batches(read.parts):
        answer = client.import_history(
            {**head, "step_s": read.step.total_seconds(), "parts": [_json(p, read.step) for p in parts]}
        )
        counts = {key: done.get(key, 0) + answer[key] for key in ("given", "new", "zeros")}
        dropped = Counter(done.get("dropped", {})) + Counter(answer["dropped"])
        doubt = done.get("doubt") or answer["doubt"]
        done = {**answer, **counts, "dropped": dict(dropped), "doubt": doubt}
        sent += sum(len(part["slots"]) for part in parts)
        if sys.stderr.isatty() and read.values > AT_ONCE:
            end = "\n" if sent == read.values else "\r"
            print(f"{sent} of {read.values} values", end=end, file=sys.stderr, flush=True)
    return done


def _batches(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    batch: list[_Part] = []
    for part in parts:
        if batch and sum(len(row["slots"]) for row in batch) + len(part["slots"]) > AT_ONCE:
            yield batch
            batch = []
        batch.append(part)
    yield batch


def _json(part: _Part, usual: timedelta) -> _Part:
    issued_at = part["issued_at"] and part["issued_at"].isoformat()
    told: _Part = {"issued_at": issued_at, "slots": [(start.isoformat(), value) for start, value, _ in part["slots"]]}
    steps = [step for _, _, step in part["slots"]]
    differs = any(step != usual for step in steps)
    return told | ({"steps_s": [step.total_seconds() for step in steps]} if differs else {})


def _lines(done: dict[str, Any], read: Read) -> Iterator[str]:
    series, now = done["series"], utc_now()
    is_issued = read.parts[0]["issued_at"] is not None
    what = "forecasts" if is_issued else "values"
    kind = ", ".join(part for part in (series["signal"], series["accounting"], series["basis"]) if part)
    ends = [start + step for part in read.parts for start, _, step in part["slots"][-1:]]
    first, last = read.parts[0]["slots"][0][0], max(ends)
    whose = f"{series['zone']} by {text.printable(series['provider'])} ({kind})"
    yield f"{whose}: {done['given']} {what}, {done['new']} new"
    holes = "no holes" if not read.holes else "1 hole" if read.holes == 1 else f"{read.holes} holes"
    yield f"from {clock_text(first, now)} to {clock_text(last, now)}, {holes}"
    yield from (f"left out: {why}" for why in read.left_out)
    yield from (f"left out: {count} values ({cause})" for cause, count in done["dropped"].items())
    if done["zeros"]:
        yield f"{count_text(done['zeros'], 'value')} of 0 g/kWh"
    if done["doubt"]:
        yield f"warning: {done['doubt']}"
    if not done["is_used"]:
        yield (
            f"the daemon learns from another series of {series['zone']} now, or serves another zone; if these are a"
            " configured provider's own numbers, import them with --provider NAME"
        )
