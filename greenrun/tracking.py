"""Tell MLflow or Weights & Biases what a run took, where its program uses them, and the job where that is noted.

Neither is imported here: what the program has not loaded, it does not use.
"""

import logging
import os
import sys
from typing import Any

from greenrun.client import ApiClient, ClientError
from greenrun.paths import find_socket

J_PER_KWH = 3_600_000
MOST_LABEL_CHARACTERS = 200

_log = logging.getLogger(__name__)


def note_run() -> dict[str, Any] | None:
    """Note energy, emissions and numbers of this run in the MLflow or W&B run that is active; return what was noted.

    Call it when training is over, while that run is still active. The figures are what is booked by then, which may
    lack the last seconds. The job gets the address of the tracked run as a label (`mlflow`, `wandb`). Outside
    greenrun, and where nothing is tracked, it does nothing and returns None. It never raises: what could not be noted
    is logged as a warning.
    """
    number, run = os.environ.get("GREENRUN_JOB_ID"), os.environ.get("GREENRUN_RUN")
    trackers = [tracker for tracker in (_mlflow(), _wandb()) if tracker is not None]
    if not number or not run or not trackers:
        return None
    try:
        client = ApiClient(find_socket())
        job = client.job(int(number))
        noted = _figures(job, run)
        urls = {tracker.name: url for tracker in trackers if (url := tracker.note(noted))}
        new = {name: url for name, url in urls.items() if (job["labels"] or {}).get(name) != url}
        if new:
            client.edit(int(number), {"labels": {**(job["labels"] or {}), **new}})
    except ClientError as exc:
        _log.warning(
            "what run %s took is not noted, and training is not affected: %s; is GREENRUN_SOCKET set?", run, exc
        )
        return None
    except Exception as exc:  # noqa: BLE001  # the tracker is not ours, and no trouble with it may end training
        _log.warning(
            "what run %s took is not noted, and training is not affected: %s: %s", run, type(exc).__name__, exc
        )
        return None
    return noted


def _figures(job: dict[str, Any], run: str) -> dict[str, Any]:
    """Return what is noted of a run (`12.1`); what is unknown is left out, never 0."""
    number = int(run.rpartition(".")[2])
    row: dict[str, Any] = next((row for row in job["runs"] if row["number"] == number), {})
    energy_j, emissions_g = row.get("energy_j"), row.get("emissions_g")
    figures = {
        "greenrun.energy_kwh": None if energy_j is None else energy_j / J_PER_KWH,
        "greenrun.energy_quality": row.get("energy_quality"),
        "greenrun.emissions_g": emissions_g,
        "greenrun.job_id": job["id"],
        "greenrun.run": run,
    }
    return {name: value for name, value in figures.items() if value is not None}


class _Mlflow:
    name = "mlflow"

    def __init__(self, mlflow: Any, run: Any) -> None:
        self._mlflow, self._run = mlflow, run

    def note(self, noted: dict[str, Any]) -> str | None:
        """Log numbers as metrics and the rest as tags; return the run's address, if it is on a server."""
        metrics = {name: value for name, value in noted.items() if isinstance(value, float)}
        self._mlflow.log_metrics(metrics)
        self._mlflow.set_tags({name: str(value) for name, value in noted.items() if name not in metrics})
        server, info = str(self._mlflow.get_tracking_uri()), self._run.info
        return _label(f"{server.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}")


class _Wandb:
    name = "wandb"

    def __init__(self, run: Any) -> None:
        self._run = run

    def note(self, noted: dict[str, Any]) -> str | None:
        """Add it to the run's summary; return the run's address, None where it is offline."""
        self._run.summary.update(noted)
        return _label(str(self._run.url or ""))


def _mlflow() -> _Mlflow | None:
    mlflow = sys.modules.get("mlflow")
    run = None if mlflow is None else mlflow.active_run()
    return None if run is None else _Mlflow(mlflow, run)


def _wandb() -> _Wandb | None:
    wandb = sys.modules.get("wandb")
    run = None if wandb is None else getattr(wandb, "run", None)
    return None if run is None else _Wandb(run)


def _label(url: str) -> str | None:
    """Return an address that a label can hold and a browser can open; None for any other."""
    is_web = (
        url.startswith(("http://", "https://")) and "@" not in url
    )  # a password in it is none of greenrun's business
    return url if is_web and len(url) <= MOST_LABEL_CHARACTERS and url.isprintable() else None
