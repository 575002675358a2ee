"""`greenrun config` finds, shows and checks the settings, and tells every problem at once."""

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_every_problem_is_told_with_its_key_and_exit_code_78(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[planner]\ntick = "soon"\nfoo = 1\n')
    ran = run("config", "check", "--config", "bad.toml")
    assert (ran.code, ran.out) == (78, "")
    assert ran.err.count("planner.tick") == 1
    assert ran.err.count("planner.foo") == 1


def test_problems_as_json_have_their_fields(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[planner]\ntick = "soon"\n')
    ran = run("config", "check", "--config", "bad.toml", "--json")
    assert (ran.code, [error["field"] for error in json.loads(ran.err)["errors"]]) == (78, ["planner.tick"])


def test_good_settings_are_good(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text('[planner]\ntick = "1s"\n')
    assert run("config", "check", "--config", "good.toml").out == "good.toml: good\n"
    assert run("--config", "good.toml", "config", "check").code == 0


def test_the_settings_in_effect_say_where_they_come_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text('[planner]\ntick = "1s"\n')
    out = run("config", "show", "--config", "good.toml").out
    assert any(line.startswith("planner.tick = ") and line.endswith("# file") for line in out.splitlines())
    shown = json.loads(run("config", "show", "--config", "good.toml", "--json").out)
    assert (shown["planner.tick"]["origin"], shown["planner.horizon"]["origin"]) == ("file", "default")


def test_the_places_follow_the_named_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[api]\nsocket = "/run/x.sock"\n[paths]\nstate = "/var/x"\n')
    places = json.loads(run("config", "path", "--config", "own.toml", "--json").out)
    assert places == {"config": "own.toml", "socket": "/run/x.sock", "state": "/var/x"}
    assert "config:  none found, so the defaults\n" in run("config", "path").out
