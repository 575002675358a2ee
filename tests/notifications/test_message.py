"""The payload is as it is documented, and its words are for people."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from greenrun.core.jobs.job import State
from greenrun.core.jobs.notices import TOLD_KINDS
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.notifications.message import MOST_SUBJECT, Notification, notification
from tests.notifications.build import NOW, event, job, told

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
DETAILS = {
    "condition": {"code": "disk_full", "effect": "failing", "text": "full", "remedy": "make room", "since": "2026"},
    "source": {"provider": "uk", "cause": "ProviderUnavailable"},
    "budget": {"owner": "user ada", "what": "kg", "period": "2026-11", "used": 0.8, "limit": 1.0, "share": 0.8},
}


def test_the_schema_in_the_documentation_is_that_of_the_payload() -> None:
    written = PAGE.split("```json\n")[1].split("```")[0]
    assert json.loads(written) == Notification.model_json_schema()


@pytest.mark.parametrize("kind", sorted(TOLD_KINDS))
def test_everything_that_can_be_told_has_a_type_that_is_documented_and_words(kind: str) -> None:
    detail = DETAILS.get(kind.partition("_")[0], {})
    of = None if detail else job()
    made = notification(event(kind, **detail), of, id="x-1", host="box", attempt=2)
    assert f"`{made.type}`" in PAGE
    assert Notification.model_validate_json(made.model_dump_json()) == made
    assert made.subject.startswith("[greenrun box] ")
    assert made.text.strip()
    parts = [name for name in ("job", "source", "condition", "budget") if getattr(made, name) is not None]
    assert parts == [kind.partition("_")[0] if detail else "job"]


def test_an_end_tells_how_and_why() -> None:
    failed = replace(job(name="train"), state=State.FAILED, reason=Reason(ReasonCode.EXIT_CODE, "it ended with 3"))
    made = told(failed)
    assert made.subject == "[greenrun box] job 12 (train) has failed"
    assert made.text.startswith("job 12 (train) of ada, project default, has failed. Why: it ended with 3.")
    assert made.job is not None
    assert (made.job.outcome, made.job.exit_code, made.job.run) == ("failed", 3, 1)


def test_a_risk_tells_the_limit_and_when_it_ends_as_it_looks_now() -> None:
    about = event("limit_at_risk", limit="2026-11-23T05:00:00Z", expected_end="2026-11-23T07:00:00Z")
    made = notification(about, job(finish_by=NOW), id="x", host="box", attempt=1)
    assert "will miss its limit" in made.subject
    assert "It is to end by 2026-11-23 05:00:00Z. As it looks now it ends at 2026-11-23 07:00:00Z." in made.text


def test_the_subject_is_one_line_however_long_or_odd_the_name() -> None:
    made = told(job(name="a\n\x1b[31m" + "b" * 1000))
    assert len(made.subject) <= MOST_SUBJECT
    assert made.subject.isprintable()
