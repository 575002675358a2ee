"""A callback for PyTorch Lightning: progress, a checkpoint when greenrun asks for one, and going on from it exactly.

Lightning itself is imported when a callback is made, and not before.
"""

import sys
from collections.abc import Mapping
from typing import Any

from greenrun.training.checkpoint_request import Checkpointing, checkpointing, is_run
from greenrun.training.numbered_checkpoints import NumberedCheckpoints
from greenrun.training.random_state import random_state, restore_random_state
from greenrun.training.work_reporter import report


def GreenrunCallback() -> Any:  # noqa: N802  # what it returns is an instance of a class of that name
    """Return a callback for `Trainer(callbacks=[...])`; pass its `ckpt_path` to `Trainer.fit`.

        greenrun = GreenrunCallback()
        trainer = Trainer(callbacks=[greenrun], max_epochs=90)
        trainer.fit(model, ckpt_path=greenrun.ckpt_path)

    Asked to checkpoint, it saves after the batch at hand and ends the program with the agreed exit code. Make it first
    of all, before slow imports: until then the request ends the program. Outside greenrun it does nothing.
    """
    context = checkpointing().__enter__()  # never left: greenrun may ask at any time until the program ends
    return type("GreenrunCallback", (LightningHooks, _callback_class()), {})(context)


def _callback_class() -> type:
    """Return Lightning's base of callbacks: of the package that the program uses, where both are installed."""
    if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
        from pytorch_lightning.callbacks import Callback as Former

        return Former  # type: ignore[no-any-return]
    from lightning.pytorch.callbacks import Callback

    return Callback  # type: ignore[no-any-return]


class LightningHooks:
    """What the callback does in each hook; the trainer is whatever has Lightning's attributes."""

    def __init__(self, context: Checkpointing) -> None:
        self._context = context
        self._checkpoints = NumberedCheckpoints("lightning", ".ckpt")
        self._work, self._unit = 0, ""
        self._at_epoch_start: dict[str, Any] | None = None
        self._to_restore: Mapping[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Let launchers that start processes make it anew there."""
        return GreenrunCallback, ()

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint to go on from, for `Trainer.fit`; None in a first run, and outside greenrun."""
        found = self._checkpoints.latest()
        return str(found) if found else None

    @property
    def state_key(self) -> str:
        """Where its state is in a checkpoint."""
        return "greenrun"

    def state_dict(self) -> dict[str, Any]:
        """Return what Lightning does not save and the next batch depends on: the state of random generators."""
        return {"now": random_state(), "epoch_start": self._at_epoch_start} if is_run() else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep it until training begins."""
        self._to_restore = state_dict or None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on with the data and the random generators where the checkpoint was saved."""
        state, self._to_restore = self._to_restore, None
        if state:
            self._at_epoch_start = state["epoch_start"]
            _go_on(trainer, state)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Note the random generators from which the order of this epoch's data follows."""
        self._at_epoch_start = random_state() if is_run() else None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report the samples (or batches) of all processes; checkpoint if asked to, unless something is half done.

        Gradients that are being accumulated are in no checkpoint, and after an epoch's last batch comes what belongs to
        its end first (validation, schedulers).
        """
        size = _size(batch)
        self._unit = self._unit or ("batches" if size is None else "samples")
        self._work += (1 if self._unit == "batches" else size or 0) * int(trainer.world_size)
        if trainer.is_global_zero:
            report(samples=self._work, unit=self._unit)
        is_between = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
        if is_between and self._is_asked(trainer) and not _is_done(trainer):
            self._save_and_exit(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Checkpoint if asked to, unless training is at its end."""
        if self._is_asked(trainer) and not _is_done(trainer):
            self._save_and_exit(trainer)

    def _is_asked(self, trainer: Any) -> bool:
        """Whether any process was asked; all get the same answer at the same batch, as they save together."""
        if trainer.world_size == 1:
            return self._context.requested
        return bool(trainer.strategy.reduce_boolean_decision(self._context.requested, all=False))

    def _save_and_exit(self, trainer: Any) -> None:
        """Save and end the program.

        Ending the fit instead (`should_stop`) would run a validation first, for which the grace period may be too
        short, and let the rest of the program believe that training is over.
        """
        part = self._checkpoints.begin()
        trainer.save_checkpoint(str(part))  # a file, or the folder of a sharded strategy; all processes take part
        if trainer.is_global_zero:
            self._checkpoints.keep(part)
        self._context.exit()


def _is_done(trainer: Any) -> bool:
    """Whether this was the last step, or the last batch of the last epoch: what is left is soon over."""
    fit = trainer.fit_loop
    has_epochs = trainer.max_epochs is not None and trainer.max_epochs != -1
    is_last_epoch = has_epochs and int(fit.epoch_progress.current.processed) >= trainer.max_epochs
    return bool(is_last_epoch or (trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps))


def _go_on(trainer: Any, state: Mapping[str, Any]) -> None:
    """Bring data and random generators to where the checkpoint was saved.

    A checkpoint within an epoch says how many of its batches were done. Unless the data loader saves its own state,
    Lightning would begin the epoch's data anew, in another order; here the same order is drawn and those are passed.
    """
    fetcher = getattr(trainer.fit_loop, "_data_fetcher", None)
    done = int(trainer.fit_loop.epoch_loop.batch_progress.current.processed)
    done = 0 if done >= trainer.num_training_batches else done
    epoch_start = state["epoch_start"]
    if fetcher is None or _keeps_its_place(fetcher):
        return restore_random_state(state["now"])
    if not done or epoch_start is None:
        restore_random_state(state["now"])
        iter(fetcher)  # an epoch draws its order when it begins, and this one began before the state was restored
        return None
    restore_random_state(epoch_start)
    if trainer.current_epoch > 0:
        iter(fetcher)
    for _ in range(done):
        next(fetcher)
    fetcher.fetched -= done  # the loop adds them itself
    return restore_random_state(state["now"])


def _keeps_its_place(fetcher: Any) -> bool:
    """Whether all data loaders save their own state, as `torchdata`'s StatefulDataLoader does."""
    loaders = fetcher.combined_loader.flattened
    return all(hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict") for loader in loaders)


def _size(batch: Any) -> int | None:
    """Return how many samples a batch holds: the first dimension of the first array in it; None where there is none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    return next((size for size in map(_size, parts) if size is not None), None)
