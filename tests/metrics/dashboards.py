"""The dashboards and rules that greenrun ships, as tests read them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CONFIG = Path(__file__).parents[2] / "greenrun" / "packaged" / "config"
RULES, ALERTS = (CONFIG / "prometheus" / name for name in ("rules.yml", "alerts.yml"))
RULE_TESTS = sorted((CONFIG / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = sorted((CONFIG / "grafana").glob("*.json"))
VARIABLES = {"$instance": ".*", "$__rate_interval": "30s", "$__range": "5m"}  # what Grafana puts in, more or less


class Query(NamedTuple):
    """A query of a panel, as Prometheus gets it."""

    dashboard: str
    panel: str
    text: str


def read(path: Path) -> dict[str, Any]:
    """A dashboard."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard, but for the headings of its rows."""
    return [panel for panel in read(path)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Every query of every dashboard, with values in place of Grafana's variables."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                text = target["expr"]
                for name, value in VARIABLES.items():
                    text = text.replace(name, value)
                yield Query(path.stem, panel["title"], text)


def blocks(path: Path, kind: str) -> dict[str, str]:
    """The text of each alert (`kind` alert) or recording rule (record) of a file, by name."""
    parts = re.split(rf"^ +- {kind}: (\S+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
