"""Labelled texts: strings with class numbers, read from Parquet and turned into token inputs for a language model.

`TextSet.texts` is a tuple of N strings, `labels` (N,) int64 or None, `groups` a tuple of N strings (which source a
text is from, for instance) or None. Tokenising gives a `Dataset` of int64 (N, length).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cutaway.data.columns import checked_groups
from cutaway.data.dataset import Dataset, _checked_labels, choose_rows
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSet:
    """Texts with optional labels and groups; raises InputError on an empty set, an empty text or labels outside the
    classes.

    `labels` (n,) int64.
    """

    name: str
    texts: tuple[str, ...]
    labels: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError(
                f"text set {self.name!r}", found="no texts", expected="at least one", remedy="give at least one text"
            )
        for row, text in enumerate(self.texts):
            if not isinstance(text, str) or not text.strip():
                found = "an empty text" if isinstance(text, str) else f"a {type(text).__name__}"
                raise InputError(
                    f"row {row} of text set {self.name!r}",
                    found=found,
                    expected="a text",
                    remedy="remove or mend this row",
                )
        if self.labels is not None:
            classes = len(self.class_names) if self.class_names else None
            object.__setattr__(self, "labels", _checked_labels(self.name, self.labels, len(self.texts), classes))
        if self.groups is not None and len(self.groups) != len(self.texts):
            raise InputError(
                f"groups of text set {self.name!r}",
                found=f"{len(self.groups)}",
                expected=f"one for each of {len(self.texts)}",
                remedy="give one group a text",
            )

    def __len__(self) -> int:
        return len(self.texts)

    def fingerprint(self) -> str:
        """sha256 (hex) of texts and labels in order."""
        digest = hashlib.sha256()
        for text in self.texts:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        digest.update(b"none" if self.labels is None else self.labels.numpy().tobytes())
        return digest.hexdigest()

    def subset(self, indices) -> TextSet:
        """The rows `indices`, in that order."""
        rows = [int(i) for i in indices]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in rows),
            labels=None if self.labels is None else self.labels[torch.tensor(rows, dtype=torch.int64)],
            groups=None if self.groups is None else tuple(self.groups[i] for i in rows),
        )

    def take(self, num: int, seed: int = 0, balanced: bool = True) -> TextSet:
        """`num` rows without replacement, equal over the classes where labels are there; the same for the same seed.

        Raises `InputError` for more rows than there are.
        """
        if not 1 <= num <= len(self):
            raise InputError(
                f"text set {self.name!r}",
                found=f"a request for {num} rows",
                expected=f"1 to {len(self)}",
                remedy="give a number in this range",
            )
        labels = self.labels.numpy() if self.labels is not None and balanced else None
        return self.subset(choose_rows(len(self), num, seed, labels))

    def _survives(self, tokenizer, row: int, tokens: list[int]) -> None:
        said = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        if said.strip() == self.texts[row].strip():
            return
        at = next((k for k, (a, b) in enumerate(zip(said.strip(), self.texts[row].strip())) if a != b), 0)
        raise InputError(
            f"row {row} of text set {self.name!r}",
            found=f"a text whose tokens say another: {said.strip()[max(0, at - 20) : at + 20]!r} where it has "
            f"{self.texts[row].strip()[max(0, at - 20) : at + 20]!r}",
            expected="a text that survives its tokens",
            remedy="leave such texts out: their probability would be another text's; or use the model's own tokenizer",
        )

    def tokenised(self, tokenizer, length: int, prefix: tuple[int, ...] = (), *, exact: bool = False) -> Dataset:
        """Token rows of exactly `length` for a Hugging Face tokenizer: prefix + tokens, cut to length; shorter texts
        are left out.

        No padding, so that no row depends on a mask. `prefix` holds token ids put in front (a begin-of-text token,
        for instance). `exact`: the tokens must say the text, put together again (white space at its ends aside), since
        what is asked is about the text: a tokenizer that drops or changes characters reads another one. Raises
        InputError when no text is long enough, and for a text that is not said `exact`ly.
        """
        kept, rows = [], []
        for row, text in enumerate(self.texts):
            own = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(own) + len(prefix) >= length:
                kept.append(row)
                rows.append([*prefix, *own][:length])
                if exact:
                    self._survives(tokenizer, row, own)
        if not rows:
            raise InputError(
                f"text set {self.name!r}",
                found=f"no text of {length} tokens",
                expected="longer texts or a shorter length",
                remedy="give longer texts or a shorter length",
            )
        left_out = len(self) - len(kept)
        groups, names = None, None
        if self.groups is not None:
            groups, names = checked_groups(self.name, [self.groups[row] for row in kept], len(kept), None)
        return Dataset(
            name=self.name,
            inputs=torch.from_numpy(np.asarray(rows, dtype=np.int64)),
            labels=None if self.labels is None else self.labels[torch.tensor(kept)],
            num_classes=len(self.class_names) if self.class_names and self.labels is not None else None,
            class_names=self.class_names if self.labels is not None else None,
            groups=groups,
            group_names=names,
            note=f"{left_out} of {len(self)} texts shorter than {length} tokens were left out" if left_out else "",
        )
