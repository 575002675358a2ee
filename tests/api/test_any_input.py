"""Whatever a client sends, the answer is an acceptance or a problem document that says what is wrong."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.api.job_request import JobIn
from tests.api.any_json import VALUES
from tests.api.fakes import World
from tests.sampling import examples

INSTANTS = st.datetimes().map(lambda instant: f"{instant.isoformat()}Z")
FIELDS = st.sampled_from([*JobIn.model_json_schema()["properties"], "nonsense"])
WORLD = World()


@settings(examples(150), suppress_health_check=list(HealthCheck), database=None)
@given(parts=st.dictionaries(FIELDS, VALUES | INSTANTS | st.floats(0, 1e7), max_size=6))
def test_any_job_is_accepted_or_refused_with_the_fields_that_are_wrong(parts: dict[str, Any]) -> None:
    body = json.dumps({"command": ["/bin/true"], "workdir": "/", **parts})
    answer = WORLD.ask("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 201, 422)
    assert answer.status_code != 200 or parts.get("unique_key"), "200 means that its key was known"
    assert answer.status_code in (200, 201) or answer.json()["errors"]


@settings(examples(100), suppress_health_check=list(HealthCheck), database=None)
@given(body=st.binary(max_size=64) | VALUES.map(repr).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_as_a_bad_request(body: bytes) -> None:
    answer = WORLD.ask("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code in (400, 422), answer.headers["content-type"]) == (True, "application/problem+json")
