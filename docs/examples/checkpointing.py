"""Gradient descent in numpy that greenrun may suspend at any step, and that ends with the same weights all the same.

greenrun submit --gpus 0 --interruptible --duration 6h --max-delay 24h -- python3 checkpointing.py 2000
"""

import json
import sys
from pathlib import Path

import numpy as np

from greenrun import training

FEATURES, BATCH = 64, 256


def load(path: Path) -> tuple[int, np.ndarray, np.random.Generator]:
    """Return step, weights and random generator: of the checkpoint, or to begin with."""
    random = np.random.default_rng(1)
    if not path.exists():
        return 0, np.zeros(FEATURES), random
    with np.load(path) as saved:
        random.bit_generator.state = json.loads(str(saved["random"]))
        return int(saved["step"]), saved["weights"], random


def save(path: Path, step: int, weights: np.ndarray, random: np.random.Generator) -> None:
    """Write all that the next step depends on beside the old checkpoint, then rename."""
    new = path.with_name("new.npz")
    np.savez(new, step=step, weights=weights, random=json.dumps(random.bit_generator.state))
    new.replace(path)


def main(steps: int) -> None:
    """Train to the end, from the last checkpoint on."""
    with training.checkpointing() as ck:
        path = training.checkpoint_dir() / "state.npz"
        first, weights, random = load(path)
        print(f"begins with step {first}", flush=True)
        for step in range(first, steps):
            x = random.standard_normal((BATCH, FEATURES))
            error = x @ weights - x.sum(axis=1) - random.standard_normal(BATCH)
            weights -= 0.01 / (1 + step / 100) * (x.T @ error) / BATCH
            training.report(samples=(step + 1 - first) * BATCH)
            if ck.requested and step + 1 < steps:
                save(path, step + 1, weights, random)
                print(f"saved after step {step + 1}", flush=True)
                ck.exit()
    print(f"weights {weights.tobytes().hex()}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
