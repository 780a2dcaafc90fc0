"""Shared by the tests of slices: networks, a square, the naive splitter of the benchmarks."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn


def make_mlp(*widths: int, seed: int = 0, bias: bool = True) -> nn.Sequential:
    """A ReLU network in float64 with torch's own initialisation."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).double().eval()
    torch.set_rng_state(generator_state)
    return model


@pytest.fixture
def mlp():
    return make_mlp


@pytest.fixture
def square():
    return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


@pytest.fixture(scope="session")
def naive():
    path = Path(__file__).parents[2] / "benchmarks" / "naive_splitter.py"
    spec = importlib.util.spec_from_file_location("naive_splitter", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
