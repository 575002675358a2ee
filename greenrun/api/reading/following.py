"""Wait for news on behalf of a caller who asked to: bounded in time, and in how many may wait at once."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from greenrun.api.service import Service

MOST_FOLLOWERS = 64  # each holds one of the 256 connections
LONGEST_WAIT_S = 30.0
LOOK_EVERY_S = 0.5

Found = TypeVar("Found")
WaitS = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)]


async def look_until(
    request: Request, daemon: Service, wait_s: float, look: Callable[[], Found], is_news: Callable[[Found], bool]
) -> Found:
    """Return what `look` finds, as soon as that is news or `wait_s` is over; at once where the daemon is to end.

    `look` is called in a thread, twice a second. Raise HTTPException 503 where too many wait already.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    found = await run_in_threadpool(look)
    if not wait_s or is_news(found):
        return found
    followers: set[object] = request.app.state.followers
    if len(followers) >= MOST_FOLLOWERS:
        told = f"{MOST_FOLLOWERS} callers wait for news already, so this one cannot: ask without wait_s, or later."
        raise HTTPException(503, told, {"Retry-After": "5"})
    place = object()
    followers.add(place)
    try:
        while not is_news(found) and (left_s := until_s - loop.time()) > 0 and not await _is_over(request, daemon):
            await _pause(min(left_s, LOOK_EVERY_S))
            found = await run_in_threadpool(look)
    finally:
        followers.discard(place)
    return found


async def _is_over(request: Request, daemon: Service) -> bool:
    return daemon.scheduler.health().draining or await request.is_disconnected()


async def _pause(for_s: float) -> None:
    paused = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(for_s, paused.set_result, None)
    try:
        await paused
    finally:
        timer.cancel()
