"""Sessions of browsers: a ticket begins one, once and in time; what changes something proves that its page asks."""

from datetime import timedelta

import pytest

from greenrun.api import identity
from greenrun.api.sign_in.known_credentials import MOST_SESSIONS
from greenrun.core.jobs.access import AccessRules, Sharing
from tests.api.fakes import ADA, BOB, ROOT, stored
from tests.api.sign_in.tcp import JOB, OWN, TcpWorld, later, routes_of

SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> TcpWorld:
    return TcpWorld(access=AccessRules(others=Sharing.PRIVATE))


def test_a_ticket_makes_a_browser_its_users(world: TcpWorld) -> None:
    world.store.keep(stored(1))
    browser = world.browser()
    assert browser.set_cookie.split("; ")[1:] == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    assert browser.get("/v1/jobs").json()[0]["access"] == "all"
    told = browser.get("/v1/caller").json()
    assert (told["user"], told["credential"]["kind"], told["may_all"]) == ("41001", "session", False)
    answer = browser.post("/v1/jobs/1/hold")
    assert (answer.status_code, answer.json()["held"]) == (200, True)


def test_the_cookie_is_for_tls_alone_where_there_is_tls(world: TcpWorld) -> None:
    answer = world.ask(
        "GET", f"https://localhost:9754/sign-in?ticket={world.ticket()}", who="10.0.0.1", app=world.tcp,
    )  # fmt: skip
    assert answer.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")


