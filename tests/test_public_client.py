"""The Python client states jobs as the command line does, repeats only what is safe, and shows what it gets."""

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import greenrun
from greenrun.client import NoAnswer, RequestRefused, StillUnfinished
from greenrun.client.answer_reader import read
from greenrun.client.answers import Plan, Report
from greenrun.client.job_statement import SweepOptions
from greenrun.client.public_client import Client
from greenrun.submission.job_options import OPTIONS
from tests.api.client_answers import FILE, source
from tests.fake_api import HANG_UP, Asked, FakeApi, serving

JOB: dict[str, Any] = {
    "id": 12, "name": "<b>x</b>", "state": "queued", "user": "ada", "gpus": 1, "command": ["a", "<i>"], "runs": [],
    "reason": {"code": "cleanest_window", "text": "waits for <u>"}, "planned": None, "held": False, "new_field": 1,
}  # fmt: skip
EAST = timezone(timedelta(hours=2))


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeApi]:
    with serving(tmp_path_factory.mktemp("s") / "s") as fake:
        fake.post("/v1/jobs", JOB, 201)
        yield fake


@pytest.fixture
def client(api: FakeApi) -> Client:
    return Client(api.socket, timeout_s=5, retry_s=60)


def test_the_classes_of_answers_are_as_the_api_itself_says() -> None:
    """Write them with `python -m tests.api.client_answers`."""
    assert FILE.read_text(encoding="utf-8") == source()


def test_every_option_of_a_job_can_be_said() -> None:
    assert set(get_type_hints(SweepOptions)) == {option.field.removesuffix("_s") for option in OPTIONS.values()}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"duration": "1h30m"}, {"duration_s": 5400}),
        ({"duration": timedelta(minutes=1.5)}, {"duration_s": 90}),
        ({"finish_by": datetime(2030, 1, 1, 9, tzinfo=EAST)}, {"finish_by": "2030-01-01T07:00:00Z"}),
        ({"finish_by": "2030-01-01 09:00Z"}, {"finish_by": "2030-01-01T09:00:00Z"}),
        ({"labels": {"a": "b=c, d"}}, {"labels": {"a": "b=c, d"}}),
        ({"min_saving": 0.05, "memory_gib": 1.5}, {"min_saving": 0.05, "memory_gib": 1.5}),
        ({"after": [7, "8:any"]}, {"after": [{"job": 7, "on": "ok"}, {"job": 8, "on": "any"}]}),
        ({"start_now": True, "interruptible": False, "name": None}, {"start_now": True}),
        ({"retry_on": [75, 1]}, {"retry_on": [1, 75]}),
    ],
)  # fmt: skip
def test_what_is_said_in_python_is_sent_as_the_command_line_would(
    api: FakeApi, client: Client, said: dict[str, Any], sent: dict[str, Any]
) -> None:
    client.submit(["true"], **said)
    body = api.asked[0].body
    assert {name: body[name] for name in sent} == sent
    assert set(body) - set(sent) <= {"command", "gpus", "workdir", "env", "umask", "limits", "git_commit"}


