"""A network that refuses its input names the layer, what it was given and the next step."""

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.errors import ModelError


class Inside(nn.Module):
    """The layer that refuses lies two calls deep, behind one that accepts."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.body = nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 2))

    def forward(self, x):
        return self.body(self.front(x))


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (
            nn.Sequential(nn.Linear(64, 8), nn.ReLU()),
            torch.rand(2, 1, 8, 8),
            r"input of shape \(2, 1, 8, 8\); found .*layer '0' \(Linear\).*Put nn.Flatten\(\) before layer '0'",
        ),
        (nn.Sequential(nn.Linear(64, 8)), torch.rand(2, 7), r"expected rows of 64 numbers. A row has 7 there"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(2, 8, 8, 3), r"expected \(n, 3, H, W\). The channels come last"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(2, 1, 8, 8), r"have 1 channels: give images of 3"),
        (nn.Sequential(nn.Conv1d(3, 4, 3)), torch.rand(2, 9), r"expected \(n, 3, W\). Give the inputs in this shape"),
        (nn.Sequential(nn.Embedding(9, 4)), torch.rand(2, 5), r"expected token ids \(n, length\), int64"),
        (Inside(), torch.rand(2, 6), r"found \(2, 4\) at layer 'body.1' \(Linear\)"),
    ],
)
def test_the_layer_and_the_next_step_are_named(model, inputs, words):
    with pytest.raises(ModelError, match=words):
        Network(model.eval(), inputs)


def test_an_exported_program_whose_guard_refuses_the_shape_is_named(tmp_path):
    from cutaway.network.sources import load_model

    flat = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    program = torch.export.export(flat, (torch.rand(2, 64),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    torch.export.save(program, tmp_path / "flat.pt2")
    with pytest.raises(ModelError, match=r"input of shape \(2, 1, 8, 8\); found .*Check the shape"):
        Network(load_model(tmp_path / "flat.pt2").model, torch.rand(2, 1, 8, 8))
