"""A callback for Hugging Face's Trainer: progress, a checkpoint when greenrun asks for one, and going on from it.

Transformers itself is imported when a callback is made, and not before.
"""

from pathlib import Path
from typing import Any

from greenrun.training.checkpoint_request import Checkpointing, checkpointing, is_run
from greenrun.training.work_reporter import report

_STATE = "trainer_state.json"  # what the Trainer writes last into a checkpoint


def GreenrunCallback() -> Any:  # noqa: N802  # what it returns is an instance of a class of that name
    """Return a callback for `Trainer(callbacks=[...])`; pass its `resume_from_checkpoint` to `Trainer.train`.

        greenrun = GreenrunCallback()
        args = TrainingArguments(output_dir=str(training.checkpoint_dir()))
        trainer = Trainer(model, args, train_dataset=data, callbacks=[greenrun])
        trainer.train(resume_from_checkpoint=greenrun.resume_from_checkpoint)

    Asked to checkpoint, it lets the Trainer save after the step at hand, and ends the program with the agreed exit
    code. Make it first of all, before slow imports: until then the request ends the program. Outside greenrun it does
    nothing.
    """
    context = checkpointing().__enter__()  # never left: greenrun may ask at any time until the program ends
    from transformers import TrainerCallback

    return type("GreenrunCallback", (TransformersHooks, TrainerCallback), {})(context)


class TransformersHooks:
    """What the callback does in each event of the Trainer."""

    def __init__(self, context: Checkpointing) -> None:
        self._context = context
        self._output_dir: str | None = None
        self._first_step = 0
        self._is_leaving = False

    @property
    def resume_from_checkpoint(self) -> str | None:
        """The latest whole checkpoint in `output_dir`; None in a first run, and outside greenrun.

        Raise RuntimeError before a Trainer was made with this callback.
        """
        if self._output_dir is None:
            raise RuntimeError(
                "greenrun does not know the Trainer's output_dir yet, so it names no checkpoint; make the Trainer with "
                "this callback first"
            )
        found = [path for path in Path(self._output_dir).glob("checkpoint-*") if _step(path)] if is_run() else []
        return str(max(found, key=_step)) if found else None

    def on_init_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Learn where the Trainer keeps its checkpoints."""
        self._output_dir = args.output_dir

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count from the step that this run begins with."""
        self._first_step = int(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Report the steps of this run; if asked to, let the Trainer save before it does anything else."""
        if state.is_world_process_zero:
            report(samples=int(state.global_step) - self._first_step, unit="steps")
        if self._is_asked(args) and state.global_step < state.max_steps:
            self._is_leaving = control.should_save = True
            control.should_evaluate = False  # the grace period may be too short for it
        return control

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """End the program if that was the checkpoint that greenrun asked for."""
        if self._is_leaving:
            self._context.exit()

    def _is_asked(self, args: Any) -> bool:
        """Whether any process was asked; all get the same answer at the same step, as they save together."""
        import torch

        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not spread or args.world_size == 1:
            return self._context.requested
        asked = torch.tensor(int(self._context.requested), device=args.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked.item())


def _step(path: Path) -> int:
    """Return the step of a whole checkpoint; 0 for what is none."""
    text = path.name.removeprefix("checkpoint-")
    return int(text) if text.isascii() and text.isdecimal() and (path / _STATE).is_file() else 0
