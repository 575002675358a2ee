"""Tokens of programs: they act as who made them, within their scope, until they are over or revoked."""

import os
import socket
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from greenrun.api import identity
from greenrun.api.sign_in import peer_account
from greenrun.api.sign_in.failures import MOST_ADDRESSES, MOST_FAILURES, Failures
from greenrun.api.sign_in.known_credentials import MOST_TOKENS
from greenrun.core.jobs.access import AccessRules, Sharing
from greenrun.store import Store
from tests.api.fakes import ADA, BOB, NOW, ROOT, stored
from tests.api.sign_in.tcp import JOB, PLACE, TcpWorld, bearer, later, routes_of


@pytest.fixture
def world() -> TcpWorld:
    world = TcpWorld(access=AccessRules(others=Sharing.LISTED))
    world.store.keep(stored(1), stored(2, uid=41002, user="bob"), stored(3, uid=0, user="root"))
    return world


def statuses(world: TcpWorld, token: str, *asked: str) -> list[int]:
    """What requests with a token are answered with."""
    found = []
    for route in asked:
        method, path = route.split()
        body = {"json": {"/v1/jobs": JOB}.get(path, {})} if method == "POST" else {}
        found.append(world.over_tcp(method, path, bearer(token), **body).status_code)
    return found


ASKED = ("GET /v1/jobs/1", "POST /v1/jobs/1/hold", "POST /v1/jobs/2/hold", "POST /v1/jobs/3/hold", "POST /v1/drain")


@pytest.mark.parametrize(
    ("who", "scope", "expected"),
    [
        (ADA, "read", [200, 403, 403, 403, 403]),
        (ADA, "submit", [200, 200, 403, 403, 403]),
        (ROOT, "read", [200, 403, 403, 403, 403]),
        (ROOT, "submit", [200, 403, 403, 200, 403]),
        (ROOT, "admin", [200, 200, 200, 200, 200]),
    ],
)
def test_a_token_acts_as_its_user_within_its_scope(world: TcpWorld, who: str, scope: str, expected: list[int]) -> None:
    """Who may act on all jobs does so by the scope admin alone."""
    assert statuses(world, world.token(scope, who), *ASKED) == expected


def test_a_refusal_says_which_scope_it_takes(world: TcpWorld) -> None:
    for scope, said in (("read", "created with --scope submit or admin"), ("submit", "--scope admin")):
        answer = world.over_tcp("POST", "/v1/drain", bearer(world.token(scope, ROOT)), json={})
        assert said in answer.json()["detail"]


def test_a_submission_by_a_token_is_its_users(world: TcpWorld) -> None:
    answer = world.over_tcp("POST", "/v1/jobs", bearer(world.token("submit", BOB)), json=JOB)
    assert (answer.status_code, answer.json()["user"]) == (201, "41002")


def test_the_scope_admin_is_for_who_may_act_on_all_jobs(world: TcpWorld) -> None:
    answer = world.ask("POST", "/v1/tokens", json={"scope": "admin"})
    assert (answer.status_code, "Only root may create tokens of the scope admin" in answer.text) == (403, True)


def test_an_admin_token_of_who_is_no_admin_any_more_is_a_users(
    world: TcpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"41001": {"wheel"}}
    monkeypatch.setattr(identity, "groups_of", lambda name: frozenset(groups.get(name, ())))
    monkeypatch.setattr(identity, "_GROUPS", {})
    monkeypatch.setattr(identity, "GROUPS_FOR_S", -1.0)
    world = TcpWorld(access=AccessRules(admin_groups=("wheel",)))
    world.store.keep(stored(2, uid=41002, user="bob"))
    token = world.token("admin", ADA)
    assert statuses(world, token, "POST /v1/jobs/2/hold") == [200]
    groups.clear()
    assert statuses(world, token, "POST /v1/jobs/2/release") == [403]


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"scope": "all"}, {"scope": "read", "days": 0}, {"scope": "read", "days": 367},
        {"scope": "read", "name": "x" * 101}, {"scope": "read", "user": "root"},
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(world: TcpWorld, asked: dict[str, object]) -> None:
    assert world.ask("POST", "/v1/tokens", json=asked).status_code == 422
    assert world.told() == []


def test_a_token_lasts_as_many_days_as_was_said(world: TcpWorld) -> None:
    tokens = [world.token(), world.token(days=1)]
    for days, expected in ((0, [200, 200]), (1, [200, 401]), (89, [200, 401]), (90, [401, 401])):
        with later(world, timedelta(days=days)):
            assert [statuses(world, token, "GET /v1/jobs")[0] for token in tokens] == expected


