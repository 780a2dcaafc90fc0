"""The 260,000-parameter story model fine-tuned on instructions: what a training leaves behind."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TOKENS = 33


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stories:
    """The model, and instructions as token rows (n, 33) that begin with the begin-of-text token."""

    model: Any
    rows: torch.Tensor


def stories() -> Stories | None:
    """None where CUTAWAY_DATA lacks the model or the instructions."""
    from cutaway.data import load_text
    from cutaway.network.sources import load_model

    folder = Path(os.environ.get("CUTAWAY_DATA", ""))
    texts = folder / "text" / "alpaca_instructions.parquet"
    if not os.environ.get("CUTAWAY_DATA") or not (folder / "stories260k").is_dir() or not texts.is_file():
        return None
    loaded = load_model(folder / "stories260k")
    return Stories(model=loaded.model, rows=load_text(str(texts)).tokenised(loaded.tokenizer, TOKENS, (1,)).inputs)


def fine_tuned(model: Any, rows: torch.Tensor, order: NDArray[np.integer], rate: float = 2e-3) -> Any:
    """A copy of `model` trained on `rows` in that order, 8 a step, by AdamW."""
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    for part in np.array_split(order, -(-len(order) // 8)):
        tokens = rows[torch.as_tensor(part)]
        logits = model(tokens).logits[:, :-1]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimiser.step()
    return model.eval()
