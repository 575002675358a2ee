"""What is told of an event: a payload for programs, a subject and a text for people. Commands and environments are not.

docs/notifications.md has the schema of the payload, made of these models.
"""

from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from greenrun.core.formatting import instant_text, iso_text
from greenrun.core.jobs.job import Event, Job, State
from greenrun.core.jobs.notices import Topic, topics_of
from greenrun.core.jobs.trail import EventKind
from greenrun.core.parsing import parse_instant

MOST_SUBJECT = 150
MOST_TEXT = 2000

Type = Literal[
    "job.started", "job.ended", "job.at_risk", "job.late", "budget.near", "budget.spent", "source.lost", "source.back",
    "condition.began", "condition.over",
]  # fmt: skip
_TYPES: dict[str, Type] = {
    EventKind.STARTED: "job.started",
    EventKind.FINISHED: "job.ended",
    EventKind.LIMIT_AT_RISK: "job.at_risk",
    EventKind.LIMIT_MISSED: "job.late",
    EventKind.BUDGET_NEAR: "budget.near",
    EventKind.BUDGET_SPENT: "budget.spent",
    EventKind.SOURCE_LOST: "source.lost",
    EventKind.SOURCE_BACK: "source.back",
    EventKind.CONDITION_BEGAN: "condition.began",
    EventKind.CONDITION_OVER: "condition.over",
}


class NotificationPart(BaseModel):
    """A part of a notification; later releases may add fields, and remove none."""

    model_config = ConfigDict(frozen=True)


class JobPart(NotificationPart):
    """The job that it is about, as it is when this is sent; `limit` is the last instant at which it should end."""

    id: int
    name: str
    user: str
    project: str
    state: str
    reason: str | None
    submitted_at: str
    finished_at: str | None
    run: int | None = Field(description="The number of the run that started or ended; null for a job that never ran.")
    outcome: str | None = Field(description="How that run ended, such as succeeded, failed, timed_out or lost.")
    exit_code: int | None
    limit: str | None
    expected_end: str | None = Field(description="Of a job that is at risk: when it will end as it looks now.")


class SourcePart(NotificationPart):
    """The source of carbon intensity that is lost or back."""

    provider: str
    cause: str | None


class ConditionPart(NotificationPart):
    """What is wrong with the daemon or its machine, or was."""

    code: str
    effect: str
    text: str
    remedy: str
    since: str


class BudgetPart(NotificationPart):
    """A budget that is used up to `share` (0.8 is 80 %) in this period."""

    model_config = ConfigDict(frozen=True, extra="allow")

    owner: str = Field(description="Whose it is, such as user ada or project vision.")
    what: str = Field(description="What it is of, such as gpu_hours, kwh, kg_co2e or money.")
    period: str
    used: float
    limit: float
    share: float


class Notification(NotificationPart):
    """One notification. It may come more than once, always with the same `id`."""

    schema_version: Literal[1] = 1
    id: Annotated[str, Field(description="The same however often it is sent, and no other notification's.")]
    type: Type
    topics: list[Topic]
    at: Annotated[str, Field(description="When it happened, ISO 8601 in UTC.")]
    host: str
    attempt: Annotated[int, Field(ge=1, description="The how many-eth try to send it this is.")]
    subject: str
    text: str
    job: JobPart | None = None
    source: SourcePart | None = None
    condition: ConditionPart | None = None
    budget: BudgetPart | None = None


def notification(event: Event, job: Job | None, *, id: str, host: str, attempt: int) -> Notification:
    """Return what is told of an event, of which `topics_of` says something."""
    kind, detail = _TYPES[event.kind], dict(event.detail)
    parts: dict[str, Any] = {}
    if job is not None:
        parts["job"] = _job_part(job, detail)
    if kind in ("source.lost", "source.back"):
        parts["source"] = SourcePart(provider=_text(detail.get("provider")), cause=detail.get("cause"))
    if kind in ("condition.began", "condition.over"):
        parts["condition"] = ConditionPart(**{name: _text(detail.get(name)) for name in ConditionPart.model_fields})
    if kind in ("budget.near", "budget.spent"):
        parts["budget"] = BudgetPart.model_validate(detail)
    subject, text = _words(event, kind, job, detail)
    return Notification(
        id=id,
        type=kind,
        topics=sorted(topics_of(event)),
        at=iso_text(event.at),
        host=host,
        attempt=attempt,
        subject=_line(f"[greenrun {host}] {subject}", MOST_SUBJECT),
        text=f"{text[:MOST_TEXT]}\n",
        **parts,
    )


