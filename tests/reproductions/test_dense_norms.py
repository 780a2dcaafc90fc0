"""Heights and slopes' norms of dense networks by Gram matrices, against Jacobians by automatic differentiation."""

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.reproductions._dense_norms import dense_layers, dense_norms


def network(batch_norm=False, slope=0.0, bias=True):
    generator, sizes = torch.Generator().manual_seed(0), [7, 9, 8, 6]
    layers = [nn.Flatten()]
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b, bias=bias)]
        if batch_norm:
            norm = nn.BatchNorm1d(b)
            norm.running_mean.copy_(torch.randn(b, generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(b, generator=generator))
            with torch.no_grad():
                norm.weight.copy_(torch.randn(b, generator=generator))
            layers.append(norm)
        layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    model = nn.Sequential(*layers, nn.Linear(6, 3)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"slope": 0.1}, {"bias": False}])
def test_against_jacobians(options):
    """Oracle: the Jacobian of all pre-activations, by torch."""
    model = network(**options)
    inputs = torch.randn(5, 1, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def heights(point):
        value, found = point.reshape(1, -1), []
        for module in model[1:-1]:
            if isinstance(module, nn.ReLU | nn.LeakyReLU):
                found.append(value)
            value = module(value)
        return torch.cat(found, dim=1)[0]

    found, norms = dense_norms(dense_layers(model), inputs, rows=2)
    for row, point in enumerate(inputs):
        torch.testing.assert_close(found[row], heights(point))
        slopes = torch.autograd.functional.jacobian(heights, point).flatten(1)
        torch.testing.assert_close(norms[row], slopes.norm(dim=1))


def test_other_networks_are_left_alone():
    assert dense_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())) is None
    assert dense_layers(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))) is None
    assert dense_layers(nn.Sequential(nn.Linear(2, 3))) is None
    assert dense_layers(nn.Linear(2, 3)) is None


def test_inputs_that_do_not_fit():
    with pytest.raises(InputError, match="found 4 numbers a row; expected 7"):
        dense_norms(dense_layers(network()), torch.zeros(2, 4))
