"""Pages of long lists: each has the latest rows, and a `Link` to the page with those before them."""

import base64
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BeforeValidator

_LARGEST_ID = 2**63 - 1


def _id_in(value: object) -> object:
    """Return the id that a cursor holds; raise ValueError for what this API has not made."""
    if value is None:
        return None
    try:
        found = int(base64.urlsafe_b64decode(str(value).encode()).decode().removeprefix("before "))
    except ValueError:
        found = 0
    if not 0 < found <= _LARGEST_ID or cursor_of(found) != value:
        raise ValueError("is no cursor: take the address that Link of the page before has")
    return found


def cursor_of(row_id: int) -> str:
    """Return the cursor of the page that ends before this row."""
    return base64.urlsafe_b64encode(f"before {row_id}".encode()).decode()


Cursor = Annotated[
    int | None,
    BeforeValidator(_id_in, json_schema_input_type=str | None),
    Query(description="Where this page begins, as `Link` of the page before has it."),
]


def next_page(request: Request, response: Response, first_id: int) -> None:
    """Tell the address of the page with the rows before the row of this id."""
    address = request.url.include_query_params(cursor=cursor_of(first_id))
    response.headers["Link"] = f'<{address.path}?{address.query}>; rel="next"'
