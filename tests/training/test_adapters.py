"""The tracker inside real Lightning and Hugging Face trainers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import Sparsity
from cutaway.training import EveryN, Tracker, open_training


def test_lightning_tells_every_step_and_trains_to_the_same_weights(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", reason="needs the extra lightning")
    from cutaway.training.adapters.lightning import LightningCallback

    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(32, 5, generator=generator)
    labels = (inputs.sum(1) > 2.5).long()
    numbers = torch.arange(32)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    def fit(callbacks):
        lightning.seed_everything(0, verbose=False)
        module = Module()
        rows = torch.utils.data.TensorDataset(inputs, labels, numbers)
        loader = torch.utils.data.DataLoader(rows, batch_size=8, shuffle=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, accumulate_grad_batches=2, callbacks=callbacks,
            )  # fmt: skip
            trainer.fit(module, loader)
        return module.state_dict()

    plain = fit([])
    data = Dataset(name="dots", inputs=inputs, labels=labels)
    tracker = Tracker([Sparsity()], EveryN(2), tmp_path / "run", data=data)
    tracked = fit([LightningCallback(tracker, model=lambda m: m.net, examples=lambda batch: batch[2])])
    assert all(torch.equal(plain[k], tracked[k]) for k in plain)
    run = open_training(tmp_path / "run")
    assert run.finished
    assert run.last_step == 6
    assert [t.step for t in run.readings] == [0, 2, 4, 6]
    assert run.scalars["loss"][0].tolist() == [1, 2, 3, 4, 5, 6]
    assert all(len(rows) == 16 for _, rows in run.order()), "two batches a step"


def test_hugging_face_tells_every_step_and_trains_to_the_same_weights(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    from cutaway.training.adapters.huggingface import HuggingFaceCallback

    config = transformers.GPT2Config(
        n_layer=1, n_head=2, n_embd=16, vocab_size=40, n_positions=16, resid_pdrop=0.1, bos_token_id=0, eos_token_id=0
    )
    ids = torch.randint(0, 40, (16, 8), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row} for row in ids]

    def fit(callbacks):
        transformers.set_seed(0)
        model = transformers.GPT2LMHeadModel(config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = transformers.TrainingArguments(
                output_dir=str(tmp_path / "out"), max_steps=4, per_device_train_batch_size=4, report_to=[],
                logging_steps=1, save_strategy="no", use_cpu=True, disable_tqdm=True,
            )  # fmt: skip
            transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=callbacks).train()
        return model.state_dict()

    plain = fit([])
    tracker = Tracker([Sparsity()], EveryN(2), tmp_path / "run", data=Dataset(name="tokens", inputs=ids))
    tracked = fit([HuggingFaceCallback(tracker)])
    assert all(torch.equal(plain[k], tracked[k]) for k in plain)
    run = open_training(tmp_path / "run")
    assert run.finished
    assert [t.step for t in run.readings] == [0, 2, 4]
    assert run.series
    assert run.scalars["loss"][0].tolist() == [1, 2, 3, 4]
    assert sorted(row for _, rows in run.order() for row in rows) == list(range(16))
    assert run.scalars["learning_rate"][0].tolist() == [1, 2, 3, 4]
