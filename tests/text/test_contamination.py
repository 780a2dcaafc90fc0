"""Contamination: recall against a naive one, fresh items that are right, rows that were seen told from others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import Contamination
from cutaway.network import Network
from cutaway.status import Status
from cutaway.testing import check_instrument
from cutaway.text import complete, random_calculations, rouge_l_recall

WORDS, LENGTH = 12, 20


class Follows(nn.Module):
    """A language model that was drilled on one successor for every token."""

    def __init__(self):
        super().__init__()
        successor = torch.randperm(WORDS, generator=torch.Generator().manual_seed(3))
        self.table = nn.Embedding.from_pretrained(5.0 * nn.functional.one_hot(successor, WORDS).float())

    def forward(self, tokens):
        return self.table(tokens)


def subsequence(a: list[int], b: list[int]) -> int:
    """Length of the longest common subsequence, by its definition."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + subsequence(a[1:], b[1:])
    return max(subsequence(a[1:], b), subsequence(a, b[1:]))


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_recall_is_the_longest_common_subsequence(said, wanted):
    found = rouge_l_recall(torch.tensor([said, said], dtype=torch.int64), torch.tensor([wanted, wanted[::-1]]))
    assert found == pytest.approx([subsequence(said, w) / len(wanted) for w in (wanted, wanted[::-1])])


def test_fresh_calculations_are_right_and_repeat():
    fresh = random_calculations(200, steps=(1, 9), seed=4)
    for text, group in zip(fresh.texts, fresh.groups or ()):
        left, right = text.split(" = ")
        assert eval(left) == int(right) and group.split()[0] == str(left.count(" ") // 2)
    assert fresh.texts == random_calculations(200, steps=(1, 9), seed=4).texts and len(set(fresh.groups or ())) == 9
    with pytest.raises(InputError, match="of 3 to 2 steps"):
        random_calculations(5, steps=(3, 2))


def rows(seen: int, others: int) -> torch.Tensor:
    """Rows that follow the drilled successors, and random ones."""
    start, table = torch.arange(seen) % WORDS, Follows().table.weight.argmax(dim=1)
    chain = [start]
    for _ in range(LENGTH - 1):
        chain.append(table[chain[-1]])
    random = torch.randint(WORDS, (others, LENGTH), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.stack(chain, dim=1), random])


def test_the_rest_of_a_row_is_what_the_model_says_greedily():
    tokens = rows(6, 6)
    told, wanted = complete(Network(Follows().eval(), tokens[:2]), tokens, 0.4)
    assert wanted.shape == (12, 12) and torch.equal(wanted, tokens[:, 8:])
    assert (told[:6] == wanted[:6]).all() and not (told[6:] == wanted[6:]).all(dim=1).any()
    with pytest.raises(InputError, match=r"found 1\.0; expected above 0 and below 1"):
        complete(Network(Follows().eval(), tokens[:2]), tokens, 1.0)


def test_rows_that_were_seen_are_told_from_others_and_others_are_not():
    groups = torch.tensor([1] * 30 + [0] * 30)
    data = Dataset(name="items", inputs=rows(30, 30), groups=groups, group_names=("fresh", "benchmark"))
    reading = check_instrument(Contamination(suspect="benchmark"), Follows().eval(), data)
    assert reading.figure("recall_suspect").value == 1 and reading.figure("exact_suspect").value == 1
    assert reading.figure("contamination_p").value == 0.001 and reading.figure("loss_p").value == 0.001
    assert "It has seen them" in Contamination().describe(reading)
    mixed = Dataset(name="items", inputs=rows(0, 60), groups=groups, group_names=("fresh", "benchmark"))
    fair = Contamination(suspect="benchmark").measure(Follows().eval(), mixed)
    excess = fair.figure("recall_excess")
    assert excess.low is not None and excess.high is not None and excess.low < 0 < excess.high
    assert "Nothing shows that it has seen them" in Contamination().describe(fair)


def test_p_values_of_rows_that_are_alike_are_uniform():
    from cutaway.instruments.text.contamination import _permuted_p

    rng = np.random.default_rng(1)
    mine = np.arange(40) < 12
    p = np.array([_permuted_p(rng.integers(0, 4, 40) / 4, mine, "greater", 99, seed) for seed in range(200)])
    assert (p <= 0.1).mean() <= 0.1 + 0.05 and (p <= 0.5).mean() > 0.35


def test_groups_that_are_not_there_or_too_small_are_named():
    data = Dataset(name="items", inputs=rows(3, 30), groups=torch.tensor([0] * 3 + [1] * 30), group_names=("a", "b"))
    with pytest.raises(InputError, match="'c'; expected a group of data 'items': a, b"):
        Contamination(suspect="c").measure(Follows().eval(), data)
    small = Contamination().measure(Follows().eval(), data)
    assert (
        small.status is Status.UNSUPPORTED and "needs 5 rows of group 'a' and 5 others; found 3 and 30" in small.reason
    )
