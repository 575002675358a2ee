"""`greenrun zones`: list the zones and the kinds of source that serve them; needs no daemon."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import click

from greenrun.cli.command import FAILED, Command, LocalError
from greenrun.cli.options import json_option, print_json
from greenrun.cli.tables import print_table
from greenrun.core.reference.countries import COUNTRIES
from greenrun.core.reference.zones import nearest_zone


@click.command("zones", cls=Command)
@click.option("--search", metavar="TEXT", help="Only zones whose code or name has this in it.")
@json_option
def zones(search: str | None, as_json: bool) -> None:
    """List the zones that the kinds of source serve, by what this version knows of them; asks nobody.

    With --search also countries that no kind lists: a source whose zones depend on its file or its key may serve them.

    \b
    greenrun zones --search denmark
    """
    served, open_ended = _served()
    found = _found(served, search) if search else served
    rows = [{"zone": zone, **row} for zone, row in sorted(found.items())]
    if as_json:
        print_json(rows)
        return
    if not rows:
        raise LocalError(f"no zone is called '{search}', nor anything like it; `greenrun zones` lists all", FAILED)
    print_table(
        ("zone", "name", "sources"), [(row["zone"], row["name"], _sources(row) or "none known") for row in rows]
    )
    print(f"\nwhat these serve depends on their file, their address or their key: {', '.join(open_ended)}")


def _served() -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return each zone with its name and the kinds that serve it, and the kinds whose zones depend on more."""
    from greenrun.providers import find_kind, kind_names

    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"name": "", "sources": []})
    kinds = {name: find_kind(name) for name in kind_names()}
    for kind, declared in kinds.items():
        for zone, name in declared.zones.items():
            rows[zone]["name"] = rows[zone]["name"] or name or COUNTRIES.get(zone, "")
            rows[zone]["sources"].append({"kind": kind, "needs_key": declared.needs_key})
    depends = {kind: declared for kind, declared in kinds.items() if not declared.zones and declared.problem is None}
    open_ended = [f"{kind} (key)" if declared.needs_key else kind for kind, declared in depends.items()]
    return dict(rows), open_ended


def _found(served: Mapping[str, dict[str, Any]], text: str) -> dict[str, dict[str, Any]]:
    every = {code: {"name": name, "sources": []} for code, name in COUNTRIES.items()} | dict(served)
    raw = text.strip().casefold()
    near = nearest_zone(text)
    return {
        zone: row
        for zone, row in every.items()
        if zone == near or raw in zone.casefold() or raw in f"{row['name']} {COUNTRIES.get(zone[:2], '')}".casefold()
    }


def _sources(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{source['kind']} (key)" if source["needs_key"] else source["kind"] for source in row["sources"])
