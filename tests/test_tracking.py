"""What a run took is noted where its program tracks it, and the job says where that is; training is never disturbed."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from greenrun.tracking import note_run
from tests.fake_api import FakeApi, serving
from tests.patience import HANGS_S
from tests.system.harness import short_folder

RUNS = [
    {"number": 1, "energy_j": 7.2e6, "energy_quality": "measured", "emissions_g": 500.0},
    {"number": 2, "energy_j": 3.6e6, "energy_quality": "measured", "emissions_g": 120.5},
]
NOTED = {
    "greenrun.energy_kwh": 1.0, "greenrun.energy_quality": "measured", "greenrun.emissions_g": 120.5,
    "greenrun.job_id": 12, "greenrun.run": "12.2",
}  # fmt: skip
URL = "https://wandb.example/ada/vision/runs/x1"


class Mlflow:
    """What of MLflow is used."""

    def __init__(self, *, active: bool = True, server: str = "http://mlflow.example:5000/") -> None:
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.active_run = lambda: (
            SimpleNamespace(info=SimpleNamespace(run_id="r", experiment_id="7")) if active else None
        )
        self.get_tracking_uri = lambda: server
        self.log_metrics, self.set_tags = self.metrics.update, self.tags.update


def wandb(url: str | None = URL) -> Any:
    """What of W&B is used."""
    return SimpleNamespace(run=SimpleNamespace(url=url, summary={}))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The daemon of the run 12.2, in which this process is; nothing is tracked yet."""
    for name in ("mlflow", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with short_folder() as folder, serving(folder / "s") as made:
        monkeypatch.setenv("GREENRUN_SOCKET", str(made.socket))
        monkeypatch.setenv("GREENRUN_JOB_ID", "12")
        monkeypatch.setenv("GREENRUN_RUN", "12.2")
        made.get("/v1/jobs/12", {"id": 12, "runs": RUNS, "labels": {"team": "vision"}})
        made.post("/v1/jobs/12/edit", {"id": 12})
        yield made


def test_mlflow_gets_numbers_as_metrics_and_the_rest_as_tags_and_the_job_its_address(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert note_run() == NOTED
    assert mlflow.metrics == {"greenrun.energy_kwh": 1.0, "greenrun.emissions_g": 120.5}
    assert mlflow.tags == {"greenrun.energy_quality": "measured", "greenrun.job_id": "12", "greenrun.run": "12.2"}
    labels = {"team": "vision", "mlflow": "http://mlflow.example:5000/#/experiments/7/runs/r"}
    assert [asked.body for asked in api.changes] == [{"labels": labels}]


def test_wandb_gets_a_summary_and_the_job_its_address_once(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    tracked = wandb()
    monkeypatch.setitem(sys.modules, "wandb", tracked)
    note_run()
    assert tracked.run.summary == NOTED
    api.get("/v1/jobs/12", {"id": 12, "runs": RUNS, "labels": {"wandb": URL}})
    note_run()
    assert [asked.body for asked in api.changes] == [{"labels": {"team": "vision", "wandb": URL}}]


@pytest.mark.parametrize(
    "url", [None, "", "file:///home/ada/mlruns", "https://ada:secret@x.example/1", "https://x.example/" + "a" * 200]
)
def test_what_is_no_address_that_a_label_can_hold_is_no_label(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", wandb(url))
    assert note_run() == NOTED
    assert api.changes == []


def test_what_is_unknown_is_left_out_and_never_0(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    unknown = {"number": 2, "energy_j": None, "energy_quality": None, "emissions_g": None}
    api.get("/v1/jobs/12", {"id": 12, "runs": [unknown], "labels": None})
    assert note_run() == {"greenrun.job_id": 12, "greenrun.run": "12.2"}
    assert mlflow.metrics == {}


def test_where_nothing_is_tracked_or_outside_greenrun_nobody_is_asked(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert note_run() is None
    monkeypatch.setitem(sys.modules, "mlflow", Mlflow(active=False))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    assert note_run() is None
    monkeypatch.setitem(sys.modules, "wandb", wandb())
    monkeypatch.delenv("GREENRUN_JOB_ID")
    assert note_run() is None
    assert api.asked == []


def test_no_trouble_with_the_daemon_or_a_tracker_disturbs_training(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=SimpleNamespace(summary=None)))
    assert note_run() is None
    monkeypatch.setitem(sys.modules, "wandb", wandb())
    monkeypatch.setenv("GREENRUN_SOCKET", "/nowhere/s")
    assert note_run() is None
    assert ["training is not affected" in record.message for record in caplog.records] == [True, True]


def test_no_tracker_is_imported() -> None:
    probe = "import sys, greenrun.tracking as t; t.note_run(); print(sorted({'mlflow', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"
