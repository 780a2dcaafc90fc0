"""Texts as rows of characters for `char-gpt`: int64 (rows, length), numbered in the sorted order of the alphabet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutaway.data import Dataset, load_text
from cutaway.errors import FileError, InputError
from cutaway.files import read_text, room

TEXT_SUFFIXES = (".txt", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """Characters in order; calling it numbers a text the way tokenizers do, unknown characters left out."""

    characters: str

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        numbers = {character: k for k, character in enumerate(self.characters)}
        return {"input_ids": [numbers[c] for c in text if c in numbers]}

    def text(self, numbers: Any) -> str:
        """The text of token numbers."""
        return "".join(self.characters[int(n)] for n in numbers)


def read_characters(path: str | Path) -> str:
    """The whole text of a .txt file (UTF-8), or the column `text` of a .parquet file joined by newlines."""
    path = Path(path)
    if path.suffix == ".parquet":
        return "\n".join(load_text(path, label_column=None).texts)
    text = read_text(path, "text", largest=room())
    if not text:
        raise FileError(f"text {path}", found="an empty file", expected="a text", remedy="give a file with text in it")
    return text


def character_sets(path: str | Path, *, length: int, held_out: float = 0.1) -> tuple[Dataset, Dataset, Alphabet]:
    """Training and test rows of `length` characters without overlap, the last share `held_out` of the text for the
    test, and the alphabet of the whole text. Raises `InputError` for a text shorter than ten rows."""
    text = read_characters(path)
    alphabet = Alphabet(characters="".join(sorted(set(text))))
    numbers = np.asarray(alphabet(text)["input_ids"], dtype=np.int64)
    rows = len(numbers) // length
    if rows < 10:
        raise InputError(
            f"text {path}",
            found=f"{len(numbers)} characters",
            expected=f"at least {10 * length}",
            remedy="give a longer text, or a smaller length",
        )
    table = torch.from_numpy(numbers[: rows * length].reshape(rows, length))
    cut = rows - max(1, round(held_out * rows))
    name = Path(path).stem
    return Dataset(name=name, inputs=table[:cut]), Dataset(name=name, inputs=table[cut:]), alphabet
