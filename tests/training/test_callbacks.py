"""What the callbacks for frameworks do in their hooks, with scripted trainers; tests/system runs the frameworks."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from greenrun import training
from greenrun.training import checkpoint_request, work_reporter
from greenrun.training.keras import GreenrunCallback, KerasHooks
from greenrun.training.lightning import LightningHooks, _size
from greenrun.training.numbered_checkpoints import NumberedCheckpoints
from greenrun.training.random_state import random_state, restore_random_state
from greenrun.training.transformers import TransformersHooks
from tests.patience import HANGS_S


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the run that this process is, for checkpoints and its progress."""
    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setenv("GREENRUN_CHECKPOINT_DIR", str(tmp_path))
    monkeypatch.setenv("GREENRUN_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setattr(checkpoint_request, "_catcher", checkpoint_request._Catcher())
    monkeypatch.setattr(work_reporter, "EVERY_S", 0.0)
    work_reporter._reset_in_child()
    yield tmp_path
    work_reporter._reset_in_child()
    signal.signal(signal.SIGUSR1, before)


def context() -> training.Checkpointing:
    """A context that is entered."""
    return training.checkpointing().__enter__()


def ask() -> None:
    """Ask this process to checkpoint, as greenrun does."""
    signal.raise_signal(signal.SIGUSR1)


def told(run: Path) -> Any:
    """What was reported last."""
    return json.loads((run / "progress").read_text())


def checkpoints(run: Path) -> list[str]:
    """What is in the folder besides the progress."""
    return sorted(path.name for path in run.iterdir() if path.name != "progress")


@pytest.mark.parametrize("name", ["lightning", "transformers", "keras"])
def test_a_callbacks_module_loads_no_framework(name: str) -> None:
    heavy = ("lightning", "pytorch_lightning", "torch", "transformers", "keras", "numpy")
    probe = f"import sys, greenrun.training.{name}; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"


# numbered checkpoints, random generators


def test_a_checkpoint_counts_once_it_is_whole_and_replaces_those_before(run: Path) -> None:
    kept = NumberedCheckpoints("x", ".ckpt")
    assert kept.latest() is None
    for number in range(1, 12):
        part = kept.begin()
        part.write_text(str(number))
        assert kept.latest() == (run / f"greenrun-x-{number - 1}.ckpt" if number > 1 else None)
        kept.keep(part)
    assert checkpoints(run) == ["greenrun-x-11.ckpt"]


def test_what_a_killed_run_left_half_written_is_no_checkpoint(run: Path) -> None:
    kept = NumberedCheckpoints("x")
    kept.begin().mkdir()
    assert kept.latest() is None
    kept.keep(kept.begin())
    assert (kept.latest(), checkpoints(run)) == (run / "greenrun-x-1", ["greenrun-x-1"])


def test_outside_greenrun_there_is_nothing_to_go_on_from(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = NumberedCheckpoints("x")
    kept.begin().mkdir()
    kept.keep(kept.begin())
    monkeypatch.delenv("GREENRUN_CHECKPOINT_DIR")
    monkeypatch.chdir(run)
    assert kept.latest() is None


def test_random_generators_go_on_where_they_were_by_way_of_json() -> None:
    drawn = lambda: (random.random(), random.gauss(0, 1), np.random.standard_normal(3).tolist())  # noqa: E731
    drawn()
    state = json.loads(json.dumps(random_state()))
    expected = [drawn() for _ in range(3)]
    restore_random_state(state)
    assert [drawn() for _ in range(3)] == expected


# Lightning


class LightningTrainer:
    """A trainer of `epochs` of `batches` batches, as far as the callback looks at it."""

    def __init__(self, epochs: int = 2, batches: int = 3, accumulate: int = 1, world_size: int = 1) -> None:
        self.world_size, self.is_global_zero, self.accumulate_grad_batches = world_size, True, accumulate
        self.max_epochs, self.max_steps, self.global_step, self.is_last_batch = epochs, -1, 0, False
        self.batches = batches
        self.fit_loop = SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=0)))
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda mine, all: self.others_asked or mine)
        self.others_asked = False
        self.trained: list[tuple[int, int]] = []

    def save_checkpoint(self, path: str) -> None:
        Path(path).write_text(str(self.trained[-1]))

    def fit(self, callback: LightningHooks, ask_at: tuple[int, int] | None = None) -> int:
        """Run the hooks in Lightning's order, asking at an epoch and batch; return the exit code."""
        try:
            for epoch in range(self.max_epochs):
                callback.on_train_epoch_start(self, None)
                for batch in range(self.batches):
                    self.trained.append((epoch, batch))
                    self.global_step += 1
                    self.is_last_batch = batch == self.batches - 1
                    if (epoch, batch) == ask_at:
                        ask()
                    callback.on_train_batch_end(self, None, None, [np.zeros((4, 2)), np.zeros(4)], batch)
                self.fit_loop.epoch_progress.current.processed += 1
                callback.on_train_epoch_end(self, None)
        except SystemExit as ended:
            return int(str(ended.code))
        return 0


