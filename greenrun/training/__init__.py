"""What a training program uses inside a run: progress, the request to checkpoint, the folder for checkpoints.

Standard library only. `report` and `checkpointing` are each in a file of their own that can be copied into any
environment; the callbacks in `lightning`, `transformers` and `keras` import their framework when they are made.
"""

from greenrun.training.checkpoint_request import Checkpointing, checkpoint_dir, checkpointing
from greenrun.training.work_reporter import report

__all__ = ["Checkpointing", "checkpoint_dir", "checkpointing", "report"]
