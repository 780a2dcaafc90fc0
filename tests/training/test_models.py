"""The named networks: sizes by hand, the same seed the same bits, opened by Network and scanned by instruments."""

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import Accuracy, LocalComplexity
from cutaway.network import Network
from cutaway.training.models import MODELS, Normalise, build_model

IMAGE = (3, 8, 8)
SMALL = {
    "mlp": {"width": 12, "depth": 3},
    "cnn": {"width": 2},
    "resnet18": {"width": 2},
    "resnet20": {"width": 2},
    "vit-tiny": {"width": 8, "depth": 2, "heads": 2},
    "char-gpt": {"width": 8, "depth": 2, "heads": 2},
}
SITES = {
    "mlp": ["relu"] * 2,
    "cnn": ["relu", "relu", "max_pool"] * 2 + ["relu"],
    "resnet18": ["relu"] * 17 + ["avg_pool"],
    "resnet20": ["relu"] * 19 + ["avg_pool"],
    "vit-tiny": ["layer_norm", "matmul", "softmax", "matmul", "layer_norm", "gelu"] * 2 + ["layer_norm"],
    "char-gpt": ["layer_norm", "matmul", "softmax", "matmul", "layer_norm", "gelu"] * 2 + ["layer_norm"],
}


def example(name, rows=6):
    generator = torch.Generator().manual_seed(0)
    if name == "char-gpt":
        return torch.randint(5, (rows, 9), generator=generator)
    return torch.rand(rows, *IMAGE, generator=generator)


def made(name, seed=0, **options):
    inputs = example(name)
    return build_model(name, inputs.shape[1:], 5, seed=seed, **SMALL[name], **options).eval()


@pytest.mark.parametrize("name", MODELS)
def test_opens_in_network_with_every_site_found(name):
    network = Network(made(name), example(name))
    assert [site.kind for site in network.sites] == SITES[name]
    assert network.skipped == ()
    assert network.output_shape == ((9, 5) if name == "char-gpt" else (5,))


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_bits_and_leaves_global_randomness(name):
    before = torch.get_rng_state()
    first, again, other = made(name, 3), made(name, 3), made(name, 4)
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet18", "resnet20", "vit-tiny"])
def test_instruments_read_them(name):
    data = Dataset(name="noise", inputs=example(name, 10), labels=torch.arange(10) % 5)
    assert Accuracy().measure(made(name), data, intervals=False).figures
    reading = LocalComplexity(num_points=2, num_directions=4, num_counted=1).measure(made(name), data, intervals=False)
    assert reading.figure("local_complexity").value >= 0


@pytest.mark.parametrize(
    ("name", "shape", "options", "count"),
    [
        ("mlp", (1, 28, 28), {}, 784 * 200 + 2 * 200 * 200 + 200 * 10 + 3 * 200 + 10),
        ("mlp", (1, 28, 28), {"bias": False}, 784 * 200 + 2 * 200 * 200 + 200 * 10),
        ("mlp", (4,), {"depth": 1}, 4 * 10 + 10),
        ("cnn", (1, 28, 28), {"width": 8}, 80 + 584 + 1168 + 2320 + (16 * 49 * 64 + 64) + 650),
        # ResNet-20 of the CIFAR paper has 0.27 million parameters; projections instead of padding add 2,560
        ("resnet20", (3, 32, 32), {}, 269_722 + 16 * 32 + 32 * 64),
    ],
)
def test_parameters_counted_by_hand(name, shape, options, count):
    assert sum(p.numel() for p in build_model(name, shape, 10, **options).parameters()) == count


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "cnn", "mlp"])
def test_batch_norm_is_a_switch(name):
    def kinds(model):
        return {type(m) for m in model.modules()}

    assert not kinds(made(name, batch_norm=False)) & {nn.BatchNorm1d, nn.BatchNorm2d}
    assert kinds(made(name, batch_norm=True)) & {nn.BatchNorm1d, nn.BatchNorm2d}


def test_preactivation_block_is_the_formula():
    """Closed form: x + conv(relu(conv(relu(x)))) where nothing changes the shape."""
    from cutaway.training.residual import ResidualBlock

    block = ResidualBlock(3, 3, 1, pre=True, batch_norm=False, bias=True, activation="relu")
    inputs = torch.randn(2, 3, 5, 5)
    wanted = inputs + block.conv2(block.conv1(inputs.relu()).relu())
    torch.testing.assert_close(block(inputs), wanted)


def test_attention_agrees_with_torch():
    """Oracle: nn.MultiheadAttention with the same weights."""
    from cutaway.training.transformers import Attention

    ours = Attention(8, 2, causal=True, bias=True)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.mix.weight)
        theirs.in_proj_bias.copy_(ours.mix.bias)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    inputs = torch.randn(3, 6, 8)
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    wanted = theirs(inputs, inputs, inputs, attn_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(ours(inputs), wanted, rtol=1e-5, atol=1e-6)


def test_the_decoder_does_not_look_ahead():
    model, tokens = made("char-gpt"), example("char-gpt")
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5
    torch.testing.assert_close(model(tokens)[:, :5], model(changed)[:, :5])
    assert not torch.allclose(model(tokens)[:, 5:], model(changed)[:, 5:])


def test_normalisation_is_a_first_step_with_fixed_numbers():
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    plain, inputs = made("cnn"), example("cnn")
    normalised = made("cnn", normalise=(mean, std))
    shape = (1, 3, 1, 1)
    wanted = plain((inputs - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape))
    torch.testing.assert_close(normalised(inputs), wanted)
    assert isinstance(normalised[0], Normalise)
    assert sum(p.numel() for p in normalised.parameters()) == sum(p.numel() for p in plain.parameters())
    assert Network(normalised, inputs).piecewise_affine


def test_bad_input():
    with pytest.raises(InputError, match=r"model 'resnet-18'; found no such model.*Did you mean 'resnet18'\?"):
        build_model("resnet-18", IMAGE, 5)
    with pytest.raises(InputError, match=r"option 'widht' of model 'mlp'.*Did you mean 'width'\?"):
        build_model("mlp", IMAGE, 5, widht=3)
    with pytest.raises(InputError, match="activation of model 'cnn'; found 'rleu'; expected relu, leaky-relu"):
        build_model("cnn", IMAGE, 5, activation="rleu")
    with pytest.raises(InputError, match="option 'width' of model 'mlp'; found 0"):
        build_model("mlp", IMAGE, 5, width=0)
    with pytest.raises(InputError, match=r"inputs of an image network; found shape \(4,\)"):
        build_model("cnn", (4,), 5)
    with pytest.raises(InputError, match="depth of the cnn; found 4"):
        build_model("cnn", IMAGE, 5, depth=4)
    with pytest.raises(InputError, match="heads; found 3 for width 8"):
        build_model("vit-tiny", IMAGE, 5, width=8, heads=3)
    with pytest.raises(InputError, match="patch of the vit-tiny; found 3"):
        build_model("vit-tiny", IMAGE, 5, patch=3)
