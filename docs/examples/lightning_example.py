"""PyTorch Lightning under greenrun: suspended after any batch, and continued to the weights of an unbroken run.

greenrun submit --gpus 1 --interruptible --duration 6h --max-delay 24h -- python3 lightning_example.py 20
"""

import sys

from greenrun.training.lightning import GreenrunCallback

greenrun = GreenrunCallback()  # before slow imports: until then the request to checkpoint ends the program

import lightning  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402


class Regression(lightning.LightningModule):
    """A small network with dropout, fitted to noise: any batch repeated, lost or in another order would show."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 1)
        )

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(epochs: int) -> None:
    """Train, and print a checksum of the weights."""
    lightning.seed_everything(1)
    torch.use_deterministic_algorithms(True)
    data = TensorDataset(torch.randn(2048, 16), torch.randn(2048, 1))
    model = Regression()
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[greenrun], logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    print("trains", flush=True)
    trainer.fit(model, DataLoader(data, batch_size=32, shuffle=True), ckpt_path=greenrun.ckpt_path)
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    print(f"weights {weights.double().sum().item()!r} {weights.abs().double().sum().item()!r}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
