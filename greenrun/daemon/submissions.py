"""Accept what is submitted: each request all or none, and those of one moment together, in one transaction.

A commit that is durable, and the places in the plan that go with it, cost about the same for one request as for twenty.
So whoever comes while others are accepted waits, and the first of those who wait accepts all of them. Each gets the
answer that it would get alone, and none before its jobs are durable.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event, Lock

from greenrun.api.service import Preview, Submitted
from greenrun.api.submit import require_room
from greenrun.core.errors import InvalidJob, JobError, StoreError
from greenrun.core.jobs.acceptance import raised
from greenrun.core.jobs.job import Job, JobRequest
from greenrun.core.planning.model import Placement, Waiting
from greenrun.engine.engine import Engine
from greenrun.engine.planning import Admission, Urgency, together
from greenrun.store.jobs import JobRepository

MOST_JOBS = 1000  # that are accepted together, but for those of a single request

Stored = Sequence[tuple[Job, bool]]


class _Entry:
    """A request that waits for its answer."""

    def __init__(self, request: JobRequest) -> None:
        self.request = request
        self.called = Event()  # when it is answered, or it is its turn to answer all who wait
        self.rows: Sequence[Submitted] | None = None
        self.failure: BaseException | None = None

    @property
    def is_answered(self) -> bool:
        return self.rows is not None or self.failure is not None

    def answer(self) -> list[Submitted]:
        if self.failure is not None:
            raise self.failure
        return list(self.rows or ())


class Submissions:
    """Accepts requests. `turn` is held by whoever calls the engine; `ask` has a plan made, and `wake` the engine tick.

    No more than `most_queued` jobs are queued, whoever submits them.
    """

    def __init__(
        self,
        engine: Engine,
        jobs: JobRepository,
        turn: AbstractContextManager[object],
        ask: Callable[[Urgency], None],
        wake: Callable[[], None],
        most_queued: int,
    ) -> None:
        self._engine, self._jobs, self._turn = engine, jobs, turn
        self._ask, self._wake, self._most_queued = ask, wake, most_queued
        self._door = Lock()  # held for moments, to come or to go
        self._waiting: list[_Entry] = []
        self._is_led = False

    def submit(self, request: JobRequest) -> list[Submitted]:
        """Store the jobs, all or none, if each can run as specified; raise JobError, StoreError."""
        own = _Entry(request)
        with self._door:
            self._waiting.append(own)
            leads, self._is_led = not self._is_led, True
        if not leads:
            own.called.wait()
        if not own.is_answered:
            self._lead(own)
        return own.answer()

    def _lead(self, own: _Entry) -> None:
        """Answer those who wait, the first of whom is `own`, and call the next one."""
        entries: list[_Entry] = []
        try:
            with self._turn:  # no other job may get the same GPUs between the admission and the insert
                entries = self._take()
                self._answer(entries)
        except BaseException as exc:
            for each in entries:
                each.failure = each.failure if each.is_answered else exc
            if own not in entries:
                raise
        finally:
            with self._door:
                if own in self._waiting:  # it got no turn, and nobody waits for its answer any more
                    self._waiting.remove(own)
                following = self._waiting[0] if self._waiting else None
                self._is_led = following is not None
            for each in filter(None, [following, *entries]):
                each.called.set()

    def _take(self) -> list[_Entry]:
        """Return the first who wait, and let them wait no more."""
        with self._door:
            jobs, many = 0, 0
            for each in self._waiting:
                jobs += len(each.request.specs)
                if many and jobs > MOST_JOBS:
                    break
                many += 1
            taken, self._waiting = self._waiting[:many], self._waiting[many:]
        return taken

    def _answer(self, entries: Sequence[_Entry]) -> None:
        if len(entries) > 1:
            self._accept_together(entries)
        for each in entries:
            if not each.is_answered:
                try:
                    each.rows = self._accept(each.request)
                except Exception as exc:  # noqa: BLE001 - the others are answered all the same
                    each.failure = exc

    def _accept(self, request: JobRequest) -> list[Submitted]:
        """Accept one request, planning everything again if need be."""
        specs, user, uid, now = request.specs, request.user, request.uid, request.now
        require_room(self._jobs.count_queued(), len(specs), self._most_queued)
        admitted = self._engine.admit(specs, user=user, uid=uid, now=now)
        (added,) = self._jobs.add_requests([request])
        stored = raised(added)
        self._keep(admitted, _new(admitted, stored), request)
        return _submitted(admitted, stored)

    def _accept_together(self, entries: Sequence[_Entry]) -> None:
        """Accept those requests whose jobs find places without any other job moving; the rest is not answered."""
        queued, fitting = self._jobs.count_queued(), []
        for each in entries:
            queued += len(each.request.specs)
            if queued > self._most_queued:  # those after it must not take its room if one before it is refused
                break
            fitting.append(each)
        latest = max((each.request for each in fitting), key=lambda request: request.now, default=None)
        found = self._engine.admit_together([each.request for each in fitting], latest.now) if latest else []
        able = [(each, admitted) for each, admitted in zip(fitting, found, strict=True) if admitted is not None]
        if latest is None or not able:
            return
        try:
            stored = self._jobs.add_requests([each.request for each, _ in able])
        except InvalidJob:  # one of them: alone, it is told so
            return
        except StoreError as exc:
            for each, _ in able:
                each.failure = type(exc)(str(exc))  # its own: an exception collects where it was raised
            return
        new: dict[int, Job] = {}
        for (each, admitted), rows in zip(able, stored, strict=True):
            if isinstance(rows, JobError):
                each.failure = rows
            else:
                new |= _new(admitted, rows)
                each.rows = _submitted(admitted, rows)
        self._keep(together([admitted for _, admitted in able]), new, latest)

    def _keep(self, admitted: Admission, new: Mapping[int, Job], request: JobRequest) -> None:
        self._engine.keep(admitted, new, request.now)
        self._ask(self._engine.planning.wanted)
        soon = request.now + self._engine.settings.tick
        if admitted.planned or any(isinstance(row, Placement) and row.start <= soon for row in admitted.rows):
            self._wake()  # to store the plan, or to start in time; else the regular ticks do


def _new(admitted: Admission, stored: Stored) -> dict[int, Job]:
    """Return the jobs that are new, by the ids of their admission."""
    return {asked.id: job for asked, (job, is_new) in zip(admitted.jobs, stored, strict=True) if is_new}


def _submitted(admitted: Admission, stored: Stored) -> list[Submitted]:
    rows = zip(stored, map(preview_of, admitted.rows), strict=True)
    return [Submitted(job=job, is_new=is_new, preview=preview) for (job, is_new), preview in rows]


def preview_of(row: Placement | Waiting) -> Preview:
    """Return what is told of a job's place, or of why it has none."""
    return Preview(placement=row) if isinstance(row, Placement) else Preview(waiting=row)
