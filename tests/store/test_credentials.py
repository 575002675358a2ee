"""Sessions and tokens are kept by the digest of their secret until they are over, each change with an event."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from greenrun.core.credentials import Credential, CredentialKind, Scope
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Origin
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.store import Store
from greenrun.store.migrate import SCRIPTS

NOW = datetime(2026, 3, 2, 10, 2, tzinfo=UTC)
DAY = timedelta(days=1)
TOKEN = Credential(
    id=0, kind=CredentialKind.TOKEN, digest="a" * 64, uid=1000, user="ada", name="grafana", scope=Scope.READ,
    made_at=NOW, expires_at=NOW + DAY,
)  # fmt: skip
SESSION = replace(TOKEN, kind=CredentialKind.SESSION, digest="b" * 64, scope=Scope.ADMIN, expires_at=NOW + 2 * DAY)


def event(kind: EventKind) -> NewEvent:
    return NewEvent(kind=kind, at=NOW, actor="ada", origin=Origin(uid=1000, address="10.0.0.1"))


def test_they_survive_a_restart_with_their_last_use(path: Path) -> None:
    with Store(path) as store:
        token = store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED))
        session = store.credentials.add(SESSION, event(EventKind.SIGNED_IN))
        store.credentials.note_use(token.id, at=NOW, address="10.0.0.1")
    with Store(path) as store:
        used = replace(token, last_used_at=NOW, last_address="10.0.0.1")
        assert list(store.credentials.credentials()) == [used, session]


def test_those_that_are_over_are_forgotten_and_their_numbers_are_given_to_no_other(store: Store) -> None:
    store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED))
    second = store.credentials.add(replace(SESSION, made_at=NOW + DAY), event(EventKind.SIGNED_IN))
    assert list(store.credentials.credentials()) == [second]
    assert second.id == 2


def test_each_change_is_an_event_that_does_not_tell_the_digest(store: Store) -> None:
    token = store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED))
    store.credentials.remove(token, event(EventKind.TOKEN_REVOKED))
    store.credentials.remove(token, event(EventKind.TOKEN_REVOKED))
    store.credentials.note(NewEvent(kind=EventKind.ACCESS_REFUSED, at=NOW, origin=Origin(address="10.0.0.9")))
    made, ended, refused = store.jobs.events()
    told = {"token": 1, "user": "ada", "name": "grafana", "scope": "read"}
    assert (made.kind, made.detail, made.address) == ("token_created", told, "10.0.0.1")
    assert (ended.kind, ended.detail) == ("token_revoked", told)
    assert (refused.kind, refused.uid, refused.address, refused.actor) == (
        "access_refused", None, "10.0.0.9", "scheduler",
    )  # fmt: skip


def test_no_two_have_one_secret(store: Store) -> None:
    store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED))
    with pytest.raises(StoreError):
        store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED))
    assert len(store.jobs.events()) == 1


def test_a_database_from_before_there_were_any_gets_the_table(path: Path) -> None:
    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0019")
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'credentials'").fetchall() == []
    with Store(path) as store:
        assert store.credentials.add(TOKEN, event(EventKind.TOKEN_CREATED)).id == 1
