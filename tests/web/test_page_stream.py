"""An open page is sent what changed and nothing else, and its stream ends with the daemon."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from greenrun.core.errors import StoreError
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.job import State
from greenrun.core.planning.model import Plan
from greenrun.web import stream
from greenrun.web.page_state import PageState
from greenrun.web.pages import now_page
from greenrun.web.snapshots import PageSnapshot, Snapshots
from tests.api.fakes import NOW, placed, stored
from tests.web.pages import STRANGER, PageWorld, busy


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds to pass."""
    monkeypatch.setattr(stream, "_WAIT_S", 0.0)
    monkeypatch.setattr(stream, "LOOK_EVERY", 1)


def sent(snapshots: list[PageSnapshot], known: str = "", ends_after: int | None = None) -> list[tuple[str, str, Any]]:
    """Follow these snapshots, one for each look, and return the events as kind, id and data."""
    left = iter(snapshots)
    looks = 0

    def look(visitor: object, *, is_followed: bool = False) -> PageSnapshot:
        nonlocal looks
        looks += 1
        return next(left, snapshots[-1])

    def is_ending() -> bool:
        return looks >= (ends_after or len(snapshots))

    return asyncio.run(collected(look, known, is_ending))


async def collected(look: stream.SnapshotOf, known: str, is_ending: Callable[[], bool]) -> list[tuple[str, str, Any]]:
    found = []
    async for block in stream.Streams().answer(look, None, known, is_ending).body_iterator:
        assert isinstance(block, bytes)
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line and line[0] != ":")
        if "event" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


def snapshot(world: PageWorld) -> PageSnapshot:
    """The page as it is now, as nobody keeps it."""
    return Snapshots(world.page.state.service).of(None)


def changed() -> tuple[PageSnapshot, PageSnapshot]:
    world = busy()
    before = snapshot(world)
    world.store.keep(stored(9, State.RUNNING, name="new"))
    world.store.job_runs[9] = [replace(world.store.job_runs[1][0], id=9, job_id=9)]
    return before, snapshot(world)


def test_a_page_that_has_all_is_sent_nothing() -> None:
    before, _ = changed()
    assert sent([before] * 3, known=before.version) == []


def test_a_page_is_sent_the_parts_that_changed_and_no_others() -> None:
    before, after = changed()
    ((kind, number, data),) = sent([before, after, after], known=before.version)
    assert (kind, number) == ("change", after.version)
    assert set(data["fragments"]) == {"running-9", "cards", "figures"}
    assert data["lists"] == {"running": ["running-1", "running-9"]}
    assert data["redraw"] is True


def test_a_page_that_was_away_is_sent_all_there_is_once() -> None:
    """What it missed is not known after a restart, so it gets every part; then changes alone."""
    before, after = changed()
    first, second = sent([before, after], known="of another daemon")
    assert set(first[2]["fragments"]) == set(before.fragments)
    assert "health" not in second[2]["fragments"]


def test_a_stream_ends_with_the_daemon_and_after_a_while() -> None:
    before, _ = changed()
    assert sent([before] * 5, known=before.version, ends_after=1) == []
    looks = []

    def look(visitor: object, *, is_followed: bool = False) -> PageSnapshot:
        looks.append(visitor)
        return before

    asyncio.run(collected(look, before.version, lambda: False))
    assert len(looks) == stream.LASTS


def test_trouble_with_the_store_is_told_and_ends_the_stream() -> None:
    def look(visitor: object, *, is_followed: bool = False) -> PageSnapshot:
        raise StoreError("The database is busy.")

    assert asyncio.run(collected(look, "", lambda: False)) == [("trouble", "", {"text": "The database is busy."})]


