"""Few descriptors are shared out between the daemon's parts, and too few refused with how many it takes."""

import resource
from collections.abc import Iterator

import pytest

from greenrun.api.identity import PeerProtocol
from greenrun.api.serving.connections import BoundedProtocol
from greenrun.core.errors import ConfigError
from greenrun.daemon import descriptors
from greenrun.daemon.descriptors import OWN, Descriptors
from greenrun.host_shortage import STARTS_TAKE
from greenrun.store.database import CONNECTIONS
from tests.world import T0


@pytest.fixture(autouse=True)
def _bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave this process's own limit and the bounds of connections as they are."""
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(descriptors, "_open_now", lambda: 3)
    before = PeerProtocol.most, BoundedProtocol.most
    yield
    PeerProtocol.most, BoundedProtocol.most = before


def shared(monkeypatch: pytest.MonkeyPatch, limit: int, *, has_tcp: bool = False) -> Descriptors:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(descriptors, "_inherited", lambda: (limit, limit))  # kept while the process lives
    return Descriptors(has_tcp=has_tcp)


@pytest.mark.parametrize("limit", [28, 32, 48, 64, 100, 256, 500, 743])
def test_all_that_may_be_open_at_once_is_no_more_than_the_limit_and_a_gpu_can_be_had(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    found = shared(monkeypatch, limit, has_tcp=limit > 28)
    callers = PeerProtocol.most + 1 + (limit > 28) * (BoundedProtocol.most + 1)
    assert 3 + OWN + (limit > 28) + 2 * found.database + callers + STARTS_TAKE + 1 <= limit


@pytest.mark.parametrize(("has_tcp", "least"), [(False, 21), (True, 22)])
def test_too_few_are_refused_with_how_many_it_takes(monkeypatch: pytest.MonkeyPatch, has_tcp: bool, least: int) -> None:
    shared(monkeypatch, least, has_tcp=has_tcp)
    with pytest.raises(ConfigError, match=f"may have {least - 1} files open, .* needs {least} at least"):
        shared(monkeypatch, least - 1, has_tcp=has_tcp)


def test_what_was_inherited_open_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_open_now", lambda: 8)
    with pytest.raises(ConfigError, match="needs 26 at least"):
        shared(monkeypatch, 24)


def test_with_few_it_is_said_how_many_gpus_a_job_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    (told,) = shared(monkeypatch, 24).check(T0)
    assert told.text.endswith("a job with more than 4 GPUs cannot be started")
    (told,) = shared(monkeypatch, 64).check(T0)
    assert "GPU" not in told.text


@pytest.mark.parametrize("limit", [1024, 20_000, resource.RLIM_INFINITY])
def test_with_enough_nobody_gets_less(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    before = PeerProtocol.most, BoundedProtocol.most
    found = shared(monkeypatch, limit)
    assert (found.check(T0), found.database, (PeerProtocol.most, BoundedProtocol.most)) == ([], CONNECTIONS, before)
