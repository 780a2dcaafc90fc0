"""Sites whose rows do not come first: their values are those of the same network written with the batch first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.data import Dataset
from cutaway.errors import ModelError
from cutaway.instruments.features.sparsity import Sparsity
from cutaway.instruments.geometry.boundary_distance import BoundaryDistance
from cutaway.instruments.geometry.local_complexity import LocalComplexity
from cutaway.network.capture import record


class Steps(nn.Module):
    """Two inputs of 5 steps of 6 numbers through a layer, arranged by `there` and back by `back`."""

    def __init__(self, there, back):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.there, self.back = nn.Linear(6, 16), nn.Linear(16, 3), there, back

    def forward(self, x):
        steps = x.reshape(len(x), 5, 6)
        return self.b(self.back(torch.relu(self.a(self.there(steps))), len(x)).mean(1))


ARRANGED = {
    "steps_first": (lambda s: s.transpose(0, 1), lambda z, n: z.transpose(0, 1)),
    "steps_in_the_rows": (lambda s: s.reshape(-1, 6), lambda z, n: z.reshape(n, 5, 16)),
}
PLAIN = (lambda s: s, lambda z, n: z)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return Dataset(name="d", inputs=torch.rand(40, 30, generator=generator), labels=torch.arange(40) % 3)


def made(name, data):
    with torch.random.fork_rng():
        return Network(Steps(*ARRANGED.get(name, PLAIN)).eval(), data.inputs[:2])


@pytest.mark.parametrize("name", ARRANGED)
def test_captures_have_one_row_for_each_input(name, data):
    for rows in (1, 5, 7):  # 5: as many as the steps
        before, after = (
            record(n.forward, data.inputs[:rows], n.sites, post=True)[1:]
            for n in (made("plain", data), made(name, data))
        )
        for plain, other in zip(before, after, strict=True):
            (want,), (got,) = plain.values(), other.values()
            assert got.shape == (rows, 5, 16) and torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", ARRANGED)
@pytest.mark.parametrize("instrument", [LocalComplexity(radius=0.05), BoundaryDistance(), Sparsity()])
def test_readings_are_those_of_the_batch_first(name, instrument, data):
    plain, other = (instrument.measure(made(n, data), data) for n in ("plain", name))
    assert plain.figures and [f.name for f in plain.figures] == [f.name for f in other.figures]
    for a, b in zip(plain.figures, other.figures, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-4), a.name


def test_a_maximum_over_a_stack_gives_the_local_complexity_of_a_relu(data):
    def network(function):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.a, self.b = nn.Linear(30, 16), nn.Linear(16, 3)

            def forward(self, x):
                return self.b(function(self.a(x)))

        with torch.random.fork_rng():
            return Network(Net().eval(), data.inputs[:2])

    relu, stack = network(torch.relu), network(lambda z: torch.stack([z, 0 * z]).max(0).values)
    assert stack.sites[0].input_shape == (2, 16) and stack.sites[0].output_shape == (16,)
    one, two = (LocalComplexity(radius=0.05).measure(n, data).figure("local_complexity").value for n in (relu, stack))
    assert one == two > 0


def test_rows_that_cannot_be_told_end_in_an_error_that_names_the_site(data):
    """Rows folded in behind the steps: the entries of one row do not lie together."""
    folded = Steps(lambda s: s.transpose(0, 1).reshape(-1, 6), lambda z, n: z.reshape(5, n, 16).transpose(0, 1))
    network = Network(folded.eval(), data.inputs[:2])
    with pytest.raises(ModelError, match=r"site '.:relu#0'.*rows of the batch cannot be told.*batch_first=True"):
        record(network.forward, data.inputs, network.sites)


def test_a_recurrent_network_is_not_said_to_have_no_activation(data):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.b = nn.RNN(6, 8, nonlinearity="relu"), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(self.e(x.reshape(len(x), 5, 6).transpose(0, 1))[0][-1])

    reading = LocalComplexity().measure(Network(Recurrent().eval(), data.inputs[:2]), data)
    assert reading.status.value == "unsupported" and "(rnn_relu)" in reading.reason