def test_a_job_gets_the_folder_and_the_environment_of_where_it_is_submitted(
    api: FakeApi, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TOKEN", "secret")
    client.submit("true", env={"SEED": "1"})
    body = api.asked[0].body
    assert (body["workdir"], body["command"], body["env"]["SEED"]) == (str(tmp_path), ["true"], "1")
    assert (body["env"]["LANG"], "TOKEN" in body["env"]) == ("C.UTF-8", False)


def test_all_that_is_wrong_is_told_at_once_by_its_argument_and_nothing_is_sent(api: FakeApi, client: Client) -> None:
    with pytest.raises(RequestRefused, match="nothing was submitted") as caught:
        client.submit(["true"], duration="3600", finish_by="nope", workdir="/no/such")
    assert [problem.field for problem in caught.value.errors] == ["duration", "finish_by", "workdir"]
    with pytest.raises(TypeError, match="gpu cannot be said of a job"):
        client.submit(["true"], gpu=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="use submit_array"):
        client.submit(["true"], array="0-3")  # type: ignore[call-arg]
    assert api.asked == []


def test_jobs_of_an_array_are_asked_for_once_even_if_none_is_answered(api: FakeApi, client: Client) -> None:
    api.post("/v1/jobs", [])
    assert client.submit_array(["true"], array="0-3") == []
    assert client.submit_array(["true"], grid={"lr": [1, 2]}) == []
    assert [asked.method for asked in api.changes] == ["POST", "POST"]


def test_a_submission_without_an_answer_is_sent_again_with_its_key_and_an_order_is_not(
    api: FakeApi, client: Client
) -> None:
    job = client.submit(["true"])
    api.post("/v1/jobs", None, HANG_UP)
    api.post("/v1/jobs/12/cancel", None, HANG_UP)
    for ask in (lambda: client.submit(["true"]), job.cancel):
        with pytest.raises(NoAnswer):
            ask()
    assert [asked.path for asked in api.asked] == ["/v1/jobs"] * 3 + ["/v1/jobs/12/cancel"]
    assert api.asked[1].headers["Idempotency-Key"] == api.asked[2].headers["Idempotency-Key"]


def test_what_only_reads_is_asked_again_while_the_daemon_is_away(api: FakeApi, client: Client) -> None:
    job = client.submit(["true"])
    answers = iter([(HANG_UP, None), (HANG_UP, None), (200, {**JOB, "state": "running"})])
    api.answers["GET", "/v1/jobs/12"] = lambda asked: next(answers)
    assert job.refresh().state == "running"


def test_a_daemon_that_never_answered_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(greenrun.ClientError, match="cannot reach"):
        Client(tmp_path / "none", retry_s=3600).plan()


def test_who_waits_gets_the_job_when_it_has_finished_or_is_told_why_it_has_not(api: FakeApi, client: Client) -> None:
    job = client.submit(["true"])
    api.get("/v1/jobs/12", JOB)
    with pytest.raises(StillUnfinished, match=r"job 12 is queued after 0 s \(waits for <u>\); it goes on"):
        job.wait(timeout=0)
    states = iter(["queued", "running", "failed"])
    api.answers["GET", "/v1/jobs/12"] = lambda asked: (200, {**JOB, "state": next(states)})
    assert (job.wait().state, job.is_finished) == ("failed", True)


def test_events_are_followed_from_the_last_that_came(api: FakeApi, client: Client) -> None:
    event = {"at": "2026-12-01T09:00:00Z", "actor": "ada", "kind": "held", "detail": {}}

    def answer(asked: Asked) -> tuple[int, Any]:
        after = int(asked.query.get("after", ["1"])[0])
        return 200, [{**event, "id": after + 1}]

    api.answers["GET", "/v1/events"] = answer
    followed = client.events(follow=True)
    assert [next(followed).id for _ in range(3)] == [2, 3, 4]
    assert [asked.query.get("wait_s") for asked in api.asked] == [None, ["20.0"], ["20.0"]]


def test_what_is_shown_in_a_notebook_is_escaped(api: FakeApi, client: Client) -> None:
    told = {
        "made_at": "2026-12-01T09:00:00Z", "placements": [], "expected_g": 1.0, "others": [],
        "waiting": [{"job": 12, "reason": {"code": "held", "text": "<script>"}}],
    }  # fmt: skip
    shown = client.submit(["true"])._repr_html_() + read(Plan, told)._repr_html_()
    assert [tag for tag in ("<b>", "<i>", "<u>", "<script>") if tag in shown] == []
    assert "waits for &lt;u&gt;" in shown


def test_instants_are_aware_and_fields_that_are_not_known_here_are_left_out() -> None:
    plan = read(Plan, {"made_at": "2026-12-01T09:00:00Z", "more": 1})
    assert (plan.made_at, plan.bound_g) == (datetime(2026, 12, 1, 9, tzinfo=UTC), None)
    assert "from_" in inspect.signature(Report).parameters


def test_the_package_offers_what_programs_need_and_loads_it_when_asked() -> None:
    assert greenrun.Client is Client
    assert greenrun.training.__name__ == "greenrun.training"
    assert {"Client", "measure", "training"} <= set(dir(greenrun))
    assert (Path(greenrun.__file__).parent / "py.typed").is_file()


def test_it_finds_a_daemon_on_another_machine_as_the_command_line_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("a-secret\n")
    token.chmod(0o600)
    monkeypatch.setenv("GREENRUN_URL", "https://gpu1.example:9754")
    monkeypatch.setenv("GREENRUN_TOKEN_FILE", str(token))
    assert repr(Client()) == "<greenrun client of https://gpu1.example:9754>"
    assert repr(Client(tmp_path / "s")) == f"<greenrun client of {tmp_path / 's'}>"  # what is named goes first
