"""Keras under greenrun: suspended after any epoch, and continued to the weights of an unbroken run.

greenrun submit --gpus 1 --interruptible --duration 6h --max-delay 24h -- python3 keras_example.py 20
"""

import sys

from greenrun.training.keras import GreenrunCallback

greenrun = GreenrunCallback(save_at="epoch")  # before slow imports: until then the request ends the program

import keras  # noqa: E402
import numpy as np  # noqa: E402


def main(epochs: int) -> None:
    """Train, and print a checksum of the weights."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    x, y = random.standard_normal((1024, 16)), random.standard_normal((1024, 1))
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((16,)), *layers])
    model.compile("adam", "mse")
    print("trains", flush=True)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[greenrun])
    weights = np.concatenate([array.ravel() for array in model.get_weights()]).astype(float)
    print(f"weights {weights.sum()!r} {np.abs(weights).sum()!r}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
