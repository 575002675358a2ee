"""The Python client: typed, synchronous, and by the rules of the command line."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, Unpack

from greenrun.client.answer_reader import read
from greenrun.client.answers import (
    Budgets,
    Device,
    Event,
    Forecast,
    Health,
    LedgerEntry,
    Plan,
    Provider,
    Report,
    Reservation,
    TriedJob,
)
from greenrun.client.api_client import Answer, ApiClient
from greenrun.client.client_errors import NotReachable
from greenrun.client.job_statement import JobOptions, SweepOptions, state
from greenrun.client.submitted_job import Job
from greenrun.client.tcp_place import find_tcp_place
from greenrun.paths import find_socket

Asked = TypeVar("Asked")
Command = str | Path | Sequence[str | Path]
When = str | datetime

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_FOLLOW_S = 20.0


class Client:
    """A client of the daemon, which it finds as the command line does: by GREENRUN_URL, else on this machine.

    What only reads is asked again for `retry_s` seconds while a daemon that has answered before is away; a submission
    is sent again with its idempotency key. Orders are sent once. Errors are ClientError and its kinds. It keeps no
    connection open, and may be used by several threads.
    """

    def __init__(
        self,
        socket: str | Path | None = None,
        *,
        config: str | Path | None = None,
        timeout_s: float = 10.0,
        retry_s: float = 30.0,
    ) -> None:
        self._config = Path(config).expanduser() if config else None
        place = None if socket else find_tcp_place()
        self.api = ApiClient(place or find_socket(str(socket) if socket else None, self._config), timeout_s)
        self.retry_s = retry_s
        self._has_answered = False

    def __repr__(self) -> str:
        return f"<greenrun client of {self.api.socket}>"

    def submit(self, command: Command, *, key: str | None = None, **options: Unpack[JobOptions]) -> Job:
        """Submit a job and return it, as `greenrun submit` would: in this folder, with this environment.

        The same job with the same `key` within a day is submitted once. Raise RequestRefused with all that is wrong.
        """
        if sweep := {"array", "grid"} & set(options):
            raise TypeError(f"{' and '.join(sorted(sweep))} makes many jobs: use submit_array")
        stated, notes = state(command, options, self._config)
        return self._job(self.api.submit(stated, key=key), notes)

    def submit_array(self, command: Command, *, key: str | None = None, **options: Unpack[SweepOptions]) -> list[Job]:
        """Submit a job for each index of `array` ("0-9%4", or numbers), or for each combination of values of `grid`."""
        stated, notes = state(command, options, self._config)
        if {"array", "grid"} & set(stated):
            answers, _ = self.api.offer_sweep(stated, key=key)
        else:
            answers = [self.api.submit(stated, key=key)]
        return [self._job(answer, notes) for answer in answers]

    def submit_many(
        self, jobs: Iterable[Mapping[str, Any]], *, key: str | None = None, **options: Unpack[JobOptions]
    ) -> list[Job]:
        """Submit jobs, all or none: each a mapping with `command` and its options, beside `options` that all have."""
        stated = [state(job["command"], {**options, **_without_command(job)}, self._config) for job in jobs]
        answers = self.api.submit_many([row for row, _ in stated], key=key) if stated else []
        notes = [notes for _, notes in stated] if len(answers) == len(stated) else [[] for _ in answers]
        return [self._job(answer, told) for answer, told in zip(answers, notes, strict=True)]

    def preview(self, command: Command, **options: Unpack[JobOptions]) -> TriedJob:
        """Say when a job would run and why, and submit nothing."""
        stated, _ = state(command, options, self._config)
        return read(TriedJob, self.ask(lambda api: api.submit(stated, dry_run=True)))

    def job(self, job: int | str) -> Job:
        """Return a job by its number, or by its name: of several that have it the unfinished one, else the newest."""
        if isinstance(job, str):
            found = self.ask(lambda api: api.select([job]))
            return self._job(self.read_job(found[0]["id"]))
        return self._job(self.read_job(job))

    def jobs(
        self,
        *states: str,
        project: str | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> list[Job]:
        """Return the latest `limit` jobs in these states (all when none is given), by number."""
        return [self._job(row) for row in self.ask(lambda api: api.jobs(states, project, user, limit))]

    def select(self, *words: int | str, **filters: Any) -> list[Job]:
        """Return the jobs that people mean by words such as "1-9,12" or "sweep[1-5]", or by filters."""
        return [self._job(row) for row in self.ask(lambda api: api.select(words, **filters))]

    def plan(self) -> Plan:
        """Return the present plan: what starts when, and what waits."""
        return read(Plan, self.ask(lambda api: api.plan()))

    def forecast(self, zone: str | None = None, hours: float | None = None) -> Forecast:
        """Return the forecast of carbon intensity, of the daemon's own zone where none is named."""
        return read(Forecast, self.ask(lambda api: api.forecast(zone, hours)))

    def devices(self) -> list[Device]:
        """Return the devices of this host and who has them."""
        return self._list(Device, lambda api: api.devices())

    def report(self, start: When | None = None, end: When | None = None, by: str | None = None) -> Report:
        """Return the report of a period, of this month where none is given, with a row for each `by`.

        Periods are instants in ISO 8601 with a zone, or datetimes; `by` is project, user, job, month or zone.
        """
        return read(Report, self.ask(lambda api: api.report(_iso(start), _iso(end), by)))

    def ledger(self, job: int | None = None, limit: int | None = None) -> list[LedgerEntry]:
        """Return the latest slices of energy in the books, of one job or of all."""
        return self._list(LedgerEntry, lambda api: api.ledger(job, limit))

    def budgets(self) -> Budgets:
        """Return how the budgets and quotas stand that the caller may see."""
        return read(Budgets, self.ask(lambda api: api.budgets()))

    def reservations(self) -> list[Reservation]:
        """Return what is reserved, now or later."""
        return self._list(Reservation, lambda api: api.reservations())

    def providers(self) -> list[Provider]:
        """Return the configured sources of carbon intensity."""
        return self._list(Provider, lambda api: api.providers())

    def health(self) -> Health:
        """Return the daemon's own health."""
        return read(Health, self.ask(lambda api: api.health()))

    def events(self, after: int | None = None, *, follow: bool = False, jobs: Iterable[int] = ()) -> Iterator[Event]:
        """Yield what happened, in order: the latest thousand events, or all behind the event `after`.

        With `follow` it then goes on for ever, with each event as it happens.
        """
        ids = list(jobs)
        latest = self.ask(lambda api: api.all_events(ids, after=after))
        while latest or follow:
            yield from (read(Event, row) for row in latest)
            last = int(latest[-1]["id"]) if latest else after or 0
            after = last
            wait_s = _FOLLOW_S if follow else 0.0
            latest = self.ask(lambda api: api.all_events(ids, after=last, wait_s=wait_s))  # noqa: B023

    def read_job(self, job_id: int, *, until_s: float | None = None, is_patient: bool = False) -> Answer:
        """Return one job as the API tells it; a patient caller waits for a daemon that has answered before."""
        limit_s = (float("inf") if until_s is None else until_s - time.monotonic()) if is_patient else self.retry_s
        return self.ask(lambda api: api.job(job_id), limit_s=limit_s)

    def ask(self, question: Callable[[ApiClient], Asked], *, limit_s: float | None = None) -> Asked:
        """Ask what changes nothing; ask again for a while where a daemon that has answered before does not."""
        ends_s = time.monotonic() + (self.retry_s if limit_s is None else limit_s)
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                answer = question(self.api)
            except NotReachable:
                if not self._has_answered or time.monotonic() + pause_s > ends_s:
                    raise
                threading.Event().wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._has_answered = True
                return answer

    def _list(self, kind: type[Asked], question: Callable[[ApiClient], list[Answer]]) -> list[Asked]:
        return [read(kind, row) for row in self.ask(question)]

    def _job(self, answer: Answer, notes: Sequence[str] = ()) -> Job:
        self._has_answered = True
        return Job(self, {**answer, "warnings": [*notes, *(answer.get("warnings") or ())]})


def _without_command(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name != "command"}


def _iso(when: When | None) -> str | None:
    if isinstance(when, datetime):
        return (when if when.tzinfo else when.astimezone()).isoformat()
    return when
