"""A source on the web in the tests' hands: it answers a provider's questions well, or in whatever way a test wants."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import respx

from greenrun.providers import Provider
from greenrun.providers.settings import WebSettings
from greenrun.providers.web import Web

Respond = Callable[[httpx.Request], httpx.Response]
Values = Sequence[float | None]

NOW = datetime(2026, 6, 3, 10, 17, tzinfo=UTC)
SPRING = datetime(2026, 3, 29, 0, 5, tzinfo=UTC)  # an hour is left out in Europe an hour later
AUTUMN = datetime(2026, 10, 25, 0, 5, tzinfo=UTC)  # ... and one comes twice


@dataclass(frozen=True, kw_only=True)
class Source:
    """How to speak for a source.

    `forecast(starts, values)` and `history(starts, values)` write a body of the true shape, with `None` as the source
    writes a missing value; None: the source has no such thing. `side` answers what is asked besides (log-ins, lists of
    zones), and returns None for a question for data. `names_times`: instants are text, so one can lack its zone.
    `refused`, `later`: the statuses that mean "do not ask again", and "later".
    `nulls`: a value can be missing in a row. `ahead`: how far the forecast reaches.
    """

    open: Callable[[], Provider]
    zone: str
    step: timedelta
    forecast: Callable[[Sequence[datetime], Values], str] | None
    history: Callable[[Sequence[datetime], Values], str] | None = None
    is_history: Callable[[httpx.Request], bool] = lambda request: False
    side: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
    unknown_zone: str | None = "XX-NOWHERE"
    names_times: bool = True
    nulls: bool = True
    refused: frozenset[int] = frozenset({400, 401, 403, 404, 410, 422})
    later: frozenset[int] = frozenset({429, 500, 502, 503})
    ahead: timedelta = timedelta(hours=24)

    def starts(self, begin: datetime, end: datetime) -> list[datetime]:
        """The starts of the slots that touch `[begin, end)`."""
        step_s = self.step.total_seconds()
        first = datetime.fromtimestamp(begin.timestamp() // step_s * step_s, UTC)
        return [first + index * self.step for index in range(max(0, -((first - end) // self.step)))]

    def well(self, now: datetime) -> Respond:
        """Answer as the source does on a good day."""

        def respond(request: httpx.Request) -> httpx.Response:
            if (other := self.side(request)) is not None:
                return other
            return json_answer(self.body(request, now))

        return respond

    def changed(self, change: Callable[[dict[str, Any]], dict[str, Any]], now: datetime = NOW) -> Respond:
        """Answer well, but for a change in what is said."""
        return lambda request: (
            self.side(request) or json_answer(json.dumps(change(json.loads(self.body(request, now)))))
        )

    def saying(self, body: str, status: int = 200) -> Respond:
        """Answer every question for data so, and others well."""
        return lambda request: self.side(request) or json_answer(body, status)

    def body(self, request: httpx.Request, now: datetime, values: Values | None = None) -> str:
        """The body that answers this question, with these values or the true ones."""
        is_history = self.history is not None and self.is_history(request)
        speak = self.history if is_history else self.forecast
        assert speak is not None, "the provider asks for what its source does not have"
        starts = self.starts(now - timedelta(days=3), now) if is_history else self.starts(now, now + self.ahead)
        told = [truth(at) for at in starts] if values is None else list(values)
        return speak(starts[: len(told)], told)


@dataclass
class Asked:
    """The questions that reached the source."""

    requests: list[httpx.Request] = field(default_factory=list)


def truth(at: datetime) -> float:
    """The intensity of the slot that begins at an instant, in g/kWh: whole, so that any format carries it."""
    return float(100 + int(at.timestamp() // 300) % 97)


def json_answer(body: str | bytes, status: int = 200, **headers: str) -> httpx.Response:
    """An answer with a body."""
    return httpx.Response(status, content=body, headers={"Content-Type": "application/json", **headers})


@contextmanager
def answering(respond: Respond) -> Iterator[Asked]:
    """Answer every question over HTTP so, as long as this lasts."""
    asked = Asked()

    def noted(request: httpx.Request) -> httpx.Response:
        asked.requests.append(request)
        return respond(request)

    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=noted)
        yield asked


KEY = "s3cr3t/key+with=signs"


def asker(
    url: str = "https://grid.example", *, every_s: float = 1.0, timeout_s: float = 20.0, per_path: bool = False
) -> Web:
    """A source at an address."""
    settings = WebSettings(kind="test", url=url, timeout=timedelta(seconds=timeout_s))
    every, headers = timedelta(seconds=every_s), {"auth-token": KEY}
    return Web("grid", settings, every=every, per_path=per_path, secrets=[KEY], headers=headers)
