"""Values as the API answers with them: instants in UTC with Z, null for unknown and never NaN."""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer


def instant_text(instant: datetime) -> str:
    """Return an aware instant as ISO 8601 in UTC with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


Instant = Annotated[datetime, PlainSerializer(instant_text, return_type=str, when_used="json")]
Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
