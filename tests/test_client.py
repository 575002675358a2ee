"""The client speaks the API over a unix socket and turns every failure into one ClientError with a sentence."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from greenrun.client import (
    ApiClient,
    BadAnswer,
    ClientError,
    Forbidden,
    NoAnswer,
    NotFound,
    NotReachable,
    OutOfStorage,
    RequestRefused,
    error_of,
)
from greenrun.core.errors import InputProblem
from tests.fake_api import HANG_UP, FakeApi, problem, serving
from tests.patience import HANGS_S


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeApi]:
    with serving(tmp_path_factory.mktemp("s") / "s") as fake:
        yield fake


@pytest.fixture
def client(api: FakeApi) -> ApiClient:
    return ApiClient(api.socket, timeout_s=5)


def test_a_job_is_posted_as_it_is_and_the_answer_is_unchanged(api: FakeApi, client: ApiClient) -> None:
    api.post("/v1/jobs", {"id": 12, "name": "Zürich"}, 201)
    assert client.submit({"command": ["echo", "ä"]}) == {"id": 12, "name": "Zürich"}
    assert (api.asked[0].method, api.asked[0].body) == ("POST", {"command": ["echo", "ä"]})


def test_the_past_is_sent_and_asked_for_and_the_sources_are_listed(api: FakeApi, client: ApiClient) -> None:
    api.get("/v1/providers", [{"name": "uk"}])
    api.post("/v1/history/import", {"new": 1})
    api.post("/v1/history/fetch", {"new": 2})
    assert client.providers() == [{"name": "uk"}]
    assert client.import_history({"provider": "uk"}) == {"new": 1}
    assert client.fetch_history("2026-01-01T00:00Z", "2026-01-02T00:00Z", provider="uk") == {"new": 2}
    asked = {"from": "2026-01-01T00:00Z", "to": "2026-01-02T00:00Z", "zone": None, "provider": "uk"}
    assert [each.body for each in api.asked] == [None, {"provider": "uk"}, asked]


def test_a_known_key_is_told_from_a_new_job(api: FakeApi, client: ApiClient) -> None:
    api.post("/v1/jobs", {"id": 12}, 200)
    assert client.offer({"unique_key": "a"}) == ({"id": 12}, False)
    api.post("/v1/jobs", {"id": 13}, 201)
    assert client.offer({"unique_key": "b"}) == ({"id": 13}, True)


def test_many_jobs_are_posted_as_a_list(api: FakeApi, client: ApiClient) -> None:
    api.post("/v1/jobs", [{"id": None}, {"id": None}])
    assert client.submit_many([{"gpus": 1}, {"gpus": 2}], dry_run=True) == [{"id": None}, {"id": None}]
    assert api.asked[0].body == [{"gpus": 1}, {"gpus": 2}]
    assert api.asked[0].query == {"dry_run": ["true"]}


def test_jobs_are_asked_for_by_repeated_states_and_only_by_what_was_given(api: FakeApi, client: ApiClient) -> None:
    api.get("/v1/jobs", [])
    client.jobs(("queued", "running"), project="a b", limit=3)
    client.jobs()
    assert [asked.query for asked in api.asked] == [
        {"state": ["queued", "running"], "project": ["a b"], "limit": ["3"]},
        {},
    ]


@pytest.mark.parametrize("order", ["cancel", "hold", "release", "start-now"])
def test_orders_are_posted_to_their_path(api: FakeApi, client: ApiClient, order: str) -> None:
    api.post(f"/v1/jobs/7/{order}", {"id": 7})
    assert getattr(client, order.replace("-", "_"))(7) == {"id": 7}


@pytest.mark.parametrize("order", ["cancel", "hold", "release", "start-now"])
def test_an_order_for_many_jobs_is_one_request_and_a_problem_of_one_can_be_raised(
    api: FakeApi, client: ApiClient, order: str
) -> None:
    rows = [{"id": 7, "job": {"id": 7}, "problem": None}]
    rows += [{"id": 8, "job": None, "problem": problem(404, "job not found", "There is no job 8.")}]
    api.post(f"/v1/jobs/{order}", rows)
    many = getattr(client, f"{order.replace('-', '_')}_many")
    assert (many([7, 8]), many(iter([]))) == (rows, [])
    assert [asked.body for asked in api.asked] == [{"ids": [7, 8]}]
    error = error_of(rows[1]["problem"])
    assert (type(error), str(error), error.status) == (NotFound, "There is no job 8.", 404)


def test_everything_else_is_read_from_its_path(api: FakeApi, client: ApiClient) -> None:
    paths = ["/v1/jobs/7", "/v1/jobs/7/explain", "/v1/jobs/7/events", "/v1/plan", "/v1/forecast", "/v1/devices"]
    for path in [*paths, "/v1/ledger", "/healthz"]:
        api.get(path, {"path": path})
    read = [
        client.job(7),
        client.explain(7),
        client.events(7),
        client.plan(),
        client.forecast("GB", 6),
        client.devices(),
    ]
    read += [client.ledger(7, 5), client.health()]
    assert read == [{"path": path} for path in [*paths, "/v1/ledger", "/healthz"]]
    assert api.asked[4].query == {"zone": ["GB"], "hours": ["6"]}
    assert api.asked[6].query == {"job": ["7"], "limit": ["5"]}


def test_a_failing_daemon_still_tells_its_health(api: FakeApi, client: ApiClient) -> None:
    api.get("/healthz", {"status": "failing", "reasons": ["no tick"]}, 503)
    assert client.health()["status"] == "failing"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused), (409, RequestRefused), (413, RequestRefused), (422, RequestRefused), (403, Forbidden),
        (404, NotFound), (507, OutOfStorage), (500, ClientError), (503, ClientError), (502, ClientError),
    ],
)  # fmt: skip
def test_a_problem_is_raised_with_all_it_says(
    api: FakeApi, client: ApiClient, status: int, kind: type[ClientError]
) -> None:
    api.get("/v1/plan", problem(status, "a title", "A sentence.", (("gpus", "too many"),)), status)
    with pytest.raises(ClientError) as caught:
        client.plan()
    assert type(caught.value) is kind
    assert caught.value.type == "urn:greenrun:problem"
    assert (str(caught.value), caught.value.title, caught.value.status) == ("A sentence.", "a title", status)
    assert caught.value.errors == (InputProblem(field="gpus", message="too many"),)


def test_an_error_that_is_no_problem_document_is_told_by_its_status(api: FakeApi, client: ApiClient) -> None:
    api.get("/v1/plan", ["what"], 500)
    with pytest.raises(ClientError, match="answered with status 500"):
        client.plan()


def test_an_answer_that_is_not_json_is_a_bad_answer(api: FakeApi, client: ApiClient) -> None:
    api.get("/v1/plan", b"<html>")
    with pytest.raises(BadAnswer, match="is not JSON"):
        client.plan()


def test_without_a_daemon_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotReachable, match=r"at .*/none .No such file.*start it with `greenrun serve --detach`"):
        ApiClient(tmp_path / "none").health()


def test_a_socket_path_that_is_too_long_is_not_reachable(tmp_path: Path) -> None:
    with pytest.raises(NotReachable, match="too long"):
        ApiClient(tmp_path / ("a" * 120)).health()


def test_a_daemon_that_does_not_answer_is_not_waited_for_longer_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NotReachable, match=r"within 0.05 s; it may still have acted"):
            ApiClient(path, timeout_s=0.05).cancel(7)
        with pytest.raises(NotReachable, match=r"within 0.05 s$"):
            ApiClient(path, timeout_s=0.05).job(7)


def test_a_submission_without_an_answer_is_sent_once_more_with_the_same_key(api: FakeApi, client: ApiClient) -> None:
    answers = iter([(HANG_UP, None), (201, {"id": 12}), (201, [{"id": 13}]), (HANG_UP, None), (200, [{"id": 13}])])
    api.answers["POST", "/v1/jobs"] = lambda _: next(answers)
    assert client.submit({"gpus": 1}) == {"id": 12}
    assert client.submit_many([{"gpus": 2}], key="tuesday") == [{"id": 13}]
    assert client.offer_sweep({"gpus": 2, "grid": {}}, key="tuesday") == ([{"id": 13}], False)
    keys = [asked.headers["Idempotency-Key"] for asked in api.asked]
    assert keys == [keys[0], keys[0], "tuesday", "tuesday", "tuesday"]
    assert [asked.body for asked in api.asked[:2]] == [{"gpus": 1}] * 2


def test_every_submission_has_a_key_of_its_own_and_a_dry_run_has_none(api: FakeApi, client: ApiClient) -> None:
    api.post("/v1/jobs", {"id": 12}, 201)
    client.submit({})
    client.submit({})
    client.submit({}, dry_run=True)
    keys = [asked.headers.get("Idempotency-Key") for asked in api.asked]
    assert (len({*keys}), keys[2]) == (3, None)


@pytest.mark.parametrize("key", ["", " a", "a\nb", "ä", "x" * 256])
def test_a_key_that_cannot_be_sent_is_told_before_anything_is(api: FakeApi, client: ApiClient, key: str) -> None:
    with pytest.raises(RequestRefused, match="cannot be sent, so nothing was"):
        client.submit({}, key=key)
    assert api.asked == []


def test_a_submission_is_given_up_after_the_second_time_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NoAnswer, match="it may still have acted"):
            ApiClient(path, timeout_s=0.05).submit({})
        heads = []
        for _ in range(2):
            connection, _address = listener.accept()
            with connection:
                heads.append(connection.recv(4096))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert heads[0] == heads[1]
    assert b"Idempotency-Key: " in heads[0]


def test_an_order_and_a_question_are_not_sent_twice(api: FakeApi, client: ApiClient) -> None:
    api.answers["POST", "/v1/jobs/7/cancel"] = api.answers["GET", "/v1/jobs/7"] = (HANG_UP, None)
    with pytest.raises(NoAnswer, match="ended the connection before it had answered; it may still have acted"):
        client.cancel(7)
    with pytest.raises(NoAnswer, match=r"ended the connection before it had answered$"):
        client.job(7)
    assert len(api.asked) == 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root can listen as another user")
def test_nothing_is_sent_to_a_socket_of_another_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.seteuid(65534)  # whose socket it is, the kernel notes when it begins to listen
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        with pytest.raises(NotReachable, match=r"belongs to user nobody, so nothing was sent"):
            ApiClient(path, timeout_s=5).cancel(7)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b""


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[ApiClient]:
    """A client of what gives this answer, byte for byte, and hangs up."""

    def answer_once() -> None:
        connection, _ = listener.accept()
        with connection, suppress(BrokenPipeError, ConnectionResetError):
            connection.recv(4096)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer_once)
        thread.start()
        yield ApiClient(path, timeout_s=HANGS_S)
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 1}', id="its length told"),
        pytest.param(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"id\r\n5\r\n": 1}\r\n0\r\n\r\n', id="in parts"
        ),
        pytest.param(b'HTTP/1.0 200 OK\r\n\r\n{"id": 1}', id="ended by hanging up"),
        pytest.param(
            b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 1}', id="after hints"
        ),
    ],
)
def test_an_answer_is_read_however_it_is_framed(tmp_path_factory: pytest.TempPathFactory, answer: bytes) -> None:
    with answering(tmp_path_factory.mktemp("s") / "s", answer) as client:
        assert client.plan() == {"id": 1}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id"',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"id\r\n',
    ],
)
def test_half_an_answer_is_none(tmp_path_factory: pytest.TempPathFactory, answer: bytes) -> None:
    with (
        answering(tmp_path_factory.mktemp("s") / "s", answer) as client,
        pytest.raises(NoAnswer, match="ended the connection before it had answered"),
    ):
        client.plan()


def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenrun.client.transport._MAX_ANSWER_BYTES", 1024**2)
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 3_000_000
    with (
        answering(tmp_path_factory.mktemp("s") / "s", endless) as client,
        pytest.raises(BadAnswer, match="is longer than 1 MiB; ask for less"),
    ):
        client.plan()


def test_what_speaks_no_http_is_a_bad_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        answering(tmp_path_factory.mktemp("s") / "s", b"220 mail ready\r\n\r\n") as client,
        pytest.raises(BadAnswer, match="is not a greenrun daemon"),
    ):
        client.plan()


def test_a_report_is_written_as_it_comes_and_a_refusal_is_not(api: FakeApi, client: ApiClient) -> None:
    pieces: list[bytes] = []
    api.get("/v1/reports", b"x" * 1_000_000)
    client.write_report(pieces.append, by="job", form="csv")
    assert (b"".join(pieces), api.asked[0].query) == (b"x" * 1_000_000, {"by": ["job"], "format": ["csv"]})
    api.get("/v1/reports", problem(422, "no", "This period cannot be reported."), 422)
    with pytest.raises(RequestRefused, match="cannot be reported"):
        client.write_report(pieces.append)
    assert len(b"".join(pieces)) == 1_000_000


def test_where_a_report_cannot_be_written_the_daemon_is_not_blamed(api: FakeApi, client: ApiClient) -> None:
    def full(piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    api.get("/v1/reports", b"x")
    with pytest.raises(OSError, match="No space left") as caught:
        client.write_report(full)
    assert not isinstance(caught.value, ClientError)