def test_a_ticket_opens_once(world: TcpWorld) -> None:
    ticket = world.ticket()
    answers = [world.over_tcp("GET", f"/sign-in?ticket={ticket}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 401]
    assert "greenrun web" in answers[1].json()["detail"]
    assert "set-cookie" not in answers[1].headers


@pytest.mark.parametrize(("seconds", "status"), [(59, 303), (60, 401), (3600, 401)])
def test_a_ticket_opens_for_a_minute(world: TcpWorld, seconds: int, status: int) -> None:
    ticket = world.ticket()
    with later(world, seconds * SECOND):
        assert world.over_tcp("GET", f"/sign-in?ticket={ticket}").status_code == status


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=AAAA", "?ticket=" + "A" * 43])
def test_nobody_signs_in_without_a_ticket(world: TcpWorld, query: str) -> None:
    answer = world.over_tcp("GET", f"/sign-in{query}", {"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "Run `greenrun web` again" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-purpose": "prefetch;prerender"},
        {"purpose": "prefetch"}, {"x-moz": "prefetch"}, {"purpose": "Prefetch"}, {"sec-purpose": "Prefetch;Prerender"},
    ],
)  # fmt: skip
def test_another_site_or_a_look_ahead_uses_no_ticket(world: TcpWorld, headers: dict[str, str]) -> None:
    """A stranger's page could make a browser somebody else's, whose jobs would then be started from it."""
    ticket = world.ticket()
    assert world.over_tcp("GET", f"/sign-in?ticket={ticket}", headers).status_code == 403
    assert world.over_tcp("GET", f"/sign-in?ticket={ticket}", {"sec-fetch-site": "none"}).status_code == 303


def test_a_ticket_is_its_users_and_takes_no_browser_from_another(world: TcpWorld) -> None:
    browser, ticket = world.browser(ADA), world.ticket(BOB)
    answer = browser.get(f"/sign-in?ticket={ticket}")
    assert (answer.status_code, "41001 is signed in here" in answer.json()["detail"]) == (409, True)
    assert browser.get("/v1/caller").json()["user"] == "41001"
    assert world.browser(BOB).get("/v1/caller").json()["user"] == "41002"


def test_to_sign_in_again_ends_the_session_before(world: TcpWorld) -> None:
    browser = world.browser()
    assert browser.get(f"/sign-in?ticket={world.ticket()}").status_code == 303
    assert browser.get("/v1/caller").status_code == 401
    assert len(world.ask("GET", "/v1/sessions").json()) == 1


def test_a_ticket_is_made_over_the_socket_alone(world: TcpWorld) -> None:
    answer = world.browser().post("/v1/tickets")
    assert (answer.status_code, "over its unix socket" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize("cookie", ["x", "A" * 43, "", "\x7f", "é"])
def test_a_forged_cookie_is_nobodys(world: TcpWorld, cookie: str) -> None:
    name = world.browser().cookie.partition("=")[0]
    shown = {"cookie": f"{name}={cookie}".encode()}
    answer = world.over_tcp("GET", "/v1/jobs", shown)
    assert (answer.status_code, answer.json()["title"]) == (401, "not signed in")
    assert world.over_tcp("GET", "/metrics", shown).status_code == 200


def test_a_browser_forgets_the_cookie_of_a_session_that_is_over(world: TcpWorld) -> None:
    browser = world.browser()
    with later(world, timedelta(hours=12)):
        for path in ("/v1/jobs", "/metrics"):
            assert f"{browser.cookie.partition('=')[0]}=; Path=/; Max-Age=0" in browser.get(path).headers["set-cookie"]
        assert browser.get("/v1/jobs").status_code == 401
        assert world.ask("GET", "/v1/sessions").json() == []


def test_sign_out_ends_the_session(world: TcpWorld) -> None:
    browser = world.browser()
    assert browser.post("/sign-out", without="x-csrf-token").status_code == 403
    answer = browser.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert browser.get("/v1/jobs").status_code == 401
    assert world.told() == ["signed_in", "signed_out", "access_refused"]


def test_a_session_is_listed_and_revoked_by_its_user_alone(world: TcpWorld) -> None:
    ada, bob = world.browser(ADA), world.browser(BOB)
    (session,) = world.ask("GET", "/v1/sessions").json()
    assert (session["user"], session["last_address"], session["last_used_at"]) == (
        "41001", "127.0.0.1", "2026-03-02T12:00:00Z",
    )  # fmt: skip
    path = f"/v1/sessions/{session['id']}/revoke"
    assert bob.post(path).status_code == 404
    assert [row["user"] for row in bob.get("/v1/sessions").json()] == ["41002"]
    assert [row["user"] for row in world.ask("GET", "/v1/sessions", who=ROOT).json()] == ["41001", "41002"]
    assert ada.get("/v1/jobs").status_code == 200
    assert ada.post(path).status_code == 200
    assert ada.get("/v1/jobs").status_code == 401
    assert bob.get("/v1/jobs").status_code == 200


def test_one_session_more_ends_the_oldest(world: TcpWorld) -> None:
    first, second = world.browser(), world.browser()
    for _ in range(MOST_SESSIONS - 1):
        world.browser()
    assert [first.get("/v1/jobs").status_code, second.get("/v1/jobs").status_code] == [401, 200]
    assert len(world.ask("GET", "/v1/sessions").json()) == MOST_SESSIONS


def test_of_an_account_that_is_gone_no_session_is_left(world: TcpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {41001: "ada", 41002: "bob"}
    monkeypatch.setattr(identity, "_user_name", lambda uid: names.get(uid, str(uid)))
    monkeypatch.setattr(identity, "GROUPS_FOR_S", -1.0)
    for cached in ("_NAMES", "_ACCOUNTS"):
        monkeypatch.setattr(identity, cached, {})
    ada, bob = world.browser(ADA), world.browser(BOB)
    del names[41001]
    answer = ada.get("/v1/jobs")
    assert (answer.status_code, "was ada's, whose account is not there any more" in answer.json()["detail"]) == (
        401,
        True,
    )
    names[41002] = "eve"  # a number that another account has got
    assert bob.get("/v1/jobs").status_code == 401


CHANGES = [path for method, path in routes_of(TcpWorld().tcp) if method not in ("GET", "HEAD")]


@pytest.mark.parametrize("headers", [{"without": "x-csrf-token"}, {"x_csrf_token": ""}, {"x_csrf_token": "0" * 64}])
def test_no_route_changes_anything_for_a_cookie_without_its_csrf_token(
    world: TcpWorld, headers: dict[str, str]
) -> None:
    browser = world.browser(ROOT)
    assert len(CHANGES) > 20
    for path in [*CHANGES, "/sign-out"]:
        answer = browser.post(path, body=JOB, **headers)
        assert (answer.status_code, "CSRF token" in answer.json()["detail"]) == (403, True), path
    assert world.store.kept == {}


def test_the_csrf_token_of_another_session_is_none_of_ones_own(world: TcpWorld) -> None:
    ada, bob = world.browser(ADA), world.browser(BOB)
    assert ada.post("/v1/jobs", body=JOB, x_csrf_token=bob.csrf).status_code == 403
    assert ada.post("/v1/jobs", body=JOB).status_code == 201
    assert ada.csrf not in ada.cookie


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:8888"},
        {"origin": "https://localhost:9753"}, {"origin": "http://localhost:9753.evil.example"},
        {"origin": "http://127.0.0.1:9753"}, {"origin": ""}, {"origin": "http://["}, {"origin": "http://[::1"},
        {"origin": "http://[v1.x"},
        {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
    ],
)  # fmt: skip
def test_no_page_of_another_origin_changes_or_reads_anything(world: TcpWorld, headers: dict[str, str]) -> None:
    browser = world.browser()
    answers = [browser.post("/v1/jobs", body=JOB, **headers), browser.get("/v1/jobs", **headers)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert world.store.kept == {}


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1"])
def test_no_name_of_a_strangers_is_answered(world: TcpWorld, host: str) -> None:
    browser = world.browser()
    answer = browser.post("/v1/jobs", body=JOB, host=host, origin=f"http://{host}")
    assert answer.status_code == 421


def test_a_program_that_sends_no_origin_has_its_csrf_token(world: TcpWorld) -> None:
    browser = world.browser()
    sent = {"cookie": browser.cookie, "x-csrf-token": browser.csrf}
    assert world.over_tcp("POST", "/v1/jobs", sent, json=JOB).status_code == 201


def test_a_form_may_send_the_csrf_token_as_a_field(world: TcpWorld) -> None:
    browser = world.browser()
    for token, status in (("0", 403), (browser.csrf, 303)):
        sent = {"cookie": browser.cookie, "origin": OWN}
        assert world.over_tcp("POST", "/sign-out", sent, data={"csrf_token": token}).status_code == status


def test_answers_tell_browsers_what_to_keep_to_themselves(world: TcpWorld) -> None:
    answer = world.over_tcp("GET", f"/sign-in?ticket={world.ticket()}")
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert world.browser().get("/v1/jobs").headers["cache-control"] == "no-store"
    assert world.over_tcp("GET", "/metrics").headers["x-content-type-options"] == "nosniff"
