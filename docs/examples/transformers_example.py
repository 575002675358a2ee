"""Hugging Face's Trainer under greenrun: suspended after any step, and continued to the weights of an unbroken run.

greenrun submit --gpus 1 --interruptible --duration 6h --max-delay 24h -- python3 transformers_example.py 20
"""

import sys

from greenrun import training
from greenrun.training.transformers import GreenrunCallback

greenrun = GreenrunCallback()  # before slow imports: until then the request to checkpoint ends the program

import torch  # noqa: E402
from transformers import Trainer, TrainingArguments, set_seed  # noqa: E402


class Regression(torch.nn.Module):
    """A small network with dropout, fitted to noise: any batch repeated, lost or in another order would show."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 1)
        )

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.mse_loss(self.net(x), labels)}


def main(epochs: int) -> None:
    """Train, and print a checksum of the weights."""
    set_seed(1)
    data = [{"x": torch.randn(16), "labels": torch.randn(1)} for _ in range(1024)]
    model = Regression()
    arguments = TrainingArguments(
        output_dir=str(training.checkpoint_dir()), num_train_epochs=epochs, per_device_train_batch_size=32,
        save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[greenrun])
    print("trains", flush=True)
    trainer.train(resume_from_checkpoint=greenrun.resume_from_checkpoint)
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    print(f"weights {weights.double().sum().item()!r} {weights.abs().double().sum().item()!r}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
