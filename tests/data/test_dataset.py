"""Dataset: what it refuses and in which words; subsets, normalisation, fingerprints."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data import Dataset, TextSet
from cutaway.data.dataset import choose_rows
from cutaway.errors import InputError


def images(num=12, **options):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(num, 3, 4, 4, generator=generator)
    options = {"labels": torch.arange(num) % 4, "num_classes": 4, "value_range": (0.0, 1.0)} | options
    return Dataset(name="small", inputs=inputs, **options)


class TestRefusals:
    def test_not_finite(self, says):
        inputs = torch.zeros(5, 3)
        inputs[3, 1] = torch.nan
        says(InputError, lambda: Dataset(name="a", inputs=inputs), "row 3 of data set 'a'", "NaN (1 of 5 rows")
        inputs[1, 0] = -torch.inf
        says(InputError, lambda: Dataset(name="a", inputs=inputs), "row 1 of data set 'a'", "infinite", "2 of 5")

    def test_labels_outside_the_classes(self, says):
        labels = torch.tensor([0, 1, 4, 5])
        says(
            InputError,
            lambda: Dataset(name="a", inputs=torch.zeros(4, 2), labels=labels, num_classes=4),
            "row 2 of data set 'a'",
            "label 4 (2 of 4",
            "0 to 3 (4 classes)",
        )
        says(
            InputError,
            lambda: Dataset(name="a", inputs=torch.zeros(2, 2), labels=torch.tensor([0, -1])),
            "row 1",
            "label -1",
        )

    def test_empty(self, says):
        says(InputError, lambda: Dataset(name="a", inputs=torch.zeros(0, 3)), "no data", "(0, 3)")
        says(InputError, lambda: Dataset(name="a", inputs=torch.zeros(3, 0)), "no data")
        says(InputError, lambda: TextSet(name="t", texts=()), "no texts")

    def test_dtype_and_shape(self, says):
        says(InputError, lambda: Dataset(name="a", inputs=torch.zeros(3, 2, dtype=torch.uint8)), "uint8", "float32")
        says(InputError, lambda: Dataset(name="a", inputs=torch.zeros(3)), "shape (3,)")
        says(InputError, lambda: Dataset(name="a", inputs=np.zeros((3, 2))), "ndarray", "torch tensor")
        says(
            InputError,
            lambda: Dataset(name="a", inputs=torch.zeros(3, 2), labels=torch.zeros(2, dtype=torch.int64)),
            "shape (2,)",
            "one label for each of the 3 rows",
        )
        says(
            InputError,
            lambda: Dataset(name="a", inputs=torch.zeros(3, 2), labels=torch.zeros(3)),
            "float32",
            "integer class numbers",
        )

    def test_class_names(self, says):
        says(InputError, lambda: images(class_names=("a", "b")), "2 names", "4 classes")

    def test_too_many_rows_asked_for(self, says):
        for num in (0, 13):
            says(InputError, lambda num=num: images().take(num), f"a request for {num} rows", "1 to 12")
        says(InputError, lambda: images().subset([0, 12]), "0 to 12", "0 to 11")


class TestTake:
    def test_balanced_and_seeded(self):
        data = images(40)
        taken = data.take(10, seed=1)
        assert sorted(taken.labels.bincount().tolist()) == [2, 2, 3, 3]
        assert taken.fingerprint() == data.take(10, seed=1).fingerprint()
        assert taken.fingerprint() != data.take(10, seed=2).fingerprint()

    def test_taking_all_changes_nothing(self):
        assert images().take(12, seed=5).fingerprint() == images().fingerprint()

    @given(
        sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), share=st.floats(0.01, 1.0), seed=st.integers(0, 99)
    )
    @settings(max_examples=60, deadline=None)
    def test_as_balanced_as_the_classes_allow(self, sizes, share, seed):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        num = max(1, int(share * len(labels)))
        rows = choose_rows(len(labels), num, seed, labels)
        assert len(set(rows.tolist())) == num
        counts = np.bincount(labels[rows], minlength=len(sizes))
        open_classes = counts < np.array(sizes)  # classes that could have given more
        if open_classes.any():
            assert counts.max() <= counts[open_classes].min() + 1

    def test_random_when_not_balanced(self):
        labels = torch.tensor([0] * 90 + [1] * 10)
        data = Dataset(name="skewed", inputs=torch.randn(100, 2), labels=labels)
        assert data.take(20, balanced=True).labels.sum() == 10
        assert data.take(50, balanced=False).labels.sum() <= 10


class TestUnits:
    def test_normalised_by_its_own_statistics(self):
        data = images(200).normalised()
        assert torch.allclose(data.inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-6)
        assert torch.allclose(data.inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)

    def test_bounds_and_radius_follow_the_normalisation(self):
        raw = images()
        data = raw.normalised((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
        low, high = data.bounds()
        assert low.flatten().tolist() == pytest.approx([-1.0, -1.6, -1.5])
        assert high.flatten().tolist() == pytest.approx([1.0, 2.4, 3.5])
        assert data.radius_in_inputs(0.1).flatten().tolist() == pytest.approx([0.2, 0.4, 0.5])
        moved = ((raw.inputs + 0.1) - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
            [0.5, 0.25, 0.2]
        ).view(3, 1, 1)
        assert torch.allclose(data.inputs + data.radius_in_inputs(0.1), moved, atol=1e-6)
        assert "0 to 1 (before normalisation)" in data.units
        assert images(value_range=None).bounds() is None

    def test_normalising_twice_or_by_zero_is_refused(self, says):
        says(InputError, lambda: images().normalised().normalised(), "normalised already")
        says(InputError, lambda: images().normalised((0.0,) * 3, (1.0, 0.0, 1.0)), "every std above 0")


def test_fingerprint_sees_every_part():
    base = images()
    changed = base.inputs.clone()
    changed[7, 1, 2, 3] += 1e-6
    others = [
        Dataset(name="small", inputs=changed, labels=base.labels, num_classes=4),
        Dataset(name="small", inputs=base.inputs, labels=base.labels.flip(0), num_classes=4),
        Dataset(name="small", inputs=base.inputs, labels=base.labels, num_classes=5),
        Dataset(name="small", inputs=base.inputs.reshape(12, 3, 2, 8), labels=base.labels, num_classes=4),
        Dataset(name="small", inputs=base.inputs.double(), labels=base.labels, num_classes=4),
        Dataset(name="small", inputs=base.inputs),
    ]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 7
    assert (
        Dataset(name="other", inputs=base.inputs, labels=base.labels, num_classes=4).fingerprint() == base.fingerprint()
    )


def test_text_set_tokenised_and_taken(says):
    words = TextSet(
        name="t", texts=("a b c", "d", "e f g h"), labels=torch.tensor([0, 1, 1]), class_names=("no", "yes")
    )

    def tokenizer(text, add_special_tokens):
        return {"input_ids": [ord(w) for w in text.split()]}

    data = words.tokenised(tokenizer, 3, prefix=(1,))
    assert data.inputs.tolist() == [[1, 97, 98], [1, 101, 102]]
    assert data.labels.tolist() == [0, 1]
    assert "1 of 3 texts shorter" in data.note
    assert words.take(2).labels.tolist() == [0, 1]
    assert words.fingerprint() != words.subset([1, 0, 2]).fingerprint()
    says(InputError, lambda: words.tokenised(tokenizer, 9), "no text of 9 tokens")
    says(InputError, lambda: TextSet(name="t", texts=("a", " ")), "row 1", "an empty text")


class Small:
    """A tokenizer of letters that knows no capitals."""

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(letter) for letter in text.lower()]}

    def decode(self, tokens, clean_up_tokenization_spaces):
        return " " + "".join(map(chr, tokens))  # as some do, with a space in front


def test_a_text_that_does_not_survive_its_tokens_is_refused_where_it_must(says):
    kept = TextSet(name="t", texts=("all is small", "so is this one"))
    assert len(kept.tokenised(Small(), 5, exact=True)) == 2
    lost = TextSet(name="t", texts=("all is small", "this One is not"))
    assert len(lost.tokenised(Small(), 5)) == 2
    says(InputError, lambda: lost.tokenised(Small(), 5, exact=True), "row 1 of text set 't'", "'this one is not' where")


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    num=st.integers(1, 300),
    seed=st.integers(0, 3),
    rare=st.integers(0, 3),
)
def test_choosing_rows_looks_at_part_of_the_permutation_and_finds_the_same(labels, num, seed, rare):
    """The definition: order by rank within the class, along one permutation of all rows; the first `num`."""
    values = np.array(labels + [9] * rare)
    num = min(num, len(values))
    order = np.random.default_rng(seed).permutation(len(values))
    rank = np.zeros(len(values), dtype=int)
    for value in np.unique(values):
        (where,) = np.nonzero(values[order] == value)
        rank[where] = np.arange(len(where))
    assert choose_rows(len(values), num, seed, values).tolist() == sorted(order[np.argsort(rank, kind="stable")[:num]])