@pytest.mark.parametrize(
    ("ask_at", "accumulate", "saved_after"),
    [
        ((0, 0), 1, (0, 0)),
        ((0, 0), 2, (0, 1)),  # gradients that are being accumulated are in no checkpoint
        ((0, 2), 1, (0, 2)),  # at the end of its epoch
        ((1, 1), 1, (1, 1)),
        ((1, 2), 1, None),  # it was at its end anyway
        (None, 1, None),
    ],
)
def test_lightning_is_suspended_where_its_state_is_whole(
    run: Path, ask_at: tuple[int, int] | None, accumulate: int, saved_after: tuple[int, int] | None
) -> None:
    callback, trainer = LightningHooks(context()), LightningTrainer(accumulate=accumulate)
    code = trainer.fit(callback, ask_at)
    assert (code, checkpoints(run)) == ((85, ["greenrun-lightning-1.ckpt"]) if saved_after else (0, []))
    assert trainer.trained[-1] == (saved_after or (1, 2))
    assert callback.ckpt_path == (str(run / "greenrun-lightning-1.ckpt") if saved_after else None)
    assert told(run) == {"work": 4.0 * len(trainer.trained), "unit": "samples"}


def test_all_processes_of_lightning_stop_together_also_if_another_one_was_asked(run: Path) -> None:
    trainer = LightningTrainer(world_size=2)
    trainer.others_asked = True
    assert trainer.fit(LightningHooks(context())) == 85
    assert told(run)["work"] == 8  # of both


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (np.zeros((5, 2)), 5),
        ([np.zeros((5, 2)), np.zeros(3)], 5),
        ({"text": ["a"], "x": np.zeros(6)}, 6),
        ({"x": {"y": (np.zeros(7),)}}, 7),
        (["a", "b"], None),
        (np.float64(1), None),
        (None, None),
    ],
)
def test_the_size_of_a_batch_is_that_of_its_first_array(batch: object, size: int | None) -> None:
    assert _size(batch) == size


# Hugging Face


def test_transformers_saves_first_and_ends_when_that_is_done(run: Path) -> None:
    callback = TransformersHooks(context())
    with pytest.raises(RuntimeError, match="make the Trainer with this callback first"):
        _ = callback.resume_from_checkpoint
    arguments = SimpleNamespace(output_dir=str(run), world_size=1)
    state = SimpleNamespace(global_step=5, max_steps=9, is_world_process_zero=True)
    control = SimpleNamespace(should_save=False, should_evaluate=True)
    callback._is_asked = lambda args: callback._context.requested  # type: ignore[method-assign]  # without PyTorch
    callback.on_init_end(arguments, state, control)
    callback.on_train_begin(arguments, state, control)
    state.global_step = 7
    callback.on_step_end(arguments, state, control)
    callback.on_save(arguments, state, control)  # one of its own
    assert (control.should_save, control.should_evaluate) == (False, True)
    ask()
    callback.on_step_end(arguments, state, control)
    assert (control.should_save, control.should_evaluate, told(run)) == (True, False, {"work": 2.0, "unit": "steps"})
    with pytest.raises(SystemExit) as ended:
        callback.on_save(arguments, state, control)
    assert ended.value.code == 85


