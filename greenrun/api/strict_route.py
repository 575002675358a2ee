"""Refuse what a request says and no route would hear: query parameters that are not known, and what is said twice.

Ignored, `?dry-run=true` would submit jobs, and of two values of one key only the last would count.
"""

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from greenrun.api.reading.entity_tags import unless_known

_MOST_SHOWN = 100  # characters of a name that a client made up


class StrictRoute(APIRoute):
    """A route that keeps what is asked, or refuses it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind a look at the query, with a reader of JSON that takes a key once."""
        handle = super().get_route_handler()
        repeats = dict(_parameters(self.dependant))

        async def strict(request: Request) -> Response:
            if wrong := _wrong_in_query(request, repeats):
                raise RequestValidationError(wrong)
            return unless_known(request, await handle(_StrictRequest(request.scope, request.receive)))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        return json.loads(await self.body(), object_pairs_hook=_once)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of these pairs; raise JSONDecodeError when a key comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise json.JSONDecodeError(f"it says {name[:_MOST_SHOWN]!r} twice", "", 0)
    return found


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield the query's parameters by name, and whether each may come several times."""
    yield from ((param.alias, "list[" in str(param.field_info.annotation)) for param in dependant.query_params)
    for other in dependant.dependencies:
        yield from _parameters(other)


def _wrong_in_query(request: Request, repeats: Mapping[str, bool]) -> list[dict[str, Any]]:
    counts = Counter(name for name, _ in request.query_params.multi_items())
    known = f"is not a parameter here: there {_listed(list(repeats))}"
    unknown = [_wrong(name, known) for name in counts if name not in repeats]
    twice = [name for name, count in counts.items() if count > 1 and not repeats.get(name, True)]
    return [*unknown[:10], *(_wrong(name, "is given twice: give it once") for name in twice)]


def _wrong(name: str, why: str) -> dict[str, Any]:
    return {"type": "query", "loc": ("query", name[:_MOST_SHOWN]), "msg": why}


def _listed(names: Sequence[str]) -> str:
    return f"{'are' if len(names) > 1 else 'is'} {', '.join(names)}" if names else "are none"
