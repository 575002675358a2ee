"""Have the daemon fetch past values from its sources, a week at a time, at the rate that they allow."""

import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli import text
from greenrun.cli.command import FAILED, OK, USAGE, LocalError
from greenrun.cli.options import print_json
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, span_text
from greenrun.submission.local_zone import told_instant

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

PATIENCE_S = 300.0  # a source that asks to wait for longer than this is left for another day
TRIES = 3

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Span = tuple[datetime, datetime]


@dataclass
class Gathered:
    """What was fetched so far."""

    given: int = 0
    new: int = 0
    series: dict[str, Any] | None = None  # the last one reported
    providers: list[str] = field(default_factory=list)
    holes: list[dict[str, str]] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    refused: str | None = None

    def take(self, answer: "Answer") -> None:
        """Add a week's answer from a source, or why there is none."""
        if answer["series"] is not None:
            self.given, self.new = self.given + answer["given"], self.new + answer["new"]
            self.series, self.holes = answer["series"], [*answer["holes"], *self.holes]
            self.providers = list(dict.fromkeys([*self.providers, answer["series"]["provider"]]))
        elif all(failure["is_final"] for failure in answer["failures"]):
            self.refused = answer["failures"][-1]["message"]
        else:
            why = answer["failures"][-1]["message"]
            self.missing.insert(0, {"start": answer["start"], "end": answer["end"], "message": why})

    def as_json(self) -> dict[str, Any]:
        """Return it as printed."""
        counts = {"given": self.given, "new": self.new, "known": self.given - self.new}
        return {"series": self.series, **counts, "holes": self.holes, "missing": self.missing, "refused": self.refused}


def span(start: str | None, end: str | None) -> Span:
    """Return the interval that the options name; raise LocalError."""
    if start is None:
        raise LocalError("--from is needed: from when on, like --from 2026-06-01", USAGE)
    now = utc_now()
    since, until = _instant(start, "--from", now), min(now, _instant(end, "--to", now) if end else now)
    if since >= until:
        raise LocalError("--from: nothing that is past lies between it and --to", USAGE)
    return since, until


def run(
    client: "ApiClient", wanted: Span, zone: str | None, provider: str | None, *, as_json: bool, shows: bool
) -> None:
    """Fetch the interval from its latest week back, print the outcome, and exit with 1 unless it is complete."""
    gathered, (start, end) = Gathered(), wanted
    while start < end and gathered.refused is None:
        if shows:
            print(f"\r{end:%Y-%m-%d}: {gathered.given} values so far", end="", file=sys.stderr, flush=True)
        answer = _asked(client, (start, end), zone, provider)
        gathered.take(answer)
        end = text.instant(answer["start"])  # what is nearest is of most use, and what is refused first is the oldest
    if shows:
        print(file=sys.stderr)
    if as_json:
        print_json(gathered.as_json())
    else:
        for line in _lines(gathered, wanted):
            print(text.printable(line))
    raise click.exceptions.Exit(FAILED if gathered.refused or gathered.missing else OK)


def pause(seconds: float) -> None:
    """Wait."""
    threading.Event().wait(seconds)


def _instant(raw: str, option: str, now: datetime) -> datetime:
    """Read an instant; a day alone is its beginning."""
    try:
        return told_instant(f"{raw} 00:00" if _DATE.fullmatch(raw) else raw, now)
    except ValueError as exc:
        raise LocalError(f"{option}: {exc}", USAGE) from exc


def _asked(client: "ApiClient", wanted: Span, zone: str | None, provider: str | None) -> "Answer":
    """Request the last week of an interval until a source answers, or no source is worth asking again."""
    since, until = (at.isoformat() for at in wanted)
    for tries_left in reversed(range(TRIES)):
        answer = client.fetch_history(since, until, zone, provider)
        waits_s = [failure["retry_after_s"] for failure in answer["failures"] if failure["retry_after_s"]]
        if answer["series"] is not None or not waits_s or min(waits_s) > PATIENCE_S or not tries_left:
            break
        pause(min(waits_s))
    return answer


def _lines(gathered: Gathered, wanted: Span) -> Iterator[str]:
    now = utc_now()
    first, last = (clock_text(at, now) for at in wanted)
    known = gathered.given - gathered.new
    whose = f"{gathered.series['zone']} by {' and '.join(gathered.providers)}" if gathered.series else "nothing"
    yield f"{whose}: {gathered.given} values from {first} to {last}, {gathered.new} new and {known} known before"
    for hole in gathered.holes[:10]:
        yield f"hole: {_span_text(hole, now)}"
    if len(gathered.holes) > 10:
        yield f"and {len(gathered.holes) - 10} more holes"
    for piece in gathered.missing:
        yield f"missing: {_span_text(piece, now)}: {piece['message']}"
    if gathered.refused:
        yield f"it ended there, and what came before is kept: {gathered.refused}"


def _span_text(piece: dict[str, str], now: datetime) -> str:
    return span_text(text.instant(piece["start"]), text.instant(piece["end"]), now)