def test_transformers_is_not_suspended_after_its_last_step(run: Path) -> None:
    callback = TransformersHooks(context())
    callback._is_asked = lambda args: True  # type: ignore[method-assign]
    control = SimpleNamespace(should_save=False)
    callback.on_step_end(None, SimpleNamespace(global_step=9, max_steps=9, is_world_process_zero=True), control)
    callback.on_save(None, None, control)
    assert not control.should_save


def test_transformers_goes_on_from_the_latest_checkpoint_that_is_whole(run: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-100", "checkpoint-x"):
        (run / name).mkdir()
        (run / name / "trainer_state.json").touch()
    (run / "checkpoint-200").mkdir()  # a kill came while it was written
    callback = TransformersHooks(context())
    callback.on_init_end(SimpleNamespace(output_dir=str(run)), None, None)
    assert callback.resume_from_checkpoint == str(run / "checkpoint-100")


# Keras


class KerasModel:
    """A model whose weights are a list of what it was trained on."""

    def __init__(self) -> None:
        self.built, self.optimizer, self.stop_training, self._initial_epoch = True, None, False, 0
        self.weights: list[list[int]] = []

    def save_weights(self, path: str, overwrite: bool) -> None:
        Path(path).write_text(json.dumps(self.weights))

    def load_weights(self, path: str) -> None:
        self.weights = json.loads(Path(path).read_text())

    def fit(
        self, callback: KerasHooks, ask_at: tuple[int, int] | None = None, epochs: int = 3, batches: int = 2
    ) -> int:
        """Run the hooks in Keras's order, asking at an epoch and batch; return the exit code."""
        callback.model, callback.params = self, {"epochs": epochs, "steps": batches}
        try:
            callback.on_train_begin()
            for epoch in range(self._initial_epoch, epochs):
                callback.on_epoch_begin(epoch)
                for batch in range(batches):
                    self.weights.append([epoch, batch])
                    if (epoch, batch) == ask_at:
                        ask()
                    callback.on_train_batch_end(batch)
                callback.on_epoch_end(epoch)
        except SystemExit as ended:
            return int(str(ended.code))
        return 0


WHOLE = [[epoch, batch] for epoch in range(3) for batch in range(2)]


@pytest.mark.parametrize(
    ("save_at", "ask_at", "weights"),
    [
        ("epoch", (1, 0), WHOLE),
        ("batch", (1, 1), WHOLE),  # the last one of an epoch
        ("batch", (1, 0), [[0, 0], [0, 1], [1, 0], [1, 0], [1, 1], [2, 0], [2, 1]]),  # Keras begins with whole epochs
    ],
)
def test_keras_is_suspended_and_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, save_at: str, ask_at: tuple[int, int], weights: list[list[int]]
) -> None:
    assert KerasModel().fit(KerasHooks(context(), save_at), ask_at) == 85
    assert checkpoints(run) == ["greenrun-keras-1"]
    monkeypatch.setattr(checkpoint_request, "_catcher", checkpoint_request._Catcher())
    resumed = KerasModel()
    assert resumed.fit(KerasHooks(context(), save_at)) == 0
    assert resumed.weights == weights
    assert told(run)["unit"] == "batches"


def test_keras_is_not_suspended_at_its_end_and_says_what_an_unbuilt_model_needs(run: Path) -> None:
    assert KerasModel().fit(KerasHooks(context(), "epoch"), (2, 0)) == 0
    assert checkpoints(run) == []
    assert KerasModel().fit(KerasHooks(context(), "epoch"), (0, 0)) == 85
    unbuilt = KerasModel()
    unbuilt.built = False
    with pytest.raises(ValueError, match=r"build it before fit\(\)"):
        unbuilt.fit(KerasHooks(context(), "epoch"))


def test_a_save_point_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of batch, epoch"):
        GreenrunCallback(save_at="step")
