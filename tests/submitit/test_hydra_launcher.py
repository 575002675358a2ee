"""What the launcher makes of the jobs of a multirun; tests/system/test_hydra.py runs one through a real daemon."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

import greenrun.submitit
from greenrun.core.errors import InvalidJob
from greenrun.submission.job_options import OPTIONS
from greenrun.submitit import Executor, UncompletedJobError
from hydra_plugins.hydra_greenrun_launcher import greenrun_launcher
from hydra_plugins.hydra_greenrun_launcher.greenrun_launcher import GreenrunLauncher, GreenrunLauncherConf

FOR_ALL = {"folder", "array_parallelism"}  # of the executor, and not of each job
LEFT_OUT = {  # what the executor decides or cannot do, and options that the launcher does without
    "after", "array", "checkpoint-exit-code", "checkpoint-signal", "container", "gpu-ids", "grid", "io-weight", "log",
    "notify", "retry-on", "stop-on", "unique", "workdir",
}  # fmt: skip


class EndedJob:
    """A job that has ended: with a result, or without one."""

    def __init__(self, number: int, has_result: bool) -> None:
        self.job_id, self._has_result = str(number), has_result

    def exception(self) -> UncompletedJobError | None:
        return None if self._has_result else UncompletedJobError(f"job {self.job_id} was cancelled")

    def result(self) -> JobReturn:
        return JobReturn(overrides=[self.job_id])


class FakeExecutor:
    """Notes what it is given; its jobs have ended, those in `lost` without a result."""

    lost: frozenset[int] = frozenset()
    made: "list[FakeExecutor]" = []  # noqa: RUF012  # emptied for each test

    def __init__(self, folder: str) -> None:
        self.folder, self.parameters = folder, {}  # type: ignore[var-annotated]
        self.calls: Sequence[Any] = ()
        self.made.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters.update(parameters)

    def submit_array(self, calls: Sequence[Any]) -> list[EndedJob]:
        self.calls = calls
        return [EndedJob(number, number not in self.lost) for number in range(1, len(calls) + 1)]


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GreenrunLauncher:
    """A launcher that is set up for a sweep into a folder that there is not yet."""
    monkeypatch.setattr(FakeExecutor, "made", [])
    monkeypatch.setattr(greenrun.submitit, "Executor", FakeExecutor)
    monkeypatch.setattr(greenrun_launcher, "setup_globals", lambda: None)
    monkeypatch.setattr(greenrun_launcher, "configure_log", lambda *_: None)
    made = GreenrunLauncher(str(tmp_path / "passed"), gpus=2, label=OmegaConf.create({"a": "b"}), finish_by=None)
    config = OmegaConf.create(
        {"hydra": {"hydra_logging": {}, "verbose": False, "sweep": {"dir": str(tmp_path / "sweep")}}}
    )
    made.setup(hydra_context=None, task_function=None, config=config)  # type: ignore[arg-type]
    return made


def test_a_batch_of_a_sweep_is_one_array_numbered_on_from_earlier_batches(
    launcher: GreenrunLauncher, tmp_path: Path
) -> None:
    returned = launcher.launch([["lr=1"], ["lr=2", "seed=3"]], initial_job_idx=5)
    (executor,) = FakeExecutor.made
    assert [result.overrides for result in returned] == [["1"], ["2"]]
    assert [args[:2] for _, args, _ in executor.calls] == [(["lr=1"], 5), (["lr=2", "seed=3"], 6)]
    assert executor.parameters == {"gpus": 2, "label": {"a": "b"}, "finish_by": None}
    assert executor.folder == str(tmp_path / "passed")
    assert (tmp_path / "sweep").is_dir()


def test_jobs_without_a_result_are_all_named(launcher: GreenrunLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeExecutor, "lost", frozenset({1, 3}))
    with pytest.raises(RuntimeError) as raised:
        launcher.launch([["lr=1"], ["lr=2"], ["lr=3"]], initial_job_idx=0)
    assert str(raised.value).splitlines() == ["job 1 was cancelled", "job 3 was cancelled"]


def test_every_option_of_a_job_is_a_setting_of_the_launcher_or_left_out_on_purpose() -> None:
    names = {name.replace("_", "-") for name in GreenrunLauncherConf.__dataclass_fields__}
    assert set(OPTIONS) - names == LEFT_OUT


def test_every_setting_of_the_launcher_is_a_parameter_of_the_executor(folder: Path) -> None:
    names = set(GreenrunLauncherConf.__dataclass_fields__) - FOR_ALL - {"_target_"}
    executor = Executor(folder, socket=str(folder / "s"))
    executor.update_parameters(array_parallelism=2, **dict.fromkeys(names))
    with pytest.raises(InvalidJob):
        executor.update_parameters(no_option=None)
