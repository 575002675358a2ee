"""Lists come in pages, answers have tags, and who asks to waits for what is new."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from greenrun.api.reading.paging import cursor_of
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.executors.log_file import Log, parts
from tests.api.fakes import ADA, NOW, RUN, World, stored
from tests.patience import HANGS_S


def pages(world: World, path: str) -> list[list[int]]:
    """The ids of each page of a list, from its first on."""
    found: list[list[int]] = []
    target: str | None = path
    while target:
        answer = world.ask("GET", target)
        found.append([row["id"] for row in answer.json()])
        target = answer.links.get("next", {}).get("url")
    return found


def note(world: World, count: int) -> None:
    for _ in range(count):
        world.store.jobs.note_event(NewEvent(at=NOW, actor="scheduler", kind=EventKind.DEVICES_CHANGED, detail={}))


def test_pages_of_jobs_go_back_to_the_first_and_keep_the_filters(world: World) -> None:
    world.store.keep(*(stored(number, project="a" if number % 2 else "b") for number in range(1, 8)))
    assert pages(world, "/v1/jobs?limit=3") == [[5, 6, 7], [2, 3, 4], [1]]
    assert pages(world, "/v1/jobs?limit=2&project=a") == [[5, 7], [1, 3], []]


def test_pages_of_events_go_back_to_the_first(world: World) -> None:
    note(world, 5)
    assert pages(world, "/v1/events?limit=2") == [[4, 5], [2, 3], [1]]
    assert "link" not in world.ask("GET", "/v1/events?after=1&limit=2").headers  # who goes on from an id pages by ids


@pytest.mark.parametrize("cursor", ["", "12", "YmVmb3JlIDA=", "YmVmb3JlIHg=", "%00", "bm9uZQ==", cursor_of(2**63)])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/events", "/v1/ledger"])
def test_a_cursor_that_was_not_given_is_refused(world: World, path: str, cursor: str) -> None:
    answer = world.ask("GET", f"{path}?cursor={cursor}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/1", "/v1/jobs/1/explain", "/v1/plan", "/v1/devices"])
def test_who_has_an_answer_is_told_that_nothing_has_changed(world: World, path: str) -> None:
    world.store.keep(stored(1))
    tag = world.ask("GET", path).headers["etag"]
    same = [world.ask("GET", path, headers={"if-none-match": asked}) for asked in (tag, f'"x", W/{tag}', "*")]
    assert [(answer.status_code, answer.content, answer.headers["etag"]) for answer in same] == [(304, b"", tag)] * 3
    assert world.ask("GET", path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_tag_changes_with_its_answer_alone(world: World) -> None:
    world.store.keep(stored(1))
    tags = [world.ask("GET", "/v1/jobs").headers["etag"] for _ in range(2)]
    world.store.keep(stored(1, State.RUNNING))
    assert (tags[0] == tags[1], world.ask("GET", "/v1/jobs").headers["etag"] == tags[0]) == (True, False)


def test_what_is_refused_done_or_told_anew_each_time_has_no_tag(world: World) -> None:
    answers = [world.ask("GET", "/v1/jobs/9"), world.submit(), world.ask("GET", "/healthz")]
    assert [answer.headers.get("etag") for answer in answers] == [None, None, None]


def logged(world: World, path: Path, *, outcome: Outcome | None = None) -> None:
    world.store.keep(stored(1, State.RUNNING))
    world.store.job_runs[1] = [replace(RUN, id=1, number=1, log=str(path), outcome=outcome)]


def test_a_log_is_read_by_offsets_that_stay_when_its_parts_are_moved_away(world: World, tmp_path: Path) -> None:
    """An offset counts all that was ever written; what was dropped is skipped, and that is told."""
    log = Log(str(tmp_path / "log"), 2048)
    logged(world, tmp_path / "log")
    seen = b""
    for number in range(60):
        log.write(b"line %03d %s\n" % (number, b"x" * 40))
        answer = world.ask("GET", f"/v1/jobs/1/logs?offset={len(seen)}")
        assert int(answer.headers["greenrun-log-offset"]) == len(seen)
        seen += answer.content
    kept = b"".join(Path(part).read_bytes() for part in parts(str(tmp_path / "log")))
    assert (seen.endswith(kept), seen.count(b"\nline "), len(seen) > len(kept)) == (True, 59, True)
    first = world.ask("GET", "/v1/jobs/1/logs?offset=0")
    told = {name: int(first.headers[f"greenrun-log-{name}"]) for name in ("offset", "end")}
    assert (first.content, told) == (kept, {"offset": len(seen) - len(kept), "end": len(seen)})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-3", (206, b"0123", "bytes 0-3/10")),
        ("bytes=7-", (206, b"789", "bytes 7-9/10")),
        ("bytes=-2", (206, b"89", "bytes 8-9/10")),
        ("bytes=4-99", (206, b"456789", "bytes 4-9/10")),
        ("bytes=10-", (416, None, "bytes */10")),
        ("bytes=3-1", (200, b"0123456789", None)),
        ("bytes=0-1,4-5", (200, b"0123456789", None)),
        ("lines=0-3", (200, b"0123456789", None)),
    ],
)
def test_a_range_of_a_log_is_given_as_http_has_it(
    world: World, tmp_path: Path, asked: str, expected: tuple[int, bytes | None, str | None]
) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    logged(world, tmp_path / "log")
    answer = world.ask("GET", "/v1/jobs/1/logs", headers={"range": asked})
    content = None if answer.status_code == 416 else answer.content
    assert (answer.status_code, content, answer.headers.get("content-range")) == expected


@pytest.mark.parametrize(("outcome", "said"), [(None, "false"), (Outcome.SUCCEEDED, "true")])
def test_a_log_says_whether_more_can_come(world: World, tmp_path: Path, outcome: Outcome | None, said: str) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    logged(world, tmp_path / "log", outcome=outcome)
    ended = [world.ask("GET", f"/v1/jobs/1/logs?offset={at}&bytes=4").headers["greenrun-log-ended"] for at in (0, 6)]
    assert ended == ["false", said]


def both(world: World, path: str, happens: Any) -> httpx.Response:
    """Ask, let something happen while the answer waits, and return it."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=world.app, client=(ADA, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://greenrun") as client:
            asked = asyncio.create_task(client.get(path))
            async with asyncio.timeout(HANGS_S):
                while not world.app.state.followers:
                    await asyncio.wait([asked], timeout=0.001)
                happens()
                return await asked

    return asyncio.run(run())


