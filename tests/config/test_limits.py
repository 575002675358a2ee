"""[limits] is read in system mode, and refused where nothing would keep it."""

from pathlib import Path

import pytest

from greenrun.config import load_config
from greenrun.core.errors import ConfigError

SYSTEM = '[server]\nmode = "system"\n'


def test_limits_are_read_by_the_field_of_a_job(tmp_path: Path) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(f'{SYSTEM}[limits]\nmemory = "512MiB"\nmemory_max = "64GiB"\ncpus_max = 2.5\nio_weight = 50\n')
    limits = load_config(file, {}).limits
    assert (limits.usual, limits.most) == (
        {"memory_gib": 0.5, "io_weight": 50},
        {"memory_gib": 64.0, "cpus": 2.5},
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[limits]\nmemory = "8GiB"\n', "limits.memory: is kept in system mode alone"),
        ("[limits]\ntasks_max = 500\n", "limits.tasks_max: is kept in system mode alone"),
        (f"{SYSTEM}[limits]\ntasks_max = 5\n", "at least 10"),
        (f'{SYSTEM}[limits]\nmemory_max = "1MiB"\n', "at least 64 MiB"),
        (f"{SYSTEM}[limits]\ncpus = -1\n", "limits.cpus"),
        (f"{SYSTEM}[limits]\nio_weight = 20000\n", "limits.io_weight"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="greenrun cannot use") as refused:
        load_config(file, {})
    assert told in str(refused.value)
