"""Small networks work on one thread, large ones on those there are, and a user's setting is put back."""

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.data import Dataset
from cutaway.engines.threads import ROWS, WORTH, threads_for, threads_for_rows
from cutaway.instruments import Accuracy
from cutaway.network.flops import forward_flops


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watching(nn.Module):
    """A small classifier that notes the number of threads of every pass."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = nn.Linear(6, 3), []

    def forward(self, x):
        self.seen.append(torch.get_num_threads())
        return self.linear(x)


def test_flops_are_those_of_the_matrices():
    """Closed forms: 2 m n for a linear layer, 2 C_out C_in k^2 h w for a convolution."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    assert forward_flops(model, torch.rand(5, 1, 8, 8)) == 2 * 4 * 9 * 64 + 2 * 256 * 10
    assert forward_flops(model, torch.rand(5, 3, 8, 8)) == float("inf"), "a model that refuses the example"


@pytest.mark.usefixtures("two_threads")
def test_a_small_network_is_measured_on_one_thread_and_the_setting_put_back():
    model = Watching().eval()
    data = Dataset(name="d", inputs=torch.rand(60, 6), labels=torch.arange(60) % 3)
    network = Network(model, data.inputs[:2])
    network.flops, model.seen[:] = network.flops, []
    Accuracy().measure(network, data)
    assert set(model.seen) == {1} and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_large_network_keeps_its_threads_and_an_error_gives_them_back():
    with threads_for(WORTH):
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), threads_for(WORTH / 2):
        _ = torch.get_num_threads() / 0
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_small_network_is_trained_on_one_thread():
    from cutaway.training.loop import TrainingSettings, train

    model = Watching()
    train(
        model,
        Dataset(name="d", inputs=torch.rand(60, 6), labels=torch.arange(60) % 3),
        TrainingSettings(steps=3, batch_size=20),
    )
    assert set(model.seen[1:]) == {1} and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_kernel_method_on_few_rows_has_one_thread_of_every_kind():
    import threadpoolctl

    def most():
        return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

    with threadpoolctl.threadpool_limits(limits=2):
        with threads_for_rows(ROWS - 1):
            assert torch.get_num_threads() == 1 == most()
        with threads_for_rows(ROWS):
            assert torch.get_num_threads() == 2 == most()
        assert torch.get_num_threads() == 2 == most()


@pytest.mark.usefixtures("two_threads")
def test_lofi_fits_few_rows_on_one_thread(monkeypatch):
    from cutaway.features.lofi import LoFiClassifier, fitting

    seen, real = [], fitting.search

    def search(*given, **settings):
        seen.append(torch.get_num_threads())
        return real(*given, **settings)

    monkeypatch.setattr(fitting, "search", search)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).numpy()
    LoFiClassifier().fit(x, (x[:, 0] > 0).astype(int))
    assert seen == [1] and torch.get_num_threads() == 2