def test_a_token_is_listed_with_its_last_use_and_revoked_by_its_user_alone(world: TcpWorld) -> None:
    token = world.token("read", name="grafana")
    assert world.ask("GET", "/v1/tokens").json()[0]["last_used_at"] is None
    with later(world, timedelta(hours=1)):
        world.over_tcp("GET", "/v1/jobs", bearer(token), place="10.1.2.3")
    (row,) = world.ask("GET", "/v1/tokens").json()
    assert (row["name"], row["scope"], row["last_used_at"], row["last_address"]) == (
        "grafana", "read", "2026-03-02T13:00:00Z", "10.1.2.3",
    )  # fmt: skip
    assert "digest" not in row
    path = f"/v1/tokens/{row['id']}/revoke"
    assert world.ask("GET", "/v1/tokens", who=BOB).json() == []
    assert world.ask("POST", path, who=BOB).status_code == 404
    assert statuses(world, token, "GET /v1/jobs") == [200]
    assert world.ask("POST", path).status_code == 200
    assert statuses(world, token, "GET /v1/jobs") == [401]
    assert world.ask("POST", path).status_code == 404
    assert world.told() == ["token_created", "token_revoked", "access_refused"]


def test_a_token_makes_and_shows_and_ends_no_other(world: TcpWorld) -> None:
    token = world.token("admin", ROOT)
    asked = ("GET /v1/tokens", "GET /v1/sessions", "POST /v1/tickets", "POST /v1/tokens/1/revoke", "POST /v1/tokens")
    answers = [world.over_tcp(*route.split(), bearer(token), json={"scope": "read"} if route == asked[-1] else None)
               for route in asked]  # fmt: skip
    assert [answer.status_code for answer in answers] == [403] * 5


def test_a_user_has_so_many_tokens(world: TcpWorld) -> None:
    for _ in range(MOST_TOKENS):
        world.token()
    assert world.ask("POST", "/v1/tokens", json={"scope": "read"}).status_code == 422
    assert world.ask("POST", "/v1/tokens", json={"scope": "read"}, who=BOB).status_code == 200


