"""What is the user's stays where it is and as it is: no path through the library moves, casts or retrains the model that
it was given; where another place or type is needed, a copy goes there."""

import copy

import pytest
import torch
from torch import nn

from cutaway.geometry import plane_through, slice_network, square_around
from cutaway.geometry.rays import as_program, crossings
from cutaway.network import Network
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.verify.replay import module_replay
from cutaway.testing.contract import model_state


def made(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2)).to(dtype).eval()


POINTS = torch.tensor([[0.1, -0.4, 0.9], [1.0, 0.2, -0.3], [-0.7, 0.6, 0.5]])


def sliced(network: Network) -> None:
    plane = plane_through(POINTS.double())
    slice_network(network, plane, square_around(plane, 0.5))


PATHS = {
    "on_cpu": lambda n: n.on_cpu(),
    "double": lambda n: n.double(),
    "double, then on_cpu": lambda n: n.double().on_cpu(),
    "affine map": lambda n: n.affine_at(POINTS[0].to(n.dtype)),
    "bounds": lambda n: n.bounds(POINTS[:1].double(), 0.1),
    "bound network": lambda n: bound_network(n.model, POINTS[:1].to(n.dtype)),
    "slice": sliced,
    "crossings": lambda n: crossings(as_program(n, POINTS[:1]), POINTS[:1].double(), POINTS[1:2].double()),
    "twins": lambda n: (n.twin(0), n.spectrum_twin(0), n.mask_twin(0)),
    "replay": lambda n: module_replay(n.model, (3,))(POINTS[0]),
}


@pytest.fixture
def moves(monkeypatch):
    """Modules on which `.to`, `.cpu`, `.double` and their like were called; torch's own code underneath them all."""
    seen, apply = set(), nn.Module._apply

    def spied(self, fn, *args, **kwargs):
        seen.add(id(self))
        return apply(self, fn, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "_apply", spied)
    return seen


def places(model: nn.Module) -> list[tuple]:
    return [(t.data_ptr(), t.dtype, t.device, t._version) for t in (*model.parameters(), *model.buffers())]


CASES = [
    *((path, torch.float64, False) for path in PATHS),
    *((path, torch.float32, False) for path in ("double", "double, then on_cpu", "affine map", "replay")),
    *((path, torch.float64, True) for path in ("on_cpu", "double, then on_cpu", "slice", "crossings")),
]
"""(path, type of the model, whether it is said to be on a CUDA device); float64 on the processor needs no copy."""


@pytest.mark.parametrize(("path", "dtype", "elsewhere"), CASES)
def test_no_path_moves_the_model(path, dtype, elsewhere, moves, monkeypatch):
    model = made(dtype)
    network = Network(model, POINTS.to(dtype))
    if elsewhere:
        monkeypatch.setattr(Network, "device", property(lambda self: torch.device("cuda")))
    before, state = places(model), model_state(model)
    moves.clear()
    PATHS[path](network)
    assert not moves & {id(m) for m in model.modules()}
    assert places(model) == before
    assert model_state(model) == state


def test_a_model_elsewhere_is_copied_to_the_processor(monkeypatch):
    model = made(torch.float64)
    network = Network(model, POINTS.double())
    assert network.on_cpu() is model and network.double() is network
    monkeypatch.setattr(Network, "device", property(lambda self: torch.device("cuda")))
    copied = network.on_cpu()
    own = {p.data_ptr() for p in model.parameters()}
    assert copied is not model and not own & {p.data_ptr() for p in copied.parameters()}
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), model.parameters(), strict=True))


def test_a_move_is_seen(moves):
    model = made(torch.float32)
    model.double().cpu()
    assert id(model) in moves


def test_replay_gives_every_part_its_own_mode_back():
    model = made(torch.float64)
    model[2].train()
    want = copy.deepcopy(model).eval()(POINTS[:1].double()).flatten()
    got = module_replay(model, (3,))(POINTS[0])
    torch.testing.assert_close(got, want.detach())
    assert [m.training for m in model.modules()] == [False, False, False, True, False]
