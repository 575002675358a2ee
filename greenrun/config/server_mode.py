"""[server]: for whom the daemon runs, one user or all of a machine, and what follows for the other settings."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from greenrun.paths import SERVICE_LOCKS, SYSTEM_SOCKET, SYSTEM_STATE
from greenrun.providers.settings import Section


class Mode(StrEnum):
    """USER: the daemon and all jobs are one user's. SYSTEM: a service of the machine, whose jobs are their users'."""

    USER = "user"
    SYSTEM = "system"


class ServerSettings(Section):
    """[server]; `group` may use the socket in system mode, beside root."""

    mode: Mode = Mode.USER
    group: Annotated[str, Field(min_length=1, max_length=64)] = "greenrun"

    @property
    def is_system(self) -> bool:
        """Whether this is the daemon of a whole machine, whose callers are several users."""
        return self.mode is Mode.SYSTEM


def with_places(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as written, with the places of a service of the machine where it is one and none are stated."""
    server = tables.get("server")
    if not isinstance(server, Mapping) or server.get("mode") != Mode.SYSTEM:
        return dict(tables)
    return {
        **tables,
        **_stated(tables, "paths", {"state": str(SYSTEM_STATE), "locks": str(SERVICE_LOCKS)}),
        **_stated(tables, "api", {"socket": str(SYSTEM_SOCKET)}),
    }


def _stated(tables: Mapping[str, Any], section: str, usual: Mapping[str, str]) -> dict[str, Any]:
    """Return a section with the usual values where none are stated; nothing where it is no section."""
    found = tables.get(section, {})
    return {section: {**usual, **found}} if isinstance(found, Mapping) else {}
