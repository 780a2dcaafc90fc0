"""Cutting small activations: closed forms, a naive transcription, what it refuses, and the untrained model's trap."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import BudgetError, InputError, ModelError
from cutaway.instruments import MlpSparsity
from cutaway.language.cett import ActivationCutter, threshold_at
from cutaway.network import Network


class Gated(nn.Module):
    """Two gated MLP blocks with residuals on 12 token ids; its head repeats the token where `fitted`."""

    def __init__(self, fitted: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = nn.Embedding(12, 8)
            self.gate, self.up = (nn.ModuleList(nn.Linear(8, 24) for _ in range(2)) for _ in range(2))
            self.down = nn.ModuleList(nn.Linear(24, 8, bias=False) for _ in range(2))
            self.head = nn.Linear(8, 12, bias=False)
        with torch.no_grad():
            self.head.weight.mul_(4.0 if fitted else 0.0)

    def forward(self, tokens):
        state = self.embed(tokens)
        for gate, up, down in zip(self.gate, self.up, self.down, strict=True):
            state = state + down(nn.functional.silu(gate(state)) * up(state))
        return self.head(state)


def rows(model: nn.Module, count: int = 8, length: int = 12) -> torch.Tensor:
    """The model's own samples."""
    draw, tokens = torch.Generator().manual_seed(1), torch.zeros(count, 1, dtype=torch.int64)
    for _ in range(length - 1):
        likely = model(tokens)[:, -1].softmax(dim=-1)
        tokens = torch.cat([tokens, torch.multinomial(likely, 1, generator=draw)], dim=1)
    return tokens


def test_thresholds_of_orthogonal_columns_are_those_of_the_closed_form():
    entries, weight = torch.tensor([[3.0, 4.0, 12.0], [-3.0, -4.0, 12.0]]), torch.eye(3)
    assert threshold_at(entries, weight, 4.9 / 13) == pytest.approx(4, rel=1e-5)  # 3 goes, 3 and 4 would cost 5/13
    assert threshold_at(entries, weight, 5.1 / 13) == pytest.approx(12, rel=1e-5)
    assert threshold_at(entries, weight, 2.9 / 13) == pytest.approx(3, rel=1e-5)
    assert threshold_at(torch.zeros(2, 3), weight, 0.5) == 0.0


def test_thresholds_keep_to_the_error_and_are_the_largest_that_do():
    model = Gated().eval()
    tokens = rows(model)
    cutter = ActivationCutter(model, tokens)
    cut = cutter.calibrate(tokens, 0.3)
    for entries, down, limit, ratio in zip(cutter.activations(tokens), cutter.maps, cut.thresholds, cut.ratio):
        weight, lost = down.weight.detach(), []
        for t in (float(limit), float(limit) * 1.02):
            errors = []
            for a in entries:  # the definition, token by token
                small = [j for j in range(24) if abs(a[j]) * weight[:, j].norm() <= t]
                errors.append((weight[:, small] @ a[small]).norm() / (weight @ a).norm())
            lost.append(float(torch.stack(errors).mean()))
        assert lost[0] <= 0.3 < lost[1]
        assert float(ratio) == pytest.approx(
            float(((entries.abs() * weight.norm(dim=0)) > limit).double().mean()), abs=1e-12
        )


def test_cutting_nothing_and_everything_and_no_trace_after():
    model = Gated().eval()
    tokens = rows(model)
    cutter, plain = ActivationCutter(model, tokens), model(tokens)
    with cutter.cutting([0.0, 0.0]), cutter.keeping(1.0):
        torch.testing.assert_close(model(tokens), plain, rtol=0, atol=0)
    with cutter.cutting([math.inf, math.inf]):
        torch.testing.assert_close(model(tokens), model.head(model.embed(tokens)))
    with cutter.keeping(1 / 24):
        assert not torch.equal(model(tokens), plain)
    with pytest.raises(RuntimeError, match="inside"), cutter.cutting([0.0, 0.0]):
        raise RuntimeError("inside")
    assert not any(m._forward_pre_hooks for m in model.modules())
    naive = nn.functional.cross_entropy(plain[:, :-1].flatten(0, 1).double(), tokens[:, 1:].flatten())
    assert cutter.loss(tokens, rows=3) == pytest.approx(float(naive.detach()), rel=1e-9)


def test_a_model_that_needs_its_blocks_and_one_that_does_not():
    model = Gated().eval()
    tokens = rows(model)
    cutter = ActivationCutter(model, tokens)
    cut = cutter.at_perplexity(tokens, 0.02)
    assert cut is not None and 0 < cut.cett < 1
    with cutter.cutting(cut.thresholds):
        risen = cutter.loss(tokens)
    assert cutter.loss(tokens) < risen <= cutter.loss(tokens) + math.log(1.02)
    blank = Gated(fitted=False).eval()
    assert ActivationCutter(blank, tokens).at_perplexity(tokens, 0.02) is None
    reading = MlpSparsity(rise=0.02).measure(model, Dataset(inputs=tokens, name="own"))
    assert {"ratio_at_cett", "ratio_at_perplexity", "cett_at_perplexity"} <= {f.name for f in reading.figures}
    assert reading.values["curve"].values[0] == pytest.approx(1, abs=1e-6)
    assert reading.figure("ratio_at_cett").low <= reading.figure("ratio_at_cett").value < 1
    nothing = MlpSparsity(rise=0.02).measure(blank, Dataset(inputs=tokens, name="own"))
    assert "ratio_at_perplexity" not in {f.name for f in nothing.figures}
    assert "nothing to find" in nothing.coverage.skipped[0].reason
    assert "learned nothing there" in MlpSparsity().describe(nothing)


def test_what_it_cannot_read_is_refused():
    model = Gated().eval()
    tokens = rows(model)
    with pytest.raises(InputError, match="0 <= CETT < 1"):
        ActivationCutter(model, tokens).calibrate(tokens, 1.0)
    few = MlpSparsity().measure(model, Dataset(inputs=tokens[:3], name="few"))
    assert "four rows" in few.reason
    bare = nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12)).eval()
    assert "no MLP block" in MlpSparsity().measure(bare, Dataset(inputs=tokens, name="own")).reason
    headless = nn.Sequential(model.embed, nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 8)), Mean()).eval()
    with pytest.raises(ModelError, match="logits"):
        ActivationCutter(headless, tokens).loss(tokens)
    network = Network(model, tokens[:2])
    with pytest.raises(BudgetError, match="num_points"):
        MlpSparsity().measure(network, Dataset(inputs=tokens, name="own"), budget=100)


class Mean(nn.Module):
    def forward(self, states):
        return states.mean(dim=1)
