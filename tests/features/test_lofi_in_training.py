"""The LoFi instrument through the training tracker: features that appear are seen appearing, and training is not
touched."""

import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import LofiFeatures
from cutaway.training import EveryN, Tracker, open_training


def planted(num, seed, *, shuffled=False):
    """Labels by the sign of x0^2 - x1^2 (or the same labels in another order)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 10, generator=generator)
    labels = (x[:, 0] ** 2 > x[:, 1] ** 2).long()
    order = torch.randperm(num, generator=generator) if shuffled else torch.arange(num)
    return Dataset(name="planted", inputs=x, labels=labels[order], num_classes=2)


def train(tell, steps=150):
    """Adam on fresh batches; draws from torch's global stream, so that a tracker that draws would show."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    tell(net, 0)
    for step in range(1, steps + 1):
        x = torch.randn(128, 10)
        labels = (x[:, 0] ** 2 > x[:, 1] ** 2).long()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        tell(net, step, loss=loss)
    return net, torch.rand(3)


def test_the_tracker_sees_the_features_appear_and_changes_nothing(tmp_path):
    plain, tail = train(lambda *args, **more: None)
    data = {"held-out": planted(400, seed=1), "shuffled": planted(400, seed=2, shuffled=True)}
    instrument = LofiFeatures(num_directions=4, num_permutations=19)
    with Tracker([instrument], EveryN(50), tmp_path / "run", data=data) as tracker:
        tracked, other = train(tracker.step)
    assert torch.equal(tail, other)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tracked.state_dict()[name]), name
    run = open_training(tmp_path / "run")
    assert run.finished
    edge = run.series["held-out/lofi-features/strongest_over_edge"]
    assert edge.steps.tolist() == [0, 50, 100, 150]
    assert edge.value[-1] > 1.3 * edge.value[0]  # the edge of 19 permutations is known to about 10 %
    aligned = run.series["held-out/lofi-features/alignment_excess"].value
    assert aligned[-1] > aligned[0]
    assert aligned[-1] > 0.1
    assert (
        run.series["shuffled/lofi-features/strongest_over_edge"].value[-1] < 1.3
    )  # what no label holds does not appear
    assert len(run.readings) == 8
    last = run.readings[-1].load()
    assert last.values["strength"].dims == ("site", "direction")
