"""A command gets the notification on its input, and nothing of it is left; a mail has the headers that are meant."""

import email
import json
import os
from dataclasses import replace
from datetime import timedelta
from email.policy import default
from pathlib import Path

import pytest

from greenrun.notifications.hook import HookKind, is_address
from greenrun.notifications.message import Notification
from greenrun.notifications.senders import MOST_OUTPUT, mail_of, recipients, send
from greenrun.procfs import process_stat
from tests.notifications.build import event, hook, job, script, told
from tests.patience import HANGS_S, until

LONG = timedelta(seconds=HANGS_S)
SHORT = timedelta(seconds=1)


def test_a_command_gets_the_payload_and_the_allowed_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    command = script(tmp_path, f"cat > {tmp_path}/given; env > {tmp_path}/env; pwd > {tmp_path}/pwd")
    assert send(hook(command=command, timeout=LONG), told()) is None
    assert Notification.model_validate_json((tmp_path / "given").read_text()) == told()
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "PATH", "LANG", "GREENRUN_COMMAND", "GREENRUN_NOTIFICATION_ID", "GREENRUN_NOTIFICATION_TYPE",
    }  # fmt: skip
    assert (tmp_path / "pwd").read_text() == "/\n"


def test_a_command_that_fails_is_a_failure_with_what_it_said(tmp_path: Path) -> None:
    command = script(tmp_path, "cat > /dev/null; printf 'no \\033[31mroom' >&2; exit 4")
    assert send(hook(command=command, timeout=LONG), told()) == "its command ended with exit code 4 (no ?[31mroom)"
    assert "cannot be started" in (send(hook(command=(str(tmp_path / "none"),)), told()) or "")


def test_a_command_that_does_not_read_its_input_is_no_failure(tmp_path: Path) -> None:
    assert send(hook(command=script(tmp_path, "exit 0"), timeout=LONG), told()) is None


def test_a_command_that_hangs_is_killed_with_all_that_it_started_in_whatever_session(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(
        tmp_path,
        f"setsid sh -c 'echo $$ >> {pids}; sleep 1000' &\n(setsid sleep 1000 & echo $! >> {pids}) &\n"
        f"echo $$ >> {pids}; trap '' TERM HUP; sleep 1000",
    )

    def judge() -> bool:
        failure = send(hook(command=command, timeout=timedelta(seconds=3)), told())
        assert failure == "its command did not end within 3 s and was killed"
        return pids.exists()

    until(judge, "the command got as far as to start something", limit_s=HANGS_S)
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not _is_alive(pid), f"process {pid} is gone")  # type: ignore[misc]


def _is_alive(pid: int) -> bool:
    found = process_stat(pid)
    return found is not None and found.is_alive


def test_what_a_command_leaves_in_the_background_is_ended_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(tmp_path, f"setsid sleep 1000 > /dev/null 2>&1 & echo $! > {pids}")
    assert send(hook(command=command, timeout=LONG), told()) is None
    until(lambda: not _is_alive(int(pids.read_text())), "what it left is gone")


@pytest.mark.parametrize("end", ["exit 0", "sleep 1000"])
def test_what_leaves_its_session_its_environment_and_its_parents_ends_with_the_command(
    tmp_path: Path, end: str
) -> None:
    pids = tmp_path / "pids"
    hide = f"setsid env -i sh -c 'echo $$ > {pids}; exec sleep 1000' > /dev/null 2>&1 < /dev/null"
    command = script(tmp_path, f"({hide} &)\nwhile [ ! -s {pids} ]; do sleep 0.02; done\n{end}")
    timeout = LONG if end == "exit 0" else timedelta(seconds=3)

    def judge() -> bool:
        failure = send(hook(command=command, timeout=timeout), told())
        assert (failure is None) == (end == "exit 0")
        return pids.exists() and bool(pids.read_text().strip())

    until(judge, "the command got as far as to start something", limit_s=HANGS_S)
    assert not _is_alive(int(pids.read_text()))


def test_a_command_that_floods_its_output_is_killed(tmp_path: Path) -> None:
    failure = send(hook(command=script(tmp_path, "exec yes"), timeout=LONG), told())
    assert failure == f"its command wrote more than {MOST_OUTPUT // 1024} KiB and was killed"


def test_no_descriptor_of_the_daemon_is_passed_on(tmp_path: Path) -> None:
    kept = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    try:
        command = script(tmp_path, f"ls -l /proc/self/fd > {tmp_path}/fds")
        assert send(hook(command=command, timeout=LONG), told()) is None
    finally:
        os.close(kept)
    assert "secret" not in (tmp_path / "fds").read_text()


def test_a_mail_goes_to_the_jobs_user_and_the_site_through_sendmail(tmp_path: Path) -> None:
    command = script(tmp_path, f'echo "$@" > {tmp_path}/args; cat > {tmp_path}/mail')
    mail = hook(HookKind.MAIL, command=command, to=("{user}", "ops@example.org"), sender="gr@example.org", timeout=LONG)
    assert send(mail, told()) is None
    assert (tmp_path / "args").read_text() == "-i -f gr@example.org -- ada ops@example.org\n"
    read = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=default)
    assert (read["To"], read["From"]) == ("ada, ops@example.org", "gr@example.org")
    assert read["Subject"] == "[greenrun box] job 12 (train) has failed"
    assert read["Message-ID"] == "<greenrun.abc-7@box>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert "job 12 (train) of ada, project default, has failed." in read.get_content()


@pytest.mark.parametrize(
    "name", ["a\nBcc: eve@example.org", "a\r\n\r\nbody", "ä\x00\u2028Bcc: x", "=?utf-8?q?a=0ABcc:x?="]
)
def test_no_name_of_a_job_adds_a_header(name: str) -> None:
    evil = job()
    evil = replace(evil, spec=replace(evil.spec, name=name))
    raw = mail_of(hook(HookKind.MAIL, to=("ops@example.org",)), told(evil), ["ops@example.org"])
    head = raw.split(b"\n\n")[0].decode()
    names = [line.partition(":")[0] for line in head.splitlines() if not line.startswith((" ", "\t"))]
    assert sorted(names) == sorted(
        ["To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
         "MIME-Version"]
    )  # fmt: skip


@pytest.mark.parametrize("user", ["-oQ/tmp", "eve@example.org, x", "a b", "", "a\nb"])
def test_a_user_whose_name_is_no_address_gets_no_mail(user: str) -> None:
    mail = hook(HookKind.MAIL, to=("{user}",))
    of = told(replace(job(), user=user))
    assert recipients(mail, of) == []
    assert send(mail, of) is None


def test_what_is_about_no_job_goes_to_the_site_alone() -> None:
    lost = told(about=event("source_lost", provider="uk", cause="ProviderUnavailable"))
    lost = lost.model_copy(update={"job": None})
    assert recipients(hook(HookKind.MAIL, to=("{user}", "ops@example.org")), lost) == ["ops@example.org"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("{user}", True), ("ops@example.org", True), ("root", True), ("-f", False), ("a b@c", False), ("a@b\nc", False),
     ("a@b,c@d", False), ("", False)],
)  # fmt: skip
def test_what_can_be_an_address(text: str, is_one: bool) -> None:
    assert is_address(text) is is_one


def test_the_payload_has_neither_command_nor_environment() -> None:
    text = json.dumps([told().model_dump(), told(job()).model_dump()])
    assert "python" in text
    assert "sesame" not in text
    assert "hunter2" not in text
