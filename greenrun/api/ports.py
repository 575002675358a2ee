"""What the API needs of the store, by subject."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from greenrun.core.credentials import Credential
from greenrun.core.energy.capping_effect import CappingEffect
from greenrun.core.energy.ledger import Entry, Total
from greenrun.core.errors import JobError
from greenrun.core.jobs.history import FinishedJob
from greenrun.core.jobs.job import Event, Job, Origin, Run, State, Submission
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode
from greenrun.core.jobs.selection import Purpose, Selection, Selector
from greenrun.core.jobs.stored_transitions import Permit
from greenrun.core.jobs.trail import NewEvent
from greenrun.core.jobs.transitions import Intent


class ApiJobs(Protocol):
    """The jobs, and what their users may want of them."""

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        project: str | None = None,
        user: str | None = None,
        uid: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        before: int | None = None,
    ) -> Sequence[Job]:
        """Return jobs in these states (all when empty) with ids below `before`, by id; the newest first on request."""

    def of_keys(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""

    def submission(self, user: str, key: str) -> Submission | None:
        """Return what came of the request that this user gave this key; None for one that is not known (any more)."""

    def count_queued(self) -> int:
        """Return how many jobs are queued."""

    def job_states(self, job_ids: Collection[int]) -> Mapping[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""

    def owners(self, job_ids: Collection[int]) -> Mapping[int, int]:
        """Return the uid of each of these jobs' submitters; a job that does not exist is absent."""

    def intend(
        self,
        intent: Intent,
        job_ids: Sequence[int],
        *,
        actor: str,
        now: datetime,
        permit: Permit,
        origin: Origin | None = None,
    ) -> Sequence[Job | JobError]:
        """Note what a user wants of jobs; return each as it is then, or why it was refused, in the order asked.

        What can be done is done, together. `permit` raises NotPermitted for a job that the user may not change.
        """

    def intend_for(
        self,
        intent: Intent,
        selector: Selector,
        *,
        actor: str,
        uid: int,
        now: datetime,
        permit: Permit,
        origin: Origin | None = None,
    ) -> Sequence[Job | JobError]:
        """Note what a user wants of the jobs that a selector means, which are found in the same transaction.

        Return each as it is then, or why it was refused, and an error for each word that names no job.
        """

    def jobs_of(self, job_ids: Sequence[int]) -> Sequence[Job]:
        """Return these jobs in this order, read together; raise JobNotFound."""

    def select(self, selector: Selector, purpose: Purpose, *, uid: int, permit: Permit) -> Selection:
        """Return the jobs that a selector means for this purpose, as a user sees them."""

    def events(
        self,
        job_id: int | None = None,
        limit: int = 1000,
        *,
        job_ids: Collection[int] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        before: int | None = None,
        actor: str | None = None,
        kinds: Collection[str] = (),
        visible_to: int | None = None,
    ) -> Sequence[Event]:
        """Return events in order, the latest `limit` of them, or the first with an id above `after`.

        With `before`, only those with an id below it.

        With `visible_to`, only those of this user's jobs, what this user did, and what is about no job.
        """

    def note_event(self, event: NewEvent) -> None:
        """Add an event that is about no job; raise StoreError."""


class ApiRuns(Protocol):
    """The runs of jobs."""

    def live_runs(self) -> Sequence[Run]:
        """Return the runs without an outcome, by id."""

    def of_jobs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[AnomalyEpisode]]:
        """Return the anomalies of each run of these jobs by its id, in order; a run without any is absent."""


class ApiBooks(Protocol):
    """The energy and emissions of runs."""

    def run_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return each run's energy and emissions as the books have them now."""

    def entries(self, *, job_id: int | None = None, limit: int = 1000, before: int | None = None) -> Sequence[Entry]:
        """Return ledger entries in time order, the latest `limit` of them, or of those before the entry of this id."""


class ApiCappingEffects(Protocol):
    """What lowered power limits did."""

    def effects(self, run_ids: Sequence[int]) -> Mapping[int, CappingEffect]:
        """Return what lowered power limits did in those of these runs that have ended and had one."""


class ApiHistory(Protocol):
    """Finished jobs, to learn from."""

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        """Return the user's latest succeeded jobs of this stated name or project, newest first."""


class ApiCredentials(Protocol):
    """Sessions and tokens; of their secrets only the digests are known."""

    def credentials(self) -> Sequence[Credential]:
        """Return all, also those that are over."""

    def add(self, made: Credential, event: NewEvent) -> Credential:
        """Keep one, with an event, and return it with its id; those that are over are forgotten."""

    def remove(self, credential: Credential, event: NewEvent) -> None:
        """Forget one, with an event."""

    def note_use(self, credential_id: int, *, at: datetime, address: str) -> None:
        """Keep when and where one was last used."""

    def note(self, event: NewEvent) -> None:
        """Add an event of what was refused."""


class ApiStore(Protocol):
    """What the routes read, and change on request; each call raises StoreError."""

    @property
    def jobs(self) -> ApiJobs: ...

    @property
    def runs(self) -> ApiRuns: ...

    @property
    def books(self) -> ApiBooks: ...

    @property
    def history(self) -> ApiHistory: ...

    @property
    def capping_effects(self) -> ApiCappingEffects: ...

    @property
    def credentials(self) -> ApiCredentials: ...