def test_who_follows_events_is_answered_when_there_is_one(world: World) -> None:
    note(world, 2)
    answer = both(world, "/v1/events?after=2&wait_s=30", lambda: note(world, 1))
    assert ([row["id"] for row in answer.json()], world.app.state.followers) == ([3], set())


def test_who_follows_a_log_is_answered_when_it_grows_and_when_the_run_ends(world: World, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    logged(world, tmp_path / "log")
    path = "/v1/jobs/1/logs?offset=4&wait_s=30"
    grown = both(world, path, lambda: (tmp_path / "log").write_bytes(b"one\ntwo\n"))
    ended = both(world, path.replace("4&", "8&"), lambda: logged(world, tmp_path / "log", outcome=Outcome.SUCCEEDED))
    told = [(row.content, row.headers["greenrun-log-ended"]) for row in (grown, ended)]
    assert told == [(b"two\n", "false"), (b"", "true")]


def test_nobody_waits_without_asking_to_or_for_longer_than_asked(world: World, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    logged(world, tmp_path / "log")
    paths = ("/v1/events?wait_s=30", "/v1/events?after=0&wait_s=0.01", "/v1/jobs/1/logs?wait_s=30")
    assert [world.ask("GET", path).status_code for path in paths] == [200] * 3
    assert world.ask("GET", "/v1/events?after=0&wait_s=31").status_code == 422


def test_too_many_followers_are_refused_and_told_when_to_come_again(world: World) -> None:
    world.app.state.followers |= set(range(64))
    answer = world.ask("GET", "/v1/events?after=0&wait_s=5")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert world.ask("GET", "/v1/events?after=0").status_code == 200
