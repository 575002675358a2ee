"""Hydra's launcher that makes greenrun jobs of a multirun: `python train.py -m hydra/launcher=greenrun lr=1,2`.

Hydra finds launchers in packages below `hydra_plugins`, and imports them all whenever a program of its starts: so
nothing of greenrun is imported here before something is launched.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

log = logging.getLogger(__name__)


@dataclass
class GreenrunLauncherConf:
    """The options of `greenrun submit` that make sense for all jobs of a multirun; null is greenrun's default."""

    _target_: str = "hydra_plugins.hydra_greenrun_launcher.greenrun_launcher.GreenrunLauncher"
    folder: str = "${hydra.sweep.dir}/.greenrun"  # what is passed to the jobs and back
    array_parallelism: int | None = None  # how many run at once
    name: str | None = "${hydra.job.name}"
    project: str | None = None
    label: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    env_file: str | None = None
    gpus: int = 1
    gpu_model: str | None = None
    gpu_memory: str | None = None
    shared: bool = False
    cpus: float | None = None
    mem: str | None = None
    duration: str | None = None
    time_limit: str | None = None
    finish_by: str | None = None
    max_delay: str | None = None
    start_after: str | None = None
    now: bool = False
    expire: bool = False
    priority: int | None = None
    power: str | None = None
    power_cap: str | None = None
    min_saving: str | None = None
    run_below: str | None = None
    retries: int | None = None
    grace: str | None = None
    interruptible: bool = False
    min_run: str | None = None
    restart_cost: str | None = None


ConfigStore.instance().store(group="hydra/launcher", name="greenrun", node=GreenrunLauncherConf, provider="greenrun")


class GreenrunLauncher(Launcher):
    """Submits the jobs of a multirun as one array, waits until they have ended, and returns their results."""

    def __init__(self, folder: str, **parameters: Any) -> None:
        self.folder = folder
        self.parameters = {name: _plain(value) for name, value in parameters.items()}
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the jobs need."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a job for each list of overrides, and return in their order what they returned.

        What a job's function raised is in its JobReturn, as Hydra wants it. Raise RuntimeError, once all have ended,
        where jobs ended without a result: cancelled, killed, or never started.
        """
        from greenrun.submitit import Executor

        assert self.config is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        executor = Executor(self.folder)
        executor.update_parameters(**self.parameters)
        state = Singleton.get_state()
        numbered = list(enumerate(job_overrides, start=initial_job_idx))
        jobs = executor.submit_array([(self.run, (list(words), number, state), {}) for number, words in numbered])
        for job, (number, words) in zip(jobs, numbered, strict=True):
            log.info("\t#%s, greenrun job %s: %s", number, job.job_id, " ".join(filter_overrides(words)))
        errors = [error for job in jobs if (error := job.exception()) is not None]
        if errors:
            raise RuntimeError("\n".join(map(str, errors)))
        return [job.result() for job in jobs]

    def run(self, overrides: list[str], number: int, state: dict[Any, Any]) -> JobReturn:
        """Run one of them; this is called in its own job."""
        import os

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        Singleton.set_state(state)
        setup_globals()
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = os.environ.get("GREENRUN_JOB_ID", number)
            config.hydra.job.num = number
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
