"""`greenrun web`, `token` and `session`: what they ask the daemon, and what goes to which output."""

import json
import webbrowser

import pytest

from tests.cli.conftest import Run
from tests.fake_api import FakeApi

TICKET = {"ticket": "TICKET", "expires_at": "2031-01-05T14:01:00Z", "addresses": ["http://127.0.0.1:9753"]}
ADDRESS = "http://127.0.0.1:9753/sign-in?ticket=TICKET"
ROW = {
    "id": 3, "kind": "token", "user": "ada", "name": "grafana", "scope": "read", "made_at": "2031-01-05T14:00:00Z",
    "expires_at": "2031-04-05T14:00:00Z", "last_used_at": None, "last_address": None,
}  # fmt: skip


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was told to open; there is a screen."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return addresses


def test_the_page_is_opened_where_there_is_a_screen(api: FakeApi, run: Run, opened: list[str]) -> None:
    api.post("/v1/tickets", TICKET)
    said = run("web")
    assert (said.code, opened) == (0, [ADDRESS])
    assert "TICKET" not in said.out + said.err


def test_the_address_is_printed_alone_on_request(api: FakeApi, run: Run, opened: list[str]) -> None:
    api.post("/v1/tickets", TICKET)
    said = run("web", "--print")
    assert (said.code, said.out, opened) == (0, f"{ADDRESS}\n", [])
    assert "once, within a minute" in said.err
    assert "ssh" not in said.err
    assert json.loads(run("web", "--json").out) == {"address": ADDRESS, "expires_at": TICKET["expires_at"]}


@pytest.mark.parametrize("far", ["ssh", "no screen"])
def test_from_elsewhere_it_says_how_to_reach_it(
    api: FakeApi, run: Run, opened: list[str], monkeypatch: pytest.MonkeyPatch, far: str
) -> None:
    api.post("/v1/tickets", TICKET)
    if far == "ssh":
        monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22")
    else:
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    said = run("web")
    assert (said.code, said.out, opened) == (0, f"{ADDRESS}\n", [])
    assert "ssh -L 9753:127.0.0.1:9753 " in said.err


def test_it_is_printed_where_no_browser_is_found(
    api: FakeApi, run: Run, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post("/v1/tickets", TICKET)
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert run("web").out == f"{ADDRESS}\n"


def test_a_daemon_without_a_page_says_what_to_set(api: FakeApi, run: Run) -> None:
    api.post("/v1/tickets", {**TICKET, "addresses": []})
    said = run("web")
    assert (said.code, "[api] metrics" in said.err) == (1, True)


def test_a_token_alone_goes_to_the_output(api: FakeApi, run: Run) -> None:
    api.post("/v1/tokens", {**ROW, "token": "greenrun_SECRET"})
    said = run("token", "create", "--scope", "read", "--days", "7", "--name", "grafana")
    assert (said.code, said.out) == (0, "greenrun_SECRET\n")
    assert "greenrun token revoke 3" in said.err
    assert "SECRET" not in said.err
    assert api.changes[0].body == {"scope": "read", "days": 7, "name": "grafana"}


def test_all_that_is_wrong_is_told_at_once_and_nothing_asked(api: FakeApi, run: Run) -> None:
    said = run("token", "create", "--scope", "all", "--days", "400", "--name", "x" * 101)
    assert said.code == 2
    assert all(option in said.err for option in ("--scope", "--days", "--name"))
    assert api.asked == []


@pytest.mark.parametrize(
    ("command", "kind", "head"), [("token", "tokens", "SCOPE"), ("session", "sessions", "BROWSER")]
)
def test_they_are_listed_and_revoked(api: FakeApi, run: Run, command: str, kind: str, head: str) -> None:
    api.get(f"/v1/{kind}", [ROW, {**ROW, "last_used_at": "2031-01-05T15:00:00Z", "last_address": "10.1.2.3"}])
    api.post(f"/v1/{kind}/3/revoke", ROW)
    listed = run(command, "list")
    assert [word in listed.out for word in (head, "never", "10.1.2.3", "grafana")] == [True] * 4
    assert run(command, "revoke", "3").out == "token 3 of ada is revoked\n"
    assert run(command, "revoke", "x").code == 2
    api.get(f"/v1/{kind}", [])
    assert run(command, "list").out == f"there are no {kind}\n"
