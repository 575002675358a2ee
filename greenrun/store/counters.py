"""The persisted counters: totals that outlive restarts, added to in the transaction of what they count."""

import json
from collections.abc import Mapping
from functools import lru_cache

from sqlalchemy import Text, select, type_coerce
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.histogram import CounterKey, Labels
from greenrun.store.tables import COUNTERS


def count(session: Session, amounts: Mapping[CounterKey, float]) -> None:
    """Add these amounts (never negative) to the persisted counters."""
    rows = [{"name": name, "labels": dict(labels), "value": amount} for (name, labels), amount in amounts.items()]
    if not rows:
        return
    statement = upsert(COUNTERS)
    added = statement.on_conflict_do_update(
        index_elements=[COUNTERS.c.name, COUNTERS.c.labels],
        set_={"value": COUNTERS.c.value + statement.excluded.value},
    )
    session.connection().execute(added, rows)


def counters_of(session: Session) -> dict[CounterKey, float]:
    """Return the persisted counters by metric name and sorted labels."""
    labels = type_coerce(COUNTERS.c.labels, Text).label("labels")
    rows = session.execute(select(COUNTERS.c.name, labels, COUNTERS.c.value))
    return {(row.name, _labels(row.labels)): row.value for row in rows}


@lru_cache(maxsize=4096)
def _labels(text: str) -> Labels:
    """The same few hundred are read for every scrape."""
    return tuple(sorted(json.loads(text).items()))
