"""Watch a Hugging Face `Trainer`: one callback. A small GPT-2 learns to count.

python examples/track_huggingface.py; then: cutaway track runs/huggingface
"""

import tempfile

import torch
import transformers

from cutaway.data import Dataset
from cutaway.instruments import Sparsity
from cutaway.training import LogSpaced, Tracker, open_training
from cutaway.training.adapters.huggingface import HuggingFaceCallback


def main() -> None:
    ids = (torch.arange(64)[:, None] + torch.arange(16)[None]) % 32
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=32, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    tracker = Tracker([Sparsity()], LogSpaced(40, 8), "runs/huggingface", data=Dataset(name="counting", inputs=ids))
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(), max_steps=40, per_device_train_batch_size=16, learning_rate=3e-3, report_to=[],
        logging_steps=5, save_strategy="no", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in ids],
        callbacks=[HuggingFaceCallback(tracker)],
    )
    trainer.train()

    for series in open_training("runs/huggingface").series.values():
        print(f"{series.name}: {series.value[0]:.3f} at step 0, {series.value[-1]:.3f} at step {series.steps[-1]}")


if __name__ == "__main__":
    main()
