"""Sessions and tokens: who they stand for, until when, and the digests of their secrets."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from greenrun.core.credentials import Credential, CredentialKind, Scope
from greenrun.core.jobs.trail import NewEvent
from greenrun.store.database import Database
from greenrun.store.tables import CREDENTIALS
from greenrun.store.trail import add_event


class CredentialRepository:
    """Keeps sessions and tokens until they are over; each change with an event, in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def credentials(self) -> Sequence[Credential]:
        """Return all, also those that are over, in the order in which they were made."""
        with self._database.read() as session:
            return [_credential(row) for row in session.execute(select(CREDENTIALS).order_by(CREDENTIALS.c.id))]

    def add(self, made: Credential, event: NewEvent) -> Credential:
        """Keep one, with an event, and return it with its id; those that are over are forgotten."""
        values = {column.name: getattr(made, column.name) for column in CREDENTIALS.c if column.name != "id"}
        with self._database.write() as session:
            session.execute(delete(CREDENTIALS).where(CREDENTIALS.c.expires_at <= made.made_at))
            number = session.execute(insert(CREDENTIALS).returning(CREDENTIALS.c.id), values).scalar_one()
            kept = replace(made, id=number)
            add_event(session, replace(event, detail={**_facts(kept), **event.detail}))
        return kept

    def remove(self, credential: Credential, event: NewEvent) -> None:
        """Forget one, with an event; that it is gone already is no event."""
        with self._database.write() as session:
            gone = delete(CREDENTIALS).where(CREDENTIALS.c.id == credential.id).returning(CREDENTIALS.c.id)
            if session.execute(gone).first() is not None:
                add_event(session, replace(event, detail={**_facts(credential), **event.detail}))

    def note_use(self, credential_id: int, *, at: datetime, address: str) -> None:
        """Keep when and where one was last used."""
        with self._database.write() as session:
            used = {"last_used_at": at, "last_address": address}
            session.execute(update(CREDENTIALS).where(CREDENTIALS.c.id == credential_id).values(used))

    def note(self, event: NewEvent) -> None:
        """Add an event of what was refused."""
        with self._database.write() as session:
            add_event(session, event)


def _credential(row: Any) -> Credential:
    values = dict(row._mapping)
    return Credential(**{**values, "kind": CredentialKind(row.kind), "scope": Scope(row.scope)})


def _facts(row: Credential) -> dict[str, object]:
    """Return what the trail tells of one: nothing that could be used."""
    facts: dict[str, object] = {row.kind.value: row.id, "user": row.user, "name": row.name}
    return facts | ({"scope": row.scope.value} if row.kind is CredentialKind.TOKEN else {})
