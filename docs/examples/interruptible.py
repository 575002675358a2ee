"""A training loop that greenrun may suspend: asked to, it saves and ends with 85; started again, it goes on from there.

greenrun submit --interruptible --duration 6h --max-delay 24h -- python3 interruptible.py 2000
"""

import json
import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType

CHECKPOINTED = 85  # "I have saved; continue me later"
SAVE_EVERY = 100  # epochs: what a crash costs at most

asked_to_stop = False


def on_signal(number: int, frame: FrameType | None) -> None:
    """Note the request only; the loop saves where its state is whole."""
    global asked_to_stop
    asked_to_stop = True


def train(state: dict[str, float]) -> None:
    """One epoch of fitting y = 3x by gradient descent, on data that depend on the epoch alone."""
    data = random.Random(state["epoch"])
    for _ in range(2000):
        x = data.random()
        state["weight"] -= 0.001 * 2 * x * (state["weight"] * x - 3 * x)
    state["epoch"] += 1


def save(path: Path, state: dict[str, float]) -> None:
    """Write the state beside the old one, then rename: a checkpoint is whole or not there."""
    with path.with_suffix(".part").open("w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".part").replace(path)


def main(epochs: int) -> int:
    """Train from the last checkpoint on; return the exit code."""
    signal.signal(signal.SIGUSR1, on_signal)  # before anything slow: without it the signal ends the program
    path = Path(os.environ.get("GREENRUN_CHECKPOINT_DIR", ".")) / "state.json"
    state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"epoch": 0, "weight": 0.0}
    print(f"begins with epoch {state['epoch']}", flush=True)
    while state["epoch"] < epochs:
        train(state)
        if asked_to_stop or state["epoch"] % SAVE_EVERY == 0:
            save(path, state)
        if asked_to_stop:
            print(f"saved after epoch {state['epoch']}", flush=True)
            return CHECKPOINTED
    print(f"weight {state['weight']!r}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
