"""The state of the random generators of this process, in plain values that any checkpoint can hold, JSON too."""

import random
import sys
from collections.abc import Mapping
from typing import Any


def random_state() -> dict[str, Any]:
    """Return the state of Python's generator, and of numpy's and PyTorch's where they are loaded."""
    version, numbers, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(numbers), gauss]}
    if "numpy" in sys.modules:
        import numpy as np

        name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
        state["numpy"] = [str(name), [int(key) for key in keys], int(place), int(has_gauss), float(cached)]
    if "torch" in sys.modules:
        import torch

        state["torch"] = torch.get_rng_state().tolist()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = [each.tolist() for each in torch.cuda.get_rng_state_all()]
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back to where they were; what was not saved stays as it is.

    Generators of GPUs are left alone where there are now fewer of them than were saved.
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    if "numpy" in state:
        import numpy as np

        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    if "torch" in state:
        import torch

        torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
        if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) <= torch.cuda.device_count():
            torch.cuda.set_rng_state_all([torch.tensor(each, dtype=torch.uint8) for each in state["cuda"]])
