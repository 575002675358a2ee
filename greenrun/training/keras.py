"""A callback for Keras: progress, a checkpoint when greenrun asks for one, and going on from it.

Keras itself is imported when a callback is made, and not before.
"""

import json
from pathlib import Path
from typing import Any

from greenrun.training.checkpoint_request import Checkpointing, checkpointing
from greenrun.training.numbered_checkpoints import NumberedCheckpoints
from greenrun.training.random_state import random_state, restore_random_state
from greenrun.training.work_reporter import report

SAVE_AT = ("batch", "epoch")
_WEIGHTS, _STATE = "model.weights.h5", "state.json"


def GreenrunCallback(save_at: str = "batch") -> Any:  # noqa: N802  # it returns an instance of a class of that name
    """Return a callback for `model.fit(callbacks=[...])`, which goes on from the job's checkpoint by itself.

    Asked to checkpoint, it saves and ends the program with the agreed exit code: after the "batch" at hand, or after
    the "epoch", if one fits into the job's grace period. Keras begins with whole epochs only: what was saved after a
    batch goes on with that epoch from its start, and so sees some of its batches again; what was saved after an epoch
    goes on exactly. Make it first of all, before slow imports: until then the request ends the program. Outside
    greenrun it does nothing. Raise ValueError for another `save_at`.
    """
    if save_at not in SAVE_AT:
        raise ValueError(f"save_at is {save_at!r}, and must be one of {', '.join(SAVE_AT)}")
    context = checkpointing().__enter__()  # never left: greenrun may ask at any time until the program ends
    from keras.callbacks import Callback

    return type("GreenrunCallback", (KerasHooks, Callback), {})(context, save_at)


class KerasHooks:
    """What the callback does in each hook; Keras sets `model` and `params`."""

    model: Any
    params: Any

    def __init__(self, context: Checkpointing, save_at: str) -> None:
        super().__init__()
        self._context = context
        self._checkpoints = NumberedCheckpoints("keras")
        self._save_at = save_at
        self._epoch = 0
        self._last_batch = -1
        self._batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the job's checkpoint, if there is one."""
        folder = self._checkpoints.latest()
        if folder is None:
            return
        if not self.model.built:
            raise ValueError(
                f"the model is not built, so the checkpoint in {folder} cannot be loaded, and nothing was trained; "
                "build it before fit(), for example by keras.Input as its first layer"
            )
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        self.model.load_weights(str(folder / _WEIGHTS))
        self.model._initial_epoch = state["epoch"]  # as keras.callbacks.BackupAndRestore does
        restore_random_state(state["random"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note which epoch this is, and count its batches from the first."""
        self._epoch, self._last_batch = epoch, -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report the batches of this run; save if asked to. Several may be executed at once."""
        self._batches += batch - self._last_batch
        self._last_batch = batch
        report(samples=self._batches, unit="batches")
        is_last = self.params.get("steps") is not None and batch + 1 >= self.params["steps"]
        if self._context.requested and self._save_at == "batch" and not is_last:
            self._save_and_exit(self._epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save if asked to, unless training is at its end."""
        if self._context.requested and epoch + 1 < self.params["epochs"] and not self.model.stop_training:
            self._save_and_exit(epoch + 1)

    def _save_and_exit(self, epoch: int) -> None:
        """Save what goes on with this epoch, and end the program."""
        folder = self._checkpoints.begin()
        folder.mkdir(exist_ok=True)
        self.model.save_weights(str(folder / _WEIGHTS), overwrite=True)
        state = {"epoch": epoch, "random": random_state()}
        Path(folder, _STATE).write_text(json.dumps(state), encoding="utf-8")
        self._checkpoints.keep(folder)
        self._context.exit()