def test_so_many_pages_are_followed_and_no_more() -> None:
    world = PageWorld()
    state: PageState = world.page.state.page
    for uid in range(stream.MOST_STREAMS):
        state.streams.begin(Viewer(uid=uid, name=""))
    answer = world.get("/page/stream", who=STRANGER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


def test_pages_that_ask_at_once_are_counted_before_they_are_sent_anything() -> None:
    """Each that is let in has its place at once: of many that ask together no more are let in."""
    streams, before = stream.Streams(), changed()[0]
    for uid in range(stream.MOST_STREAMS):
        viewer = Viewer(uid=uid, name="")
        assert not streams.are_full(viewer)
        streams.answer(lambda _, is_followed=False: before, viewer, "", lambda: False)
    assert streams.are_full(None)


@pytest.mark.parametrize("visitor", [None, Viewer(uid=41001, name="ada")])
def test_nobody_shuts_out_the_others_by_following_many_pages(visitor: Viewer | None) -> None:
    streams = stream.Streams()
    for _ in range(stream.MOST_OF_ONE):
        assert not streams.are_full(visitor)
        streams.begin(visitor)
    assert streams.are_full(visitor)
    assert not streams.are_full(Viewer(uid=41002, name="bob"))
    streams.end(visitor)
    assert not streams.are_full(visitor)


@pytest.mark.parametrize("is_over", ["revoked", "signed out", "expired"])
def test_a_stream_ends_with_the_session_that_asked_for_it(is_over: str) -> None:
    world = PageWorld()
    known = world.page.state.service.entrance.known
    _, session = known.begin_session(41001, "ada", "127.0.0.1", "browser")
    visitor = Viewer(uid=41001, name="ada", credential=session)
    service = world.page.state.service
    assert now_page.is_known_still(service, visitor)
    assert now_page.is_known_still(service, None)
    if is_over == "revoked":
        known.revoke(session.kind, session.id, uid=41001, by="ada", origin=visitor.origin)
    elif is_over == "signed out":
        known.sign_out(session, visitor.origin)
    else:
        world.now = session.expires_at
    assert not now_page.is_known_still(service, visitor)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_stream_that_ends_is_counted_no_more(is_broken: bool) -> None:
    """Whether it was sent to its end, or nobody was there to be sent anything."""
    streams, before, counted = stream.Streams(), changed()[0], []

    async def receive() -> dict[str, str]:
        await asyncio.get_running_loop().create_future()
        return {}

    async def send(_: object) -> None:
        counted.append(streams.open)
        if is_broken:
            raise OSError("nobody is there")

    answer = streams.answer(lambda _, is_followed=False: before, None, "", lambda: True)
    with suppress(Exception):
        asyncio.run(answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send))  # type: ignore[arg-type]
    assert (set(counted), streams.open) == ({1}, 0)


def test_a_plan_that_changes_moves_the_rows_of_the_queue() -> None:
    world = PageWorld()
    world.store.keep(stored(1), stored(2))
    snapshots = Snapshots(replace(world.page.state.service, now=iter_clock()))
    viewer = viewer_of_ada()
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(1), placed(2)))
    before = snapshots.of(viewer)
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(2), placed(1)))
    change = snapshots.of(viewer).since(before)
    assert change["lists"] == {"queue": ["queued-2", "queued-1"]}
    assert [name for name in change["fragments"] if name.startswith("queued")] == []


def test_an_open_page_is_made_again_only_when_something_is_new_and_not_at_once() -> None:
    """While nothing happens nothing is rendered; who loads the page gets what is new without a pause."""
    world = busy()
    snapshots, viewer = Snapshots(world.page.state.service), viewer_of_ada()
    first = snapshots.of(viewer)
    assert snapshots.of(viewer) is first
    world.scheduler.latest = Plan(made_at=NOW, placements=())
    assert snapshots.of(viewer, is_followed=True) is first
    assert snapshots.of(viewer).version != first.version


def iter_clock() -> Callable[[], Any]:
    """A clock that goes on by a minute each time that it is read, so that nothing is kept."""
    reads = iter(range(10_000))
    return lambda: NOW + timedelta(minutes=next(reads))


def viewer_of_ada() -> Viewer:
    return Viewer(uid=41001, name="ada")
