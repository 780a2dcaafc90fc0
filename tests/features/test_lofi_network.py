"""The LoFi instrument on networks: the contract, a planted direction found, an unused one told apart, nulls."""

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.features.lofi.network_features import site_directions
from cutaway.instruments import LofiFeatures
from cutaway.network import Network
from cutaway.status import Status
from cutaway.testing import check_instrument


def test_contract():
    check_instrument(LofiFeatures(num_directions=3, num_permutations=9))


def planted(num=1200, width=24, seed=0):
    """Labels by the sign of z0^2 - z1^2."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((num, 1, width))
    return z, (z[:, 0, 0] ** 2 > z[:, 0, 1] ** 2).astype(int)


def test_planted_directions_are_found_and_an_unused_one_is_told():
    z, codes = planted()
    used = np.zeros((24, 24))
    used[0, 0], used[5, 5] = 1.0, 0.5
    used += 1e-3 * np.eye(24)
    used[1, 1] = 0.0  # the second relevant direction is never used
    found = site_directions(z, codes, used, count=2, permutations=39, generator=np.random.default_rng(0))
    assert found.num_relevant == 2
    assert found.alignment > found.alignment_null
    assert found.alignment_p <= 0.05
    assert (found.use > 5).sum() == 1
    assert found.unused == 1


def test_labels_without_relation_give_nothing():
    p_values = []
    for seed in range(20):
        z, codes = planted(num=200, seed=seed)
        codes = np.random.default_rng(seed + 100).permutation(codes)
        found = site_directions(z, codes, np.eye(24), count=2, permutations=19, generator=np.random.default_rng(seed))
        p_values.append(found.p_values[0])
    assert 0.3 < np.mean(p_values) < 0.75  # uniform on 20 values: mean 0.525, standard error 0.065


def test_network_that_learned_the_labels_beats_its_permuted_self():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(600, 10, generator=generator)
    y = (x[:, 0] ** 2 > x[:, 1] ** 2).long()
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    data = Dataset(name="planted", inputs=x, labels=y, num_classes=2)
    reading = LofiFeatures(num_directions=4).measure(Network(net.eval(), x[:2]), data)
    assert reading.figure("relevant_directions").value >= 1
    assert reading.figure("alignment_excess").value > 0.1
    assert reading.figure("strongest_over_edge").value > 1.7
    shuffled = Dataset(name="shuffled", inputs=x, labels=y[torch.randperm(600, generator=generator)], num_classes=2)
    control = LofiFeatures(num_directions=4).measure(Network(net.eval(), x[:2]), shuffled)
    assert control.figure("strongest_over_edge").value < 1.3
    assert "directions" in LofiFeatures().describe(reading)
    shown = LofiFeatures().draw(reading).to_dict()
    rows = [row for values in shown["datasets"].values() for row in values]
    over = {row["site"]: row for row in rows if row.get("what") == "told from noise"}
    assert len(over) == 2 and all(row["over"] > 1 for row in over.values())
    aligned = [row["cosine"] for row in rows if row.get("what") == "alignment"]
    assert aligned == reading.values["alignment"].values.tolist()


def test_does_not_apply_and_says_so():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 2
    plain = LofiFeatures().measure(Network(nn.Linear(4, 2).eval(), x[:2]), Dataset(name="d", inputs=x, labels=labels))
    assert plain.status is Status.UNSUPPORTED
    assert "no activation" in plain.reason
