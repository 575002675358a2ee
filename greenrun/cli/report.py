"""`greenrun report`: the energy and emissions of a period, as a table or in other formats."""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from greenrun.cli.command import USAGE, Command, LocalError
from greenrun.cli.options import OptionReader, connect, daemon_options, one_of
from greenrun.cli.past_times import parse_past
from greenrun.cli.tables import output_width
from greenrun.cli.terminal.encoding import is_unicode
from greenrun.client import Answer
from greenrun.clock import utc_now
from greenrun.submission.local_zone import local_zone

_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")


@click.command("report", cls=Command)
@click.option(
    "--from", "start", metavar="T", help="From when on: 2026-11, yesterday, 7d, 'last week'. [default: this month]"
)
@click.option("--to", "end", metavar="T", help="Up to when, like 2026-11 or today. [default: now]")
@click.option("--by", metavar="WHAT", help="A row for each project, user, job, month or zone.")
@click.option("--format", "form", metavar="FORM", help="table, csv, json, html, boamps, codecarbon or sci.")
@click.option("--output", "-o", metavar="FILE", help="Write it there instead of printing it.")
@click.option("--against", metavar="FILE", help="Show what has changed since an earlier report, as JSON; its period.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a report instead; needs no daemon.")
@daemon_options
@click.pass_context
def report(
    ctx: click.Context,
    start: str | None,
    end: str | None,
    by: str | None,
    form: str | None,
    output: str | None,
    against: str | None,
    schema: bool,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Report the energy and emissions of a period: what they are, how far they are known, and what failed runs wasted.

    A date alone is its beginning in UTC, because days and months of a report are UTC; yesterday, 'last week', monday
    and the like are the beginnings of the reader's own days, and 7d is that long ago. The emissions are location-based;
    avoided emissions are reported separately.

    \b
    greenrun report
    greenrun report --from yesterday --to today
    greenrun report --from "last week" --by job
    greenrun report --from 2026-10 --to 2026-11 --format html -o october.html
    greenrun report --by job --format csv -o jobs.csv
    greenrun report --against october.json
    """
    if schema:
        _put(_schema(), output)
        return
    from greenrun.cli.output import data_sink
    from greenrun.reports.formats import AS_SENT, BY, JOB_FORMATS, MOST_ROWS, WRITERS

    reader = OptionReader()
    since, until = reader.read("--from", start, _instant), reader.read("--to", end, _instant)
    rows_by = reader.read("--by", by, one_of(BY))
    chosen = reader.read("--format", form, one_of(("table", *WRITERS))) or ("json" if as_json else "table")
    reader.read("--output", output, _require_folder)
    reader.stop()
    rows_by = rows_by or ("job" if chosen in JOB_FORMATS else "project")
    if chosen in JOB_FORMATS and rows_by != "job":
        raise LocalError(f"--by {rows_by} does not go with --format {chosen}, which has a part for each job", USAGE)
    earlier = None if against is None else _earlier(against)
    if earlier is not None:
        since, until = since or earlier["from"], until or earlier["to"]
        rows_by = rows_by if by or chosen in JOB_FORMATS else earlier["by"]
    width = output_width() if output is None else None
    client = connect(ctx, socket, config)
    if earlier is None and chosen in AS_SENT:
        with data_sink(output) as write:
            client.write_report(write, since, until, rows_by, chosen)
            write(b"" if chosen == "csv" else b"\n")
        return
    most = None if earlier is not None else MOST_ROWS.get(chosen)
    answer = client.report(since, until, rows_by, most)
    _put(_written(answer, chosen, earlier, width), output, is_data=chosen != "table")


def _put(text: str, output: str | None, *, is_data: bool = True) -> None:
    """Write a text to the file that was named, else print it: data in UTF-8, whatever characters a terminal has."""
    if output is None and is_data and not is_unicode():
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode() + (b"" if text.endswith("\n") else b"\n"))
    elif output is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        Path(output).expanduser().write_text(text, encoding="utf-8")


def _schema() -> str:
    from greenrun.reports.model import json_schema

    return json.dumps(json_schema(), ensure_ascii=False, indent=2) + "\n"


def _written(answer: Answer, form: str, earlier: dict[str, Any] | None, width: int | None) -> str:
    from greenrun.cli import report_output
    from greenrun.reports import movement
    from greenrun.reports.exports import boamps
    from greenrun.reports.model import read_report

    try:
        report = read_report(answer)
    except ValueError as exc:
        advice = "restart the daemon if its release differs from this command's"
        raise LocalError(f"this release of greenrun cannot read the daemon's report ({exc}); {advice}") from exc
    if earlier is not None:
        try:
            report = movement.compared(earlier, report)
        except ValueError as exc:
            raise LocalError(f"--against: {exc}", USAGE) from exc
    if form == "boamps" and (missing := boamps.lacking(report)):
        advice = "set it with --label boamps.FIELD=VALUE, or for all jobs in [reports] boamps"
        print(
            f"BoAmps requires what greenrun does not know of some jobs: {', '.join(missing)}; {advice}", file=sys.stderr
        )
    return report_output.render(report, form, width)


def _earlier(name: str) -> dict[str, Any]:
    """Read a report that was written as JSON; raise LocalError."""
    try:
        found = json.loads(Path(name).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise LocalError(f"--against: {name} cannot be read as a report in JSON: {why}", USAGE) from exc
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("from", "to", "by")):
        raise LocalError(f"--against: {name} is no report of greenrun in JSON", USAGE)
    return found


def _require_folder(output: str) -> None:
    """Raise ValueError unless a report can be written there, before it is made."""
    path = Path(output).expanduser().absolute()
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it, or name another file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")


def _instant(given: str) -> str:
    """Return what was given as ISO 8601 in UTC; raise ValueError with a sentence."""
    if not _DATE.fullmatch(given):
        return parse_past(given, now=utc_now(), zone=local_zone()).isoformat()
    try:
        instant = datetime.fromisoformat(given if given.count("-") > 1 else f"{given}-01")
    except ValueError as exc:
        raise ValueError(f"'{given}' is not a date; write it like 2026-11 or 2026-11-02") from exc
    return instant.replace(tzinfo=UTC).isoformat()
