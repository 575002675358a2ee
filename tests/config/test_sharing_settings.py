"""[sharing], [project.NAME] and the variables of jobs: what they read, and what is told of a mistake."""

from pathlib import Path

import pytest

from greenrun.config import load_config
from greenrun.core.errors import ConfigError
from greenrun.core.jobs.access import Sharing
from greenrun.daemon.wiring import access_rules


def test_who_may_see_and_touch_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(
        '[sharing]\nothers = "private"\nadmin_groups = ["@wheel", "lab"]\n[project.vision]\nmembers = ["ada", "@lab"]\n'
        "[project.closed]\nmembers = []\n",
        encoding="utf-8",
    )
    rules = access_rules(load_config(file, {}))
    assert (rules.others, rules.admin_groups) == (Sharing.PRIVATE, ("wheel", "lab"))
    assert rules.members == {"vision": ("ada", "@lab"), "closed": ()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[sharing]\nothers = "public"\n', "sharing.others"),
        ('[project.vision]\nmembers = ["a b"]\n', "'a b' names nobody"),
        ('[sharing]\nadmin_groups = ["@"]\n', "'@' names nobody"),
        ('[jobs]\nenv_refused = ["LD_*"]\n', "env takes over what jobs may not be given: LD_LIBRARY_PATH"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="greenrun cannot use") as refused:
        load_config(file, {})
    assert told in str(refused.value)


def test_a_key_may_be_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose folder is named by a variable of the unit."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "maps").write_text("SECRET-key-of-maps\n", encoding="utf-8")
    file = tmp_path / "greenrun.toml"
    file.write_text(
        '[grid]\nzone = "DE"\nprovider = "maps"\n[provider.maps]\nkind = "electricity_maps"\n'
        'key_file = "$CREDENTIALS_DIRECTORY/maps"\n',
        encoding="utf-8",
    )
    config = load_config(file, {})
    assert config.effective()["provider.maps.key_file"].value == str(tmp_path / "maps")
    assert "SECRET" not in str(config.effective())
