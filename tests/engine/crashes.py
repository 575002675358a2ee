"""Crashes at will: a fuse that ends the process, so to say, before or after any call of any port."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greenrun.store import Store
from tests.sampling import sampled

CHUNKS = 4
IN_CHUNKS = pytest.mark.parametrize("chunk", range(CHUNKS), ids="chunk{}".format)  # each may go to another worker


def points(calls: int, label: str, chunk: int) -> list[int]:
    """Return at which of a day's port calls this chunk of a promise crashes: all of them with `make test-long`."""
    return sampled(range(1, calls + 1), label, user=2 * CHUNKS, ci=8 * CHUNKS)[chunk::CHUNKS]


class Crash(BaseException):
    """The process dies here: nothing in the engine may catch it."""


@dataclass
class Fuse:
    """Counts port calls and blows at one of them, once; `at` None never blows."""

    at: int | None = None
    after: bool = False
    calls: int = 0


class Fused:
    """A port whose every call passes the fuse."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._port, name)
        if type(member).__module__.startswith("greenrun.store"):
            return Fused(member, self._fuse)  # a repository, each of whose calls is one of the store
        return self._call(member) if callable(member) else member

    def _call(self, member: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse.calls += 1
            blows = self._fuse.calls == self._fuse.at
            if blows and not self._fuse.after:
                raise Crash
            answer = member(*args, **kwargs)
            if blows:
                raise Crash
            return answer

        return call


def copy_of(store: Store, target: Path) -> Path:
    with closing(sqlite3.connect(store.path)) as source, closing(sqlite3.connect(target)) as copied:
        source.backup(copied)
    return target
