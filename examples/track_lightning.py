"""Watch a Lightning training: one callback.

python examples/track_lightning.py; then: cutaway track runs/lightning
"""

import lightning
import torch
from torch import nn

from cutaway.data import load_data
from cutaway.instruments import Accuracy, Sparsity
from cutaway.training import EveryN, Tracker, open_training
from cutaway.training.adapters.lightning import LightningCallback


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_index):
        inputs, labels, _rows = batch
        return nn.functional.cross_entropy(self.network(inputs), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def main() -> None:
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    tracker = Tracker([Accuracy(), Sparsity()], EveryN(20), "runs/lightning", data={"train": train, "test": test})
    watch = LightningCallback(tracker, model=lambda module: module.network, examples=lambda batch: batch[2])
    rows = torch.utils.data.TensorDataset(train.inputs, train.labels, torch.arange(len(train)))
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[watch],
    )  # fmt: skip
    trainer.fit(Classifier(), torch.utils.data.DataLoader(rows, batch_size=64, shuffle=True))

    series = open_training("runs/lightning").series["test/accuracy/accuracy"]
    print(", ".join(f"{value:.2f} at step {step}" for step, value in zip(series.steps, series.value, strict=True)))


if __name__ == "__main__":
    main()
