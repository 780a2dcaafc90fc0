"""Network: assumptions are probed, maps are exact, twins are untrained, the model stays as it was."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.errors import InputError, ModelError, NotPiecewiseAffine
from cutaway.network import Network, preserved
from cutaway.testing.contract import model_state, small_classifier


def small():
    return small_classifier(), torch.rand(2, 1, 4, 4)


def test_batch_norm_in_training_mode_is_refused_with_the_remedy():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(ModelError, match=r"'1' \(BatchNorm1d\).*found training mode.*Call model.eval\(\) first"):
        Network(model.train())
    Network(model.eval(), torch.randn(2, 3))


def test_nan_weights_are_named():
    model, example = small()
    with torch.no_grad():
        model[3].weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="parameter '3.weight' of network 'Sequential'; found NaN in 1 of 512"):
        Network(model, example)


def test_noise_and_row_dependence_are_probed_and_the_probe_can_be_switched_off():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    class Mixed(nn.Module):
        def forward(self, x):
            return x - x.mean(dim=0)

    with pytest.raises(ModelError, match="two passes on the same input that differ"):
        Network(Noisy(), torch.randn(2, 3))
    with pytest.raises(ModelError, match="rows of a batch that influence each other"):
        Network(Mixed(), torch.randn(2, 3))
    assert Network(Mixed(), torch.randn(2, 3), probe=False).sites == ()


def test_wrong_shape_speaks_of_channels():
    with pytest.raises(ModelError, match="channels come last here"):
        Network(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), torch.rand(2, 8, 8, 3))


def test_empty_example():
    with pytest.raises(InputError, match="found no rows"):
        Network(nn.ReLU(), torch.zeros(0, 3))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.sampled_from([0, 1, 2, 3]))
def test_affine_map_reproduces_random_networks(seed, widths, kind):
    """Oracle: the network itself, in float64, at the point and near it."""
    generator = torch.Generator().manual_seed(seed)
    layers, last = [], 4
    for width in widths:
        layers += [
            nn.Linear(last, width, bias=kind != 3),
            (nn.ReLU(), nn.LeakyReLU(0.2), nn.Hardtanh(), nn.ReLU())[kind],
        ]
        last = width
    model = nn.Sequential(*layers, nn.Linear(last, 3)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    point = torch.randn(4, generator=generator, dtype=torch.float64)
    network = Network(model, point[None])
    found = network.affine_at(point)
    assert found.check() < 1e-7
    assert float((found(point[None]) - model(point[None])).detach().abs().max()) < 1e-12


def test_affine_map_at_a_kink_takes_the_inactive_side():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[0].bias.zero_()
    found = Network(model, torch.zeros(1, 1)).affine_at(torch.zeros(1))
    assert float(found.slope) == 0.0


def test_affine_map_is_refused_where_there_is_none():
    with pytest.raises(NotPiecewiseAffine, match=r"site '1:gelu#0'.*sign partition"):
        Network(nn.Sequential(nn.Linear(2, 2), nn.GELU()), torch.randn(2, 2)).affine_at(torch.randn(2))


def test_twin_is_untrained_seeded_and_leaves_random_state_alone():
    model, example = small()
    network = Network(model, example)
    before = model_state(model)
    first, again, other = network.twin(1), network.twin(1), network.twin(2)
    assert model_state(model) == before
    assert first.fingerprint() == again.fingerprint() != other.fingerprint() != network.fingerprint()
    assert [s.name for s in first.sites] == [s.name for s in network.sites]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh = nn.Linear(64, 8)
        bound = 1 / 8
        assert float(first.model[3].weight.detach().abs().max()) <= bound
        assert fresh.weight.shape == first.model[3].weight.shape


def test_twin_says_which_parameters_have_no_initialiser():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.arange(12.0).reshape(3, 4))

        def forward(self, x):
            return x @ self.weight

    twin = Network(Plain(), torch.randn(2, 3)).twin(0)
    assert [s.what for s in twin.twin_skipped] == ["weight"]
    assert sorted(twin.model.weight.flatten().tolist()) == list(map(float, range(12)))
    assert not torch.equal(twin.model.weight, torch.arange(12.0).reshape(3, 4))


def test_spectrum_twin_keeps_singular_values():
    model, example = small()
    twin = Network(model, example).spectrum_twin(5)
    for mine, theirs in ((model[3], twin.model[3]), (model[0], twin.model[0])):
        a, b = (torch.linalg.svdvals(m.weight.detach().flatten(1)) for m in (mine, theirs))
        torch.testing.assert_close(a, b)
        assert not torch.allclose(mine.weight, theirs.weight)


def test_fingerprint_sees_one_bit():
    model, example = small()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].bias[0] += 1e-7
    assert Network(model, example).fingerprint() != Network(other, example).fingerprint()


def test_preserved_restores_everything_after_an_exception():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    model[0].weight.grad = torch.ones(3, 3)
    before = model_state(model)

    def disturb():
        model.eval()
        model[0].weight.requires_grad_(False)
        model[0].weight.grad = None
        model[1].running_mean += 1
        model.register_forward_hook(lambda *a: None)
        torch.rand(3)
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"), preserved(model):
        disturb()
    assert model_state(model) == before


def test_preserved_takes_back_what_batch_norm_learnt_in_training_mode():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with preserved(model):
        model(torch.randn(20, 3) + 5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_hugging_face_twin_runs_its_own_initialiser():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=16, attn_implementation="eager"
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(3.0)
    tokens = torch.randint(0, 20, (2, 6))
    network = Network(model, tokens)
    twin = network.twin(0)
    weight = twin.model.transformer.h[0].mlp.c_fc.weight.detach()
    assert abs(float(weight.mean())) < 0.01
    assert float(weight.std()) < 0.05
    assert twin.twin_skipped == ()
    assert "attention" in {s.family for s in network.sites}
