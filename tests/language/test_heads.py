"""Attention heads: scaling against hooks, shares that add up to the logits, planted heads, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError, ModelError
from cutaway.instruments import ConceptHeads
from cutaway.language.concepts import Events, HeadReader
from cutaway.language.heads import find_heads, read_matrix, scaled_heads, watched
from cutaway.language.reading_out import find_tail
from cutaway.network import Network
from cutaway.training.transformers import char_gpt, vit_tiny


def vit(seed: int = 0, **more) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return vit_tiny((1, 8, 8), 4, width=16, depth=2, heads=4, **more).eval()


IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_scaled_block_is_a_scaled_head_and_is_put_back():
    model = vit()
    layers = find_heads(model, lambda: model(IMAGES[:1]))
    assert [(x.heads, x.width, x.block) for x in layers] == [(4, 4, "blocks.0"), (4, 4, "blocks.1")]
    before = {name: p.clone() for name, p in model.named_parameters()}
    whole = model(IMAGES)
    with scaled_heads(model, layers, [(0, 1), (1, 3)], 1.0):
        assert torch.equal(model(IMAGES), whole)
    with pytest.raises(ZeroDivisionError), scaled_heads(model, layers, [(0, 1)], -2.0):
        raise ZeroDivisionError
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())

    def hook(module, args):
        mixed = args[0].clone()
        mixed[..., layers[1].columns(2)] *= -1.5
        return (mixed,)

    handle = model.get_submodule(layers[1].out).register_forward_pre_hook(hook)
    want = model(IMAGES)
    handle.remove()
    with scaled_heads(model, layers, [(1, 2)], -1.5):
        torch.testing.assert_close(model(IMAGES), want, rtol=0, atol=1e-6)
        assert (want - whole).abs().max() > 1e-3
    for bad in ([(2, 0)], [(0, 4)], [(0, 1), (0, 1)]):
        with pytest.raises(InputError, match="heads"), scaled_heads(model, layers, bad, 0.0):
            pass
    with pytest.raises(InputError, match="finite"), scaled_heads(model, layers, [(0, 0)], float("nan")):
        pass


@pytest.mark.parametrize("tokens", ["mean", "every"])
def test_what_everything_writes_adds_up_to_the_logits(tokens):
    if tokens == "mean":
        model, inputs = vit().double(), IMAGES.double()
    else:
        model = char_gpt((6,), 9, width=16, depth=2, heads=2).double().eval()
        inputs = torch.randint(9, (5, 6), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        layers = find_heads(model, lambda: model(inputs[:1]))
        tail = find_tail(model, lambda: model(inputs[:2]), layers)
        assert tail.tokens == tokens
        parts = [f"blocks.{k}.{name}" for k in range(2) for name in ("attention", "project")]
        with watched(model, layers, (tail.norm, "blocks.0", *parts)) as seen:
            logits = model(inputs)
            got = dict(seen)
        stream = got[f"{tail.norm}<"]
        total = tail.frozen(model, stream, got["blocks.0<"])
        for part in parts:
            total = total + tail.frozen(model, stream, got[part])
        norm, head = model.get_submodule(tail.norm), model.get_submodule(tail.unembed)
        own = (total + norm.bias) @ head.weight.T + (0 if head.bias is None else head.bias)
        torch.testing.assert_close(own, logits, rtol=0, atol=1e-12)
        torch.testing.assert_close(tail.logits(model, stream), logits, rtol=0, atol=1e-12)
        for layer in layers:
            matrix, mixed = read_matrix(model, layer.out), got[layer.out]
            each = [mixed[..., layer.columns(h)] @ matrix[:, layer.columns(h)].T for h in range(layer.heads)]
            bias = model.get_submodule(layer.out).bias
            torch.testing.assert_close(sum(each) + (0 if bias is None else bias), got[layer.path], rtol=0, atol=1e-12)


def planted(size: float = 40.0) -> nn.Module:
    """Class 0 is written by head (0, 1) alone: its values are the sign of the image's middle, the other heads' are 0."""
    model = vit(3)
    with torch.no_grad():
        first = model.blocks[0].attention
        for block in model.blocks:
            block.attention.out.weight.zero_()
            block.project.weight.zero_()
            block.project.bias.zero_()
        first.mix.weight.zero_()
        first.mix.weight[2 * 16 + 4] = torch.randn(16, generator=torch.Generator().manual_seed(0))
        row = model.head.weight[0] - model.head.weight.mean(dim=0)
        first.out.weight[:, 4] = size * row / row.norm()
    return model.eval()


def test_a_planted_head_is_found_and_its_effect_is_the_target_s():
    model = planted()
    inputs = torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    network = Network(model, inputs[:2])
    data = Dataset(inputs=inputs, name="noise")
    reading = ConceptHeads(num_heads=1, num_concepts=2, num_points=100, num_random=4).measure(network, data)
    concepts = reading.values["concept"].values.tolist()
    assert "0" in concepts
    mine = concepts.index("0")
    score, effect = reading.values["score"].values[mine], reading.values["effect"].values[mine]
    assert np.unravel_index(score.argmax(), score.shape) == (0, 1) and score[0, 1] > 0.9
    assert np.unravel_index(effect.argmax(), effect.shape) == (0, 1)
    assert np.abs(np.delete(effect.ravel(), 1)).max() < 1e-5 < effect[0, 1]
    attribution = reading.values["attribution"].values[mine]
    assert attribution[0, 1] == pytest.approx(np.abs(attribution).max())
    assert reading.values["target_curve"].values[3] == reading.values["other_curve"].values[3] == 0
    assert reading.plot() is not None and "heads" in ConceptHeads().describe(reading)


def test_events_are_classes_or_next_tokens():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [5.0, 5.0]]])
    events = Events.of(torch.tensor([[0, 1, 0]]), None, logits, 5)
    assert events.answer.tolist() == [[1, 0]] and events.concepts.tolist() == [0, 1]
    want = [[-np.log1p(np.exp(-1.0)), -np.log1p(np.exp(-2.0))]]
    np.testing.assert_allclose(events.quality(logits, slice(0, 1)), want, rtol=1e-6)
    rows = Events.of(IMAGES[:3], torch.tensor([1, 1, 0]), torch.eye(2)[[1, 0, 0]], 1)
    assert rows.concepts.tolist() == [1] and rows.quality(torch.eye(2)[[1, 0, 0]], slice(0, 3)).tolist() == [
        [1],
        [0],
        [1],
    ]


def test_a_smaller_budget_gives_the_same_reading_and_the_direction_may_be_a_difference():
    instrument = ConceptHeads(num_random=2, num_heads=2, direction="mean-difference")
    data = Dataset(inputs=IMAGES, labels=torch.arange(12) % 3, name="noise")
    one, other = (instrument.measure(vit(), data, budget=b) for b in (1 << 30, 1 << 19))
    np.testing.assert_allclose(one.values["score"], other.values["score"], atol=1e-6)
    assert one.figure("selective_effect").value == other.figure("selective_effect").value
    network = Network(vit().double(), IMAGES[:2].double())
    model, events = network.model, Events.of(IMAGES.double(), data.labels, torch.zeros(12, 4), 3)
    layers = find_heads(model, lambda: model(IMAGES[:1].double()))
    tail = find_tail(model, lambda: model(IMAGES[:2].double()), layers)
    found = HeadReader(network, layers, tail, events, 5).mean_difference()
    stream = model.blocks(model.cut(IMAGES.double()).flatten(2).transpose(1, 2) + model.positions).mean(dim=1)
    want = torch.stack([stream[data.labels == c].mean(0) - stream[data.labels != c].mean(0) for c in range(3)])
    torch.testing.assert_close(found, want.detach())


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


class NoTail(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.more = vit(), nn.Sequential(nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x):
        return self.more(self.body(x))


def test_what_has_no_heads_is_told():
    flat = Dataset(inputs=torch.randn(8, 6), labels=torch.arange(8) % 3, name="noise")
    assert "no attention module" in ConceptHeads().measure(nn.Linear(6, 3), flat).reason
    rows = Dataset(inputs=torch.randn(8, 5, 8), labels=torch.arange(8) % 3, name="noise")
    assert "visible output projection" in ConceptHeads().measure(Fused().eval(), rows).reason
    images = Dataset(inputs=IMAGES, labels=torch.arange(12) % 3, name="noise")
    assert "normalised residual stream" in ConceptHeads().measure(NoTail().eval(), images).reason
    with pytest.raises(InputError, match="fewer than all 8"):
        ConceptHeads(num_heads=8).measure(vit(), images)
    one = Dataset(inputs=IMAGES, labels=torch.zeros(12, dtype=torch.int64), name="noise")
    assert "one concept" in ConceptHeads().measure(vit(), one).reason
    counted = vit()
    for block in counted.blocks:
        block.attention.num_heads = 3
    with pytest.raises(ModelError, match="3 heads for 16 values"):
        find_heads(counted, lambda: counted(IMAGES))
