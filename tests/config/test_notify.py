"""[notify.NAME]: a hook has what its kind needs and nothing else, and in system mode no command but root's."""

import os
from pathlib import Path
from typing import Any

import pytest

from greenrun.config import load_config
from greenrun.config.notify import hooks_of
from greenrun.core.errors import ConfigError
from greenrun.core.jobs.notices import Topic
from greenrun.notifications.hook import Hook, HookKind

COMMAND = 'kind = "command"\ncommand = ["/bin/true"]\n'
WEB = 'kind = "webhook"\nurl = "https://chat.example/x"\n'
MAIL = 'kind = "mail"\nto = ["{user}"]\n'
EVENTS = 'events = ["ended"]\n'


def hooks(folder: Path, text: str, **settings: Any) -> list[Hook]:
    path = _written(folder, text)
    config = load_config(path, {})
    return hooks_of(config.notify, **{"is_system": False, "read_from": path} | settings)


def _written(folder: Path, text: str) -> Path:
    path = folder / "greenrun.toml"
    path.write_text(f"[notify.ops]\n{text}")
    return path


def test_each_kind_of_hook_is_read_with_paths_from_the_files_folder(tmp_path: Path) -> None:
    (web,) = hooks(tmp_path, 'kind = "webhook"\nurl_file = "u"\nsecret_file = "s"\njobs = "all"\nevents = ["late"]')
    assert (web.url_file, web.secret_file) == (tmp_path / "u", tmp_path / "s")
    assert (web.only_asked, web.topics) == (False, {Topic.LATE})
    (mail,) = hooks(tmp_path, MAIL + EVENTS)
    assert (mail.kind, mail.command, mail.to, mail.only_asked) == (
        HookKind.MAIL, ("/usr/sbin/sendmail",), ("{user}",), True,
    )  # fmt: skip
    (command,) = hooks(tmp_path, COMMAND + EVENTS)
    assert command.command == ("/bin/true",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (COMMAND, "notify.ops.events"),
        (EVENTS, "notify.ops.kind"),
        (COMMAND + 'events = ["ended", "never"]', "never"),
        (COMMAND + "events = []", "notify.ops.events"),
        (COMMAND + EVENTS + 'url = "https://x.example"', "url: not of the kind command"),
        (COMMAND + EVENTS + 'jobs = "some"', "notify.ops.jobs"),
        (COMMAND + EVENTS + 'timeout = "1h"', 'must be from "1s" to "5m"'),
        ('kind = "command"\ncommand = ["notify-send"]\n' + EVENTS, "absolute path"),
        ('kind = "command"\n' + EVENTS, "command is required"),
        ('kind = "webhook"\n' + EVENTS, "set either url, or url_file"),
        (WEB + EVENTS + 'url_file = "u"', "set either url, or url_file"),
        ('kind = "webhook"\nurl = "http://chat.example/x"\n' + EVENTS, "must begin with https://"),
        ('kind = "webhook"\nurl = "https://me:sesame@chat.example/x"\n' + EVENTS, "without a user"),
        ('kind = "mail"\n' + EVENTS, "to is required"),
        ('kind = "mail"\nto = ["-oQ/tmp"]\n' + EVENTS, "no address of mail"),
        (MAIL + EVENTS + 'sender = "a\\nb@c"', "no address of mail"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        hooks(tmp_path, text)
    assert why in str(refused.value)


def test_a_name_is_one_for_logs_and_metrics(tmp_path: Path) -> None:
    path = tmp_path / "greenrun.toml"
    path.write_text(f'[notify."Ops hook"]\n{COMMAND}{EVENTS}')
    with pytest.raises(ConfigError, match="small letters"):
        load_config(path, {})


def test_wrong_names_of_tables_are_told_together_with_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "greenrun.toml"
    mail = 'kind = "mail"\nto = ["-a", "b c", "d@e"]\n'
    shares = 'by = "team"\nshares = { "" = 1, ada = -1 }\n'
    path.write_text(f"[notify.Ops]\n{mail}{EVENTS}[notify.web]\nevents = []\n[fair_share]\n{shares}")
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    for problem in (
        "\n  notify.Ops: a hook is named by small letters",
        "\n  notify.Ops.to: '-a', 'b c' are no address of mail",
        "\n  notify.web.kind: ",
        "\n  notify.web.events: ",
        "\n  fair_share.by: ",
        '\n  fair_share.shares."": ',
        "\n  fair_share.shares.ada: ",
    ):
        assert problem in str(refused.value)


def test_in_system_mode_a_command_that_others_than_root_could_change_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    own = f'kind = "command"\ncommand = ["{program}"]\n{EVENTS}'
    assert hooks(tmp_path, own)
    with pytest.raises(ConfigError, match="others than root could change"):
        hooks(tmp_path, own, is_system=True)
    assert hooks(tmp_path, WEB + EVENTS, is_system=True), "a webhook runs nothing"


def test_in_system_mode_a_command_of_roots_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_config(_written(tmp_path, COMMAND + EVENTS), {}).notify
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result((0o100755, *[0] * 9)))  # as if all were root's
    (hook,) = hooks_of(settings, is_system=True, read_from=tmp_path / "greenrun.toml")
    assert hook.command == ("/bin/true",)


@pytest.mark.parametrize("mode", [0o100775, 0o100757])
def test_in_system_mode_what_a_group_or_all_could_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    settings = load_config(_written(tmp_path, MAIL + EVENTS), {}).notify
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result((mode, *[0] * 9)))
    with pytest.raises(ConfigError, match="others than root could change"):
        hooks_of(settings, is_system=True, read_from=None)