def test_the_token_of_an_account_that_is_gone_is_nobodys(world: TcpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {41001: "ada"}
    monkeypatch.setattr(identity, "_user_name", lambda uid: names.get(uid, str(uid)))
    monkeypatch.setattr(identity, "GROUPS_FOR_S", -1.0)
    for cached in ("_NAMES", "_ACCOUNTS"):
        monkeypatch.setattr(identity, cached, {})
    token = world.token()
    assert statuses(world, token, "GET /v1/jobs") == [200]
    names.clear()
    assert statuses(world, token, "GET /v1/jobs", "POST /v1/jobs") == [401, 401]


@pytest.mark.parametrize(
    "shown",
    [
        None, "Bearer", "Bearer ", "Bearer x", "Basic cm9vdDo=", "Bearer greenrun_" + "A" * 43, "uid:0", "Bearer uid:0",
        "greenrun_x", "Bearer \xe9",
    ],
)  # fmt: skip
def test_no_route_of_the_api_answers_who_is_not_known(world: TcpWorld, shown: str | None) -> None:
    """All routes, also those that somebody adds; whoever it is for, and whatever the request says of itself."""
    headers: dict[str, str | bytes] = {"x-forwarded-for": "uid:0", "x-remote-user": "root", "x-csrf-token": "0"}
    if shown is not None:
        headers["authorization"] = shown.encode("latin-1")
    routes = [*routes_of(world.tcp), ("GET", "/v1"), ("GET", "/v1/"), ("GET", "/v1/nowhere"), ("OPTIONS", "/v1/jobs"),
              ("HEAD", "/v1/jobs")]  # fmt: skip
    assert len(routes) > 40
    for method, path in routes:
        answer = world.over_tcp(method, path, headers)
        assert answer.status_code in (401, 429), (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
    assert [job.held for job in world.store.kept.values()] == [False] * 3


@pytest.mark.parametrize("path", ["/V1/jobs", "//v1/jobs", "/v1//jobs", "/./v1/jobs", "/%76%31/jobs", "/x/../v1/jobs"])
def test_no_spelling_of_a_path_leads_round_the_gate(world: TcpWorld, path: str) -> None:
    assert world.over_tcp("GET", f"http://localhost:9753{path}").status_code in (401, 404)


def test_who_guesses_is_told_to_wait_and_who_has_a_token_is_not(world: TcpWorld) -> None:
    """All users of a machine have one address at loopback: nobody may shut out others."""
    token = world.token()
    guesses = [world.over_tcp("GET", "/v1/jobs", bearer(f"greenrun_{n}")) for n in range(MOST_FAILURES + 5)]
    assert [answer.status_code for answer in guesses] == [401] * MOST_FAILURES + [429] * 5
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    assert statuses(world, token, "GET /v1/jobs") == [200]
    assert world.over_tcp("GET", "/v1/jobs", bearer("greenrun_0"), place="10.9.9.9").status_code == 401
    assert world.over_tcp("GET", "/sign-in?ticket=guessed").status_code == 429
    with later(world, timedelta(minutes=1)):
        assert world.over_tcp("GET", "/v1/jobs", bearer("greenrun_0")).status_code == 401


def test_guesses_are_noted_once_in_a_while_with_where_they_came_from(world: TcpWorld) -> None:
    for place in (PLACE, "10.9.9.9", PLACE):
        for _ in range(20):
            world.over_tcp("GET", "/v1/jobs", bearer("greenrun_guess"), place=place)
    noted = world.store.credentials.noted
    assert [event.origin and event.origin.address for event in noted] == [PLACE, "10.9.9.9"]
    assert "guess" not in str(noted)
    with later(world, timedelta(minutes=10)):
        world.over_tcp("GET", "/v1/jobs", bearer("greenrun_guess"))
    assert len(noted) == 3


def test_failures_are_counted_by_network_and_forgotten_at_a_limit() -> None:
    failures = Failures()
    for host in range(MOST_FAILURES):
        assert failures.add(f"2001:db8::{host:x}", NOW).wait_s == 0
    assert failures.add("2001:db8::ffff", NOW).wait_s == 60
    assert failures.add("2001:db8:0:1::1", NOW).wait_s == 0
    assert failures.add("::ffff:10.0.0.1", NOW).is_worth_noting
    assert not failures.add("10.0.0.1", NOW).is_worth_noting
    notes = [failures.add(f"10.1.{n // 250}.{n % 250}", NOW).is_worth_noting for n in range(MOST_ADDRESSES)]
    assert 0 < sum(notes) < 100
    assert failures.add("2001:db8::1", NOW).wait_s == 0  # others came after it


def test_nothing_that_lets_anybody_in_is_stored_logged_or_noted(tmp_path: Path) -> None:
    path = tmp_path / "greenrun.db"
    with Store(path) as store, capture_logs() as logged:
        world = TcpWorld(store.credentials)
        ticket, token, browser = world.ticket(), world.token(), world.browser()
        secrets = [ticket, token, token.removeprefix("greenrun_"), browser.cookie.partition("=")[2], browser.csrf]
        world.over_tcp("GET", f"/sign-in?ticket={ticket}")
        statuses(world, token, "GET /v1/jobs")
        browser.post("/sign-out")
        told = str(store.jobs.events()) + str(logged)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert [secret for secret in secrets if secret in told or secret.encode() in kept] == []
    assert "/sign-in" in told


def test_what_was_made_outlives_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        world = TcpWorld(store.credentials)
        token, browser = world.token(), world.browser()
    with Store(tmp_path / "greenrun.db") as store:
        again = TcpWorld(store.credentials)
        assert statuses(again, token, "GET /v1/jobs") == [200]
        assert again.over_tcp("GET", "/v1/jobs", {"cookie": browser.cookie}).status_code == 200


def test_the_kernel_says_whose_process_connected(tmp_path: Path) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with closing(socket.socket(family)) as listener:
            try:
                listener.bind((address, 0))
            except OSError:  # a machine without IPv6
                continue
            listener.listen()
            with closing(socket.create_connection(listener.getsockname()[:2])) as browser:
                ends = browser.getsockname(), browser.getpeername()
                assert peer_account.uid_of_peer(*ends) == os.getuid()
                assert peer_account.uid_of_peer(ends[1], ("192.0.2.1", 9)) is None
    assert peer_account.uid_of_peer((address, 1), (address, 2), tmp_path) is None


@pytest.mark.parametrize(
    ("peer", "is_other"), [(41001, False), (41002, True), (0, False), (33, False), (65534, False), (None, False)]
)
def test_another_persons_process_has_no_use_of_a_ticket_or_a_cookie(
    world: TcpWorld, monkeypatch: pytest.MonkeyPatch, peer: int | None, is_other: bool
) -> None:
    """The system's own accounts are proxies, which speak for others."""
    browser, ticket = world.browser(), world.ticket()
    monkeypatch.setattr(peer_account, "uid_of_peer", lambda client, server: peer)
    assert browser.get("/v1/jobs").status_code == (401 if is_other else 200)
    page = browser.get("/docs")  # who was given a cookie by a page at another port is not kept out by it
    assert (page.status_code, "Max-Age=0" in page.headers.get("set-cookie", "")) == (200, is_other)
    answer = world.over_tcp("GET", f"/sign-in?ticket={ticket}")
    assert answer.status_code == (403 if is_other else 303)
    if is_other:
        monkeypatch.setattr(peer_account, "uid_of_peer", lambda client, server: 41001)
        assert world.over_tcp("GET", f"/sign-in?ticket={ticket}").status_code == 303  # it was not used up
        assert "is another user's of this machine" in str(world.store.credentials.noted)


@pytest.mark.parametrize("path", ["/nothing", "/v1/jobs", "/v1/caller", "/healthz", "/metrics", "/docs", "/sign-in"])
def test_each_answer_tells_the_browser_to_load_nothing(world: TcpWorld, path: str) -> None:
    for answer in (world.over_tcp("GET", path), world.browser().get(path), world.over_tcp("POST", path)):
        policy = answer.headers["content-security-policy"]
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= {part.strip() for part in policy.split(";")}