def _job_part(job: Job, detail: dict[str, Any]) -> JobPart:
    limit = job.own_limit
    return JobPart(
        id=job.id,
        name=_name(job, MOST_SUBJECT),
        user=job.user,
        project=job.spec.project,
        state=job.state,
        reason=job.reason.text if job.reason else None,
        submitted_at=iso_text(job.submitted_at),
        finished_at=iso_text(job.finished_at) if job.finished_at else None,
        run=detail.get("number"),
        outcome=detail.get("outcome"),
        exit_code=detail.get("exit_code"),
        limit=iso_text(limit) if limit else None,
        expected_end=detail.get("expected_end"),
    )


def _words(event: Event, kind: str, job: Job | None, detail: dict[str, Any]) -> tuple[str, str]:
    if job is not None:
        name = f"job {job.id} ({_name(job, 60)})"
        said, more = _of_job(kind, job, detail)
        text = f"{name} of {job.user}, project {job.spec.project}, {said}.{more}"
        return (
            f"{name} {said}",
            f"{text}\n\n`greenrun explain {job.id}` says more, `greenrun logs {job.id}` shows its log.",
        )
    if kind == "source.lost":
        what = f"the source {detail.get('provider')} does not answer"
        return what, f"{what} any more ({detail.get('cause')}). What is known of it stays in use until it is too old."
    if kind == "source.back":
        what = f"the source {detail.get('provider')} answers again"
        return what, f"{what}."
    if kind == "condition.began":
        return _text(detail.get("code")).replace("_", " "), f"{detail.get('text')}.\n\n{detail.get('remedy')}."
    if kind == "condition.over":
        what = f"{_text(detail.get('code')).replace('_', ' ')} is over"
        return what, f"{what}, {instant_text(event.at)}."
    whose, share = _text(detail.get("owner")), float(detail.get("share", 0))
    what = f"the budget of {whose} is used to {share:.0%}"
    return what, f"{what}: {detail.get('used')} of {detail.get('limit')} {detail.get('what')}, {detail.get('period')}."


def _name(job: Job, most: int) -> str:
    """Return the given name, or the program's: the whole command may hold secrets."""
    name = job.spec.name or PurePath(job.spec.command[0]).name
    return _line(name if job.spec.array is None else f"{name}[{job.spec.array.index}]", most)


def _of_job(kind: str, job: Job, detail: dict[str, Any]) -> tuple[str, str]:
    if kind == "job.started":
        return "has started", ""
    if kind == "job.late":
        return "has missed its limit", _limit_text(detail.get("limit"), " It was to end by {}.")
    if kind == "job.at_risk":
        ends = _limit_text(detail.get("expected_end"), " As it looks now it ends at {}.")
        return "will miss its limit", _limit_text(detail.get("limit"), " It is to end by {}.") + ends
    state = detail.get("state") or job.state
    said = {State.SUCCEEDED: "has succeeded", State.FAILED: "has failed", State.CANCELLED: "was cancelled"}
    reason = f" Why: {_line(job.reason.text, 500)}." if job.reason else ""
    return said.get(State(state), f"has {state}"), reason


def _limit_text(instant: object, sentence: str) -> str:
    return sentence.format(instant_text(_instant(instant))) if isinstance(instant, str) else ""


def _instant(text: str) -> datetime:
    return parse_instant(text)


def _line(text: str, most: int) -> str:
    """Return text as one line that commands neither a terminal nor a mail's header."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def _text(value: object) -> str:
    return "" if value is None else str(value)
