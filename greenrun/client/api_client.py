"""The Python client of the daemon's API: little to import, so that the command line starts fast.

    client = ApiClient(find_socket())
    job = client.submit({"command": ["python", "train.py"], "workdir": "/home/ada/model", "duration_s": 3600})

Answers are the API's own JSON objects (dicts), unchanged.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from greenrun.client.client_errors import (
    NoAnswer,
    RequestRefused,
)
from greenrun.client.tcp_place import TcpPlace
from greenrun.client.transport import request, request_bytes

Answer = dict[str, Any]

_PATIENCE_S = 600.0  # a source is asked up to three times, each within its own time-out
_MAX_KEY_CHARACTERS = 255
MAX_LOG_BYTES = 16 << 20  # the most that the daemon gives of a log


class LogPiece(NamedTuple):
    """A piece of a log, where it begins, how long the log is, and whether the run has ended and nothing follows."""

    data: bytes
    offset: int
    end: int
    has_ended: bool


class ApiClient:
    """Talks to one daemon over its unix socket, or by an address and a token, one short connection per request.

    Every method raises a ClientError: NotReachable when no daemon answers within `timeout_s` seconds, else the
    subclass that the status stands for.
    """

    def __init__(self, socket: Path | TcpPlace, timeout_s: float = 10) -> None:
        self.socket = socket
        self.timeout_s = timeout_s

    @property
    def is_far(self) -> bool:
        """Whether the daemon may be on another machine, whose files are not those of this one."""
        return isinstance(self.socket, TcpPlace)

    def submit(self, job: Mapping[str, object], dry_run: bool = False, key: str | None = None) -> Answer:
        """Submit one job and return it; a known `unique_key` returns the job that has it. Dry runs have the id null.

        The same job with the same `key` (of a submission, within a day) is not submitted twice. Each call has a key of
        its own, where none is given, and asks once more with it when the daemon does not answer.
        """
        return self.offer(job, dry_run, key)[0]

    def offer(self, job: Mapping[str, object], dry_run: bool = False, key: str | None = None) -> tuple[Answer, bool]:
        """Submit one job; return it, and whether it is new: not of a known `unique_key` or `key`, nor a dry run."""
        status, answer = self._submit(dict(job), dry_run, key)
        return cast(Answer, answer), status == 201

    def offer_sweep(
        self, job: Mapping[str, object], dry_run: bool = False, key: str | None = None
    ) -> tuple[list[Answer], bool]:
        """Submit one job with an `array` or a `grid`: return the jobs that it means, all or none, and if any is new."""
        status, answers = self._submit(dict(job), dry_run, key)
        return cast(list[Answer], answers), status == 201

    def submit_many(
        self, jobs: Iterable[Mapping[str, object]], dry_run: bool = False, key: str | None = None
    ) -> list[Answer]:
        """Submit several jobs, all or none, and return them in the same order, those of an array or grid one by one."""
        return cast(list[Answer], self._submit([dict(job) for job in jobs], dry_run, key)[1])

    def jobs(
        self,
        states: Sequence[str] = (),
        project: str | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> list[Answer]:
        """Return the jobs in these states (all when empty), the latest `limit` of them."""
        query = {"state": list(states), "project": project, "user": user, "limit": limit}
        return cast(list[Answer], self._get("/v1/jobs", query))

    def job(self, job_id: int) -> Answer:
        """Return one job with its runs."""
        return cast(Answer, self._get(f"/v1/jobs/{job_id}"))

    def log(self, job_id: int, run: int | None = None, size: int = MAX_LOG_BYTES) -> bytes:
        """Return the end of the log of a job's run, or of its latest one: `size` bytes at most."""
        query = {"run": run, "bytes": size}
        return request_bytes(self.socket, self.timeout_s, f"/v1/jobs/{job_id}/logs", query)

    def log_piece(
        self, job_id: int, run: int | None = None, offset: int = 0, wait_s: float = 0, size: int = MAX_LOG_BYTES
    ) -> LogPiece:
        """Return `size` bytes of a log at most from `offset` on; wait until there are any, or the run ends."""
        query = {"run": run, "bytes": size, "offset": offset, "wait_s": wait_s or None}
        told: dict[str, str] = {}
        limit_s = self.timeout_s + wait_s
        data = request_bytes(self.socket, limit_s, f"/v1/jobs/{job_id}/logs", query, told.update)
        return LogPiece(
            data,
            int(told["greenrun-log-offset"]),
            int(told["greenrun-log-end"]),
            told["greenrun-log-ended"] == "true",
        )

    def explain(self, job_id: int) -> Answer:
        """Return why the job is where it is, as sentences and numbers."""
        return cast(Answer, self._get(f"/v1/jobs/{job_id}/explain"))

    def events(self, job_id: int) -> list[Answer]:
        """Return what happened to the job, in order."""
        return cast(list[Answer], self._get(f"/v1/jobs/{job_id}/events"))

    def select(
        self,
        jobs: Iterable[int | str] = (),
        *,
        everything: bool = False,
        states: Sequence[str] = (),
        project: str | None = None,
        name: str | None = None,
        purpose: str = "read",
    ) -> list[Answer]:
        """Return the jobs that people mean by these words and filters: numbers, `1-9,12`, names, `sweep[1-5]`, `17[]`.

        A name that several jobs have means, to `read` or to come `after`, the one that is not finished, else the
        newest; to `wait` for, all that are not finished. A word that names none is NotFound.
        """
        query = {
            "job": [str(word) for word in jobs], "all": "true" if everything else None, "state": list(states),
            "project": project, "name": name, "for": purpose,
        }  # fmt: skip
        return cast(list[Answer], self._get("/v1/jobs/select", query))

    def cancel(self, job_id: int) -> Answer:
        """Ask to cancel a job, waiting or running; return it."""
        return self._order(job_id, "cancel")

    def hold(self, job_id: int) -> Answer:
        """Keep a waiting job from starting; return it."""
        return self._order(job_id, "hold")

    def release(self, job_id: int) -> Answer:
        """Let a held job go; return it."""
        return self._order(job_id, "release")

    def start_now(self, job_id: int) -> Answer:
        """Let a waiting job start as soon as GPUs are free; return it."""
        return self._order(job_id, "start-now")

    def all_events(
        self,
        job_ids: Iterable[int] = (),
        since: str | None = None,
        after: int | None = None,
        limit: int | None = None,
        *,
        until: str | None = None,
        user: str | None = None,
        kinds: Sequence[str] = (),
        wait_s: float = 0,
    ) -> list[Answer]:
        """Return what happened to these jobs, or to all and to the daemon: the latest `limit` events, in order.

        With `after` the first ones behind the event of that id: who goes on from there misses none. With `user` and
        `kinds` only what this user did, and only events of these kinds. With `after` and `wait_s` the daemon waits for
        the next event, and answers with none after so many seconds.
        """
        query = {
            "job": list(job_ids), "since": since, "until": until, "after": after, "limit": limit, "user": user,
            "kind": list(kinds), "wait_s": wait_s or None,
        }  # fmt: skip
        patient = ApiClient(self.socket, self.timeout_s + wait_s)
        return cast(list[Answer], patient._get("/v1/events", query))

    def edit(self, job_id: int, changes: Mapping[str, object]) -> Answer:
        """Change fields of a job that has not ended (None: the default), if it can be run like that; return it."""
        return cast(Answer, self._request("POST", f"/v1/jobs/{job_id}/edit", body=dict(changes))[1])

    def edit_many(
        self, changes: Mapping[str, object], jobs: Iterable[int | str] = (), dry_run: bool = False, **chosen: Any
    ) -> list[Answer]:
        """The same for jobs that are named as in `select`, all or none; return them. A dry run changes nothing."""
        return self._order_many(jobs, "edit", more={"changes": dict(changes)}, dry_run=dry_run, **chosen)

    def requeue(
        self, job_id: int, env: Mapping[str, str] | None = None, changes: Mapping[str, object] | None = None
    ) -> Answer:
        """Let a job that has ended run again, with these values of its variables, and changed like this; return it."""
        body = {"env": dict(env or {}), "changes": dict(changes or {})}
        return cast(Answer, self._request("POST", f"/v1/jobs/{job_id}/requeue", body=body)[1])

    def requeue_many(
        self,
        env: Mapping[str, str] | None = None,
        changes: Mapping[str, object] | None = None,
        jobs: Iterable[int | str] = (),
        dry_run: bool = False,
        **chosen: Any,
    ) -> list[Answer]:
        """The same for jobs that are named as in `select`, all or none; return them. A dry run changes nothing."""
        more = {"env": dict(env or {}), "changes": dict(changes or {})}
        return self._order_many(jobs, "requeue", more=more, dry_run=dry_run, **chosen)

    def cancel_many(self, jobs: Iterable[int | str] = (), **chosen: Any) -> list[Answer]:
        """Ask to cancel jobs in one request; for each return its `id`, and the `job` or the `problem` why not.

        Jobs are named as in `select`, which has the filters too. They are found and changed in one transaction.
        """
        return self._order_many(jobs, "cancel", **chosen)

    def hold_many(self, jobs: Iterable[int | str] = (), **chosen: Any) -> list[Answer]:
        """Keep waiting jobs from starting; for each return its `id`, and the `job` or the `problem` why not.

        Jobs are named as in `select`, which has the filters too. They are found and changed in one transaction.
        """
        return self._order_many(jobs, "hold", **chosen)

    def release_many(self, jobs: Iterable[int | str] = (), **chosen: Any) -> list[Answer]:
        """Let held jobs go; for each return its `id`, and the `job` or the `problem` why not.

        Jobs are named as in `select`, which has the filters too. They are found and changed in one transaction.
        """
        return self._order_many(jobs, "release", **chosen)

    def start_now_many(self, jobs: Iterable[int | str] = (), **chosen: Any) -> list[Answer]:
        """Let waiting jobs start; for each return its `id`, and the `job` or the `problem` why not.

        Jobs are named as in `select`, which has the filters too. They are found and changed in one transaction.
        """
        return self._order_many(jobs, "start-now", **chosen)

    def approve_many(self, jobs: Iterable[int | str] = (), **chosen: Any) -> list[Answer]:
        """Let waiting jobs start over their budgets; for each return its `id`, and the `job` or the `problem` why not.

        Jobs are named as in `select`, which has the filters too. Only those may who may do everything.
        """
        return self._order_many(jobs, "approve", **chosen)

    def budgets(self) -> Answer:
        """Return how the budgets and quotas stand that the caller may see."""
        return cast(Answer, self._get("/v1/budgets"))

    def plan(self) -> Answer:
        """Return the present plan."""
        return cast(Answer, self._get("/v1/plan"))

    def forecast(self, zone: str | None = None, hours: float | None = None) -> Answer:
        """Return the forecast for a zone (the configured one when None), `hours` ahead."""
        return cast(Answer, self._get("/v1/forecast", {"zone": zone, "hours": hours}))

    def forecast_quality(self, zone: str | None = None) -> Answer:
        """Return how good the forecasts of a zone were (of the daemon's own when None)."""
        return cast(Answer, self._get("/v1/forecast/quality", {"zone": zone}))

    def providers(self) -> list[Answer]:
        """Return the configured sources of carbon intensity, with what is known by each of the daemon's zone."""
        return cast(list[Answer], self._get("/v1/providers"))

    def import_history(self, body: Mapping[str, object]) -> Answer:
        """Add values of the past, or forecasts as they were issued then: POST /v1/history/import."""
        return cast(Answer, self._patient()._request("POST", "/v1/history/import", body=dict(body))[1])

    def fetch_history(self, start: str, end: str, zone: str | None = None, provider: str | None = None) -> Answer:
        """Have the daemon fetch the last week of an interval from a source; wait for as long as that takes."""
        body = {"from": start, "to": end, "zone": zone, "provider": provider}
        return cast(Answer, self._patient()._request("POST", "/v1/history/fetch", body=body)[1])

    def devices(self) -> list[Answer]:
        """Return the devices that the daemon knows."""
        return cast(list[Answer], self._get("/v1/devices"))

    def drains(self) -> list[Answer]:
        """Return what is drained now: GPUs, or (`gpu` None) the whole machine."""
        return cast(list[Answer], self._get("/v1/drains"))

    def drain(self, gpus: Iterable[str] = (), reason: str = "") -> list[Answer]:
        """Start nothing new on these GPUs (on the whole machine, without any); return all that is drained then.

        GPUs are named by index, UUID or the beginning of one. What runs goes on.
        """
        body = {"gpus": list(gpus), "reason": reason}
        return cast(list[Answer], self._request("POST", "/v1/drain", body=body)[1])

    def resume(self, gpus: Iterable[str] = ()) -> list[Answer]:
        """Let jobs start on these GPUs again (on all that is drained, without any); return what is drained then."""
        return cast(list[Answer], self._request("POST", "/v1/resume", body={"gpus": list(gpus)})[1])

    def reservations(self) -> list[Answer]:
        """Return the reservations that are not over, and those of the settings as they come next."""
        return cast(list[Answer], self._get("/v1/reservations"))

    def reserve(
        self,
        end: str,
        *,
        gpus: Iterable[str] = (),
        count: int | None = None,
        start: str | None = None,
        for_user: str | None = None,
        reason: str = "",
    ) -> Answer:
        """Keep GPUs from jobs until `end`: those that are named, or so many; from now on, or from `start`."""
        body = {"gpus": list(gpus), "count": count, "start": start, "end": end, "for_user": for_user, "reason": reason}
        return cast(Answer, self._request("POST", "/v1/reservations", body=body)[1])

    def end_reservation(self, number: int) -> Answer:
        """End a reservation now, or take it back before it begins; return it."""
        return cast(Answer, self._request("POST", f"/v1/reservations/{number}/end", body={})[1])

    def ticket(self) -> Answer:
        """Return a ticket that makes a browser the caller's, once and within a minute, and where it does."""
        return cast(Answer, self._request("POST", "/v1/tickets")[1])

    def create_token(self, scope: str, *, days: int = 90, name: str = "") -> Answer:
        """Create a token (scope "read", "submit" or "admin") that acts as the caller; it is told this once."""
        return cast(Answer, self._request("POST", "/v1/tokens", body={"scope": scope, "days": days, "name": name})[1])

    def credentials(self, kind: str) -> list[Answer]:
        """Return the "tokens" or "sessions" of the caller that are not over; all, for who may act on all jobs."""
        return cast(list[Answer], self._get(f"/v1/{kind}"))

    def revoke(self, kind: str, number: int) -> Answer:
        """End one of the "tokens" or "sessions" and return it."""
        return cast(Answer, self._request("POST", f"/v1/{kind}/{number}/revoke")[1])

    def ledger(self, job_id: int | None = None, limit: int | None = None) -> list[Answer]:
        """Return the latest `limit` ledger entries, of one job or of all."""
        return cast(list[Answer], self._get("/v1/ledger", {"job": job_id, "limit": limit}))

    def report(
        self, start: str | None = None, end: str | None = None, by: str | None = None, rows: int | None = None
    ) -> Answer:
        """Return the report of a period (this month, where none is given), with a row for each `by`.

        With `rows`, so many at most, and in `rows_left_out` how many more there are.
        """
        return cast(Answer, self._patient()._get("/v1/reports", {"from": start, "to": end, "by": by, "rows": rows}))

    def write_report(
        self,
        write: Callable[[bytes], object],
        start: str | None = None,
        end: str | None = None,
        by: str | None = None,
        form: str | None = None,
    ) -> None:
        """Write the same report a piece at a time as the daemon sends it: as JSON, or (`form`) "csv".

        Nothing is written where it is refused; where the connection ends early, what came until then.
        """
        query = {"from": start, "to": end, "by": by, "format": form}
        self._patient()._request("GET", "/v1/reports", query=query, write=write)

    def health(self) -> Answer:
        """Return the daemon's health, whether `ok` or `failing`."""
        return cast(Answer, self._request("GET", "/healthz", accept=503)[1])

    def stray_runs(self) -> list[Answer]:
        """Return the runs that are alive on the daemon's machine and that its database does not know."""
        return cast(list[Answer], self._get("/v1/stray-runs"))

    def end_stray_run(self, run: str) -> Answer:
        """Have a stray run stopped: TERM, its grace, then KILL; only root and the daemon's own user may."""
        return cast(Answer, self._request("POST", f"/v1/stray-runs/{quote(run, safe='')}/end")[1])

    def _submit(self, body: object, dry_run: bool, key: str | None) -> tuple[int, object]:
        """Submit; without an answer ask once more, which the key makes safe."""
        if dry_run:
            return self._request("POST", "/v1/jobs", query={"dry_run": "true"}, body=body)
        known_by = os.urandom(16).hex() if key is None else _checked(key)
        ask = partial(self._request, "POST", "/v1/jobs", body=body, key=known_by)
        try:
            return ask()
        except NoAnswer:
            return ask()

    def _order(self, job_id: int, order: str) -> Answer:
        return cast(Answer, self._request("POST", f"/v1/jobs/{job_id}/{order}")[1])

    def _order_many(
        self,
        jobs: Iterable[int | str],
        order: str,
        *,
        everything: bool = False,
        states: Sequence[str] = (),
        project: str | None = None,
        name: str | None = None,
        more: Mapping[str, object] | None = None,
        dry_run: bool = False,
    ) -> list[Answer]:
        words = list(jobs)
        filters = {"all": everything, "states": list(states), "project": project, "name": name}
        given = {key: value for key, value in filters.items() if value not in (None, False, [])}
        if not words and not given:
            return []
        is_plain = not given and all(isinstance(word, int) for word in words)
        body = {"ids": words} if is_plain else {"jobs": [str(word) for word in words], **given}
        query = {"dry_run": "true"} if dry_run else None
        answer = self._request("POST", f"/v1/jobs/{order}", query=query, body={**body, **(more or {})})[1]
        return cast(list[Answer], answer)

    def _patient(self) -> "ApiClient":
        return ApiClient(self.socket, max(self.timeout_s, _PATIENCE_S))

    def _get(self, path: str, query: Mapping[str, object] | None = None) -> object:
        return self._request("GET", path, query=query)[1]

    def _request(self, method: str, path: str, **more: Any) -> tuple[int, object]:
        return request(self.socket, self.timeout_s, method, path, **more)


def _checked(key: str) -> str:
    """Return an idempotency key that can be sent; raise RequestRefused for another."""
    if not (key.isascii() and key.isprintable() and key == key.strip() and 0 < len(key) <= _MAX_KEY_CHARACTERS):
        raise RequestRefused(
            f"the idempotency key {key[:80]!r} cannot be sent, so nothing was: "
            f"take 1 to {_MAX_KEY_CHARACTERS} printable ASCII characters"
        )
    return key
