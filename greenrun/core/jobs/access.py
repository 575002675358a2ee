"""Who may see and touch what: the one place that decides it, for every caller and every answer.

A job is its submitter's. What others see of it is the site's choice (`Sharing`); what they may do to it is not: only
its submitter, the members of an admin group, root and the daemon's own user may change it or read its log.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from greenrun.core.credentials import Credential, CredentialKind, Scope
from greenrun.core.errors import JobNotFound, NotPermitted
from greenrun.core.formatting import count_text
from greenrun.core.jobs.job import Job, Origin
from greenrun.core.jobs.reasons import Reason, ReasonCode

GROUP_MARK = "@"  # before the name of a group among users


class Sharing(StrEnum):
    """What a user sees of another one's jobs."""

    PRIVATE = "private"
    LISTED = "listed"
    OPEN = "open"


class Access(IntEnum):
    """What a caller may do with a job: each level includes those below it."""

    NOTHING = 0  # it is as if it did not exist
    LISTED = 1  # name, state, GPUs and times
    READ = 2  # its whole record; neither its log nor the values of its variables
    ALL = 3  # to change it and to read its log, too


class Role(StrEnum):
    """As what somebody calls."""

    OPERATOR = "operator"  # root, or the daemon's own user
    ADMIN = "admin"  # a member of an admin group
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Somebody who looks; `groups` are those of the system's group database. Without one nobody is known (uid -1).

    Whom the kernel does not name has shown a `credential`, from an `address`.
    """

    uid: int
    name: str
    groups: frozenset[str] = frozenset()
    is_operator: bool = False
    pid: int | None = None
    address: str | None = None
    credential: Credential | None = None

    @property
    def origin(self) -> Origin:
        """Where what somebody asks for comes from, for the audit trail."""
        return Origin(uid=self.uid, pid=self.pid, address=self.address)

    @property
    def is_limited(self) -> bool:
        """Whether this is a token that does not let its user act on all jobs, whoever that is."""
        return self.credential is not None and self.credential.scope is not Scope.ADMIN

    @property
    def is_program(self) -> bool:
        """Whether a token was shown, which is no proof that its user is there."""
        return self.credential is not None and self.credential.kind is CredentialKind.TOKEN


ANYBODY = Viewer(uid=-1, name="")  # who asks where nobody is identified, as for metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """The site's rules: what others see, the groups that may do everything, and the members of closed projects.

    `operators` names those who may do everything, for refusals. A project that is not in `members` is open to all;
    of its members, those with a `@` before them are groups.
    """

    others: Sharing = Sharing.LISTED
    admin_groups: tuple[str, ...] = ()
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operators: str = "root"

    def role(self, viewer: Viewer) -> Role:
        """Return as what somebody calls."""
        if viewer.is_limited:
            return Role.USER
        if viewer.is_operator:
            return Role.OPERATOR
        return Role.ADMIN if viewer.groups.intersection(self.admin_groups) else Role.USER

    def may_all(self, viewer: Viewer) -> bool:
        """Whether this is somebody who may see and touch everything."""
        return self.role(viewer) is not Role.USER

    def access(self, viewer: Viewer, uid: int, user: str | None = None) -> Access:
        """Return what somebody may do with the jobs of user `uid`, who was called `user` when submitting them."""
        if is_same_user(viewer, uid, user) or self.may_all(viewer):
            return Access.ALL
        return {Sharing.PRIVATE: Access.NOTHING, Sharing.LISTED: Access.LISTED, Sharing.OPEN: Access.READ}[self.others]

    def require_visible(self, viewer: Viewer, job: Job) -> Job:
        """Return the job; raise JobNotFound, as for one that does not exist, when it is hidden."""
        if self.access(viewer, job.uid, job.user) is Access.NOTHING:
            raise JobNotFound(f"there is no job {job.id}")
        return job

    def require_all(self, viewer: Viewer, job: Job) -> Job:
        """Return the job; raise NotPermitted, or JobNotFound when it is hidden, unless the caller may do everything."""
        if self.access(viewer, self.require_visible(viewer, job).uid, job.user) is not Access.ALL:
            raise NotPermitted(
                f"Job {job.id} belongs to {job.user}: {viewer.name} may look at it but not touch it, nor read its log. "
                f"That is for its owner, {self.who_may_all}: ask one of them."
            )
        return job

    def require_own(self, viewer: Viewer, job: Job, what: str) -> Job:
        """Return the job; raise NotPermitted unless the caller may say what is executed, and written, as its user."""
        if is_same_user(viewer, job.uid, job.user) or self.role(viewer) is Role.OPERATOR:
            return job
        raise NotPermitted(
            f"Job {job.id} runs as {job.user}, so {what} of it may be changed by {job.user} and {self.operators} "
            f"alone, and {viewer.name} is neither: nothing was changed. Cancel or hold it, or ask one of them."
        )

    def require_read(self, viewer: Viewer, job: Job, what: str) -> Job:
        """Return the job; raise NotPermitted unless the caller may see its whole record, of which `what` was asked."""
        if self.access(viewer, self.require_visible(viewer, job).uid, job.user) < Access.READ:
            raise NotPermitted(
                f'Job {job.id} belongs to {job.user}, and [sharing] others = "{self.others}" shows others its name, '
                f"state, GPUs and times alone, not {what}. That is for its owner, {self.who_may_all}: ask one of them."
            )
        return job

    def require_role(self, viewer: Viewer, what: str) -> None:
        """Raise NotPermitted, naming `what` was asked, unless the caller may do everything."""
        if not self.may_all(viewer):
            limited = ", and this token is for less: it takes one with --scope admin" if viewer.is_limited else ""
            raise NotPermitted(f"Only {self.who_may_all} may {what}{limited or ': ask one of them'}.")

    def require_member(self, viewer: Viewer, project: str) -> None:
        """Raise NotPermitted when the project is closed and the caller is not one of its members, whoever that is."""
        members = self.members.get(project)
        if members is None or is_among(viewer, members):
            return
        raise NotPermitted(
            f"Project {project} has members ([project.{project}] members), and {viewer.name} is none of them, so "
            "nothing was accepted: take another --project, or ask who runs this machine to be made a member."
        )

    def sees_budget(self, viewer: Viewer, kind: str, name: str) -> bool:
        """Whether somebody may see what a user has used, or what a project may use that they may submit to."""
        if self.may_all(viewer):
            return True
        if kind == "user":
            return name == viewer.name or self.others is Sharing.OPEN
        members = self.members.get(name)
        return members is None or is_among(viewer, members)

    @property
    def names_groups(self) -> bool:
        """Whether it matters in which groups a caller is."""
        names = (name for names in self.members.values() for name in names)
        return bool(self.admin_groups) or any(name.startswith(GROUP_MARK) for name in names)

    @property
    def who_may_all(self) -> str:
        """Name those who may do everything, for a sentence."""
        groups = ", ".join(self.admin_groups)
        named = f" and members of the group{'s' if len(self.admin_groups) > 1 else ''} {groups}" if groups else ""
        return f"{self.operators}{named}"


def is_same_user(viewer: Viewer, uid: int, user: str | None) -> bool:
    """Whether this is who submitted a job: a number that was given to another account since is another user's.

    One whose account has no name is told by the number alone.
    """
    return viewer.uid == uid and (user is None or viewer.name in (user, str(uid)))


def is_among(viewer: Viewer, names: Collection[str]) -> bool:
    """Whether a list of users and `@groups` has this one."""
    return viewer.name in names or any(f"{GROUP_MARK}{group}" in names for group in viewer.groups)


# Of these reasons the sentences tell of the plan, the grid and the GPUs alone: neither of a command nor of its end.
_OF_THE_PLAN = frozenset({
    ReasonCode.CLEANEST_WINDOW, ReasonCode.NOW_IS_CLEANEST, ReasonCode.SHARED_WINDOW, ReasonCode.CLEAN_ENOUGH,
    ReasonCode.NOT_WORTH_WAITING, ReasonCode.ASKED_NOW, ReasonCode.DUE, ReasonCode.SOONEST, ReasonCode.DEADLINE,
    ReasonCode.NO_FORECAST, ReasonCode.FORECAST_TOO_SHORT, ReasonCode.NO_LIMIT_LEFT, ReasonCode.PROVISIONAL,
    ReasonCode.GPUS_BUSY, ReasonCode.GIVES_WAY, ReasonCode.GPUS_HELD_ELSEWHERE, ReasonCode.GPUS_USED_BY_OTHERS,
    ReasonCode.GPUS_LOST, ReasonCode.DRAINED, ReasonCode.TOO_FEW_GPUS, ReasonCode.NO_CPU_SLOTS, ReasonCode.HELD,
    ReasonCode.POWER_CAP, ReasonCode.TOO_MUCH_POWER,
    ReasonCode.WAITS_FOR, ReasonCode.ARRAY_FULL, ReasonCode.CANCEL_REQUESTED, ReasonCode.GOES_ON, ReasonCode.SUSPENDED,
    ReasonCode.CHECKPOINTED, ReasonCode.SUCCEEDED, ReasonCode.CANCELLED, ReasonCode.EXPIRED, ReasonCode.HOST_SHORT,
})  # fmt: skip
NOT_TOLD = "why is told to its owner alone"


def reason_for_others(reason: Reason | None) -> Reason | None:
    """Return as much of a reason as is told to those for whom a job is listed."""
    if reason is None or reason.code in _OF_THE_PLAN:
        return reason
    return Reason(reason.code, NOT_TOLD)


def name_for_others(job: Job) -> str:
    """Return what a job is called for those who may not see its command, from which a name may be made."""
    return job.name if job.spec.name else f"job {job.id}"


_JOBS = re.compile(r"\b[Jj]obs? (?P<ids>\d+(?:, \d+)*)(?: and (?P<more>\d+) more)?(?![\d.])")
_RUN = re.compile(r"\brun (?P<job>\d+)\.\d+")


def jobs_named(texts: Iterable[str]) -> frozenset[int]:
    """Return the numbers of the jobs that sentences name, also by their runs."""
    rows = list(texts)
    found = {int(number) for text in rows for match in _JOBS.finditer(text) for number in match["ids"].split(", ")}
    return frozenset(found | {int(match["job"]) for text in rows for match in _RUN.finditer(text)})


def without_jobs(text: str, is_visible: Callable[[int], bool]) -> str:
    """Return a sentence in which those jobs are not named by number that are hidden; how many they are stays."""

    def told(match: re.Match[str]) -> str:
        ids = [int(number) for number in match["ids"].split(", ")]
        seen = [job_id for job_id in ids if is_visible(job_id)]
        hidden = len(ids) - len(seen) + int(match["more"] or 0)
        if len(seen) == len(ids):
            return match[0]
        if not seen:
            return "a job of another user" if hidden == 1 else f"{hidden} jobs of other users"
        named = f"job{'s' if len(seen) > 1 else ''} {', '.join(map(str, seen))}"
        return f"{named} and {count_text(hidden, 'other job')}"

    def run_told(match: re.Match[str]) -> str:
        return match[0] if is_visible(int(match["job"])) else "a run of another user"

    return _RUN.sub(run_told, _JOBS.sub(told, text))
