"""The group prior and the retrained last layer against closed forms and a planted shortcut."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from cutaway.data import Dataset
from cutaway.errors import CutawayWarning, InputError
from cutaway.reproductions.group_priors import patched, worst_group
from cutaway.training.group_prior import GroupPrior, balanced_rows, group_cells, last_layer, retrained_last_layer


def grouped(sizes=((90, 30), (20, 60))):
    """Cells of class and group of these sizes, with random inputs."""
    pairs = [(y, g) for y in range(2) for g in range(2) for _ in range(sizes[y][g])]
    labels, groups = torch.tensor(pairs).T
    inputs = torch.randn((len(pairs), 4), generator=torch.Generator().manual_seed(0))
    return Dataset(name="grouped", inputs=inputs, labels=labels, groups=groups, num_classes=2)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)).train()


def test_every_cell_is_as_likely():
    data = grouped()
    rows = balanced_rows(group_cells(data), 40_000, torch.Generator().manual_seed(1))
    cells = (2 * data.labels + data.groups)[rows].bincount() / 40_000
    assert (cells - 0.25).abs().max() < 0.01  # four standard errors
    counts = rows.bincount(minlength=len(data))
    assert (counts[:90] > 0).all()
    assert counts[120:140].float().mean() == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_the_term_is_its_formula(frozen, radius):
    data, model = grouped(), network()
    model[0].requires_grad_(not frozen)
    prior = GroupPrior(data=data, radius=radius)
    value = prior(model, data.inputs, data.labels, generator=torch.Generator().manual_seed(2))
    value.backward()
    assert [p.grad is not None for p in model.parameters()] == [not frozen, not frozen, True, True]
    rows = balanced_rows(group_cells(data), 64, torch.Generator().manual_seed(2))
    moved = network().eval()
    cost = functional.cross_entropy(moved(data.inputs[rows]), data.labels[rows])
    taken = list(last_layer(moved, data.inputs[:2]).parameters()) if frozen else list(moved.parameters())
    found = torch.autograd.grad(cost, taken)
    length = torch.cat([g.flatten() for g in found]).norm()
    with torch.no_grad():
        for parameter, slope in zip(taken, found, strict=True):
            parameter += radius * slope / length
    expected = functional.cross_entropy(moved(data.inputs[rows]), data.labels[rows])
    torch.testing.assert_close(value, expected)
    assert model.training


def test_only_the_last_layer_is_retrained():
    data, model = grouped(), network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (retrained_last_layer(model, data, steps=20, seed=3) for _ in range(2))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(first.state_dict()[name], second.state_dict()[name])
        assert torch.equal(first.state_dict()[name], value) == name.startswith("0")


def test_what_lacks_groups_or_a_last_layer_is_refused():
    data = grouped()
    for wrong, words in (
        (dataclasses.replace(data, groups=None, group_names=None), "no groups"),
        (data.subset(range(5)), "one cell"),
    ):
        with pytest.raises(InputError, match=words):
            GroupPrior(data=wrong)
    with pytest.warns(CutawayWarning, match="1 of 4 cells"):
        GroupPrior(data=grouped(((90, 30), (19, 60))))
    with pytest.raises(InputError, match="radius -1"):
        GroupPrior(data=data, radius=-1)
    with pytest.raises(InputError, match="no affine layer"):
        retrained_last_layer(nn.Sequential(nn.Flatten()), data)
    with pytest.raises(InputError, match="no affine layer"):
        retrained_last_layer(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), data)


class Reversed(nn.Module):
    """The layer that gives the outputs is the first that was made."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(8, 2), nn.Linear(4, 8)

    def forward(self, x):
        return self.last(self.first(x).relu())


def test_the_last_layer_is_the_one_that_gives_the_outputs():
    model = Reversed()
    assert last_layer(model, torch.randn(3, 4)) is model.last and model.training


def test_the_worst_group_gains_where_a_patch_is_a_shortcut():
    sets = patched(0)
    assert worst_group("prior, all layers", sets, 0)[0] > worst_group("plain", sets, 0)[0] + 0.2
