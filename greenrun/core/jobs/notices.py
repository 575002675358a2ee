"""What people can be told of: which events are about what, and whether one is for a hook."""

from collections.abc import Collection
from enum import StrEnum

from greenrun.core.jobs.job import Event, Job, State
from greenrun.core.jobs.spec import Notice
from greenrun.core.jobs.trail import EventKind


class Topic(StrEnum):
    """What a hook can be told of; the first ones are those of jobs, which are told of by choice (`Notice`)."""

    STARTED = "started"
    ENDED = "ended"
    FAILED = "failed"
    LATE = "late"
    BUDGET = "budget"
    SOURCE = "source"
    DAEMON = "daemon"


_OF_KIND: dict[str, frozenset[Topic]] = {
    EventKind.STARTED: frozenset({Topic.STARTED}),
    EventKind.FINISHED: frozenset({Topic.ENDED}),
    EventKind.LIMIT_AT_RISK: frozenset({Topic.LATE}),
    EventKind.LIMIT_MISSED: frozenset({Topic.LATE}),
    EventKind.BUDGET_NEAR: frozenset({Topic.BUDGET}),
    EventKind.BUDGET_SPENT: frozenset({Topic.BUDGET}),
    EventKind.SOURCE_LOST: frozenset({Topic.SOURCE}),
    EventKind.SOURCE_BACK: frozenset({Topic.SOURCE}),
    EventKind.CONDITION_BEGAN: frozenset({Topic.DAEMON}),
    EventKind.CONDITION_OVER: frozenset({Topic.DAEMON}),
}
TOLD_KINDS = frozenset(_OF_KIND)
_FAILURES = frozenset({State.FAILED, State.EXPIRED})


def topics_of(event: Event) -> frozenset[Topic]:
    """Return what an event is about; nothing where nobody is told of it. A job that was cancelled has not failed."""
    found = _OF_KIND.get(event.kind, frozenset())
    if event.kind == EventKind.FINISHED and event.detail.get("state") in _FAILURES:
        return found | {Topic.FAILED}
    return found


def is_for(event: Event, job: Job | None, topics: Collection[Topic], *, only_asked: bool) -> bool:
    """Whether a hook of these topics is told of an event; of a job with `only_asked` if its user asked for it."""
    about = topics_of(event).intersection(topics)
    if job is None or not only_asked:
        return bool(about)
    return any(topic.value in map(str, job.spec.notify) for topic in about)


NOTICES = tuple(Notice)
