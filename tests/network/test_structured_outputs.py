"""Which entry of a structured output counts, and layers whose fused kernels have no forward-mode derivative."""

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.data.files import load_image_folder
from cutaway.errors import InputError, ModelError
from cutaway.geometry.linearisation import shared_tangents, tangents
from cutaway.instruments.outputs.accuracy import Accuracy
from cutaway.network import Network, first_tensor
from cutaway.training.scores import score_model

Z, H = torch.rand(4, 3), torch.rand(4, 16)


@pytest.mark.parametrize(
    "output",
    [Z, {"hidden": H, "logits": Z}, {"loss": None, "logits": Z}, {"loss": Z.sum(), "out": Z}, (None, Z), (Z.sum(), Z),
     {"maps": torch.rand(4, 2, 5, 5), "out": Z}, (Z, (H, H)), [Z]],
)  # fmt: skip
def test_the_entry_meant_is_taken(output):
    assert first_tensor(output) is Z


@pytest.mark.parametrize("output", [(H, Z), {"features": H, "out": Z}])
def test_several_entries_that_could_be_meant_are_a_question(output):
    with pytest.raises(
        ModelError, match=r"2 entries of shapes \(4, 16\), \(4, 3\), none called logits.*Wrap the model"
    ):
        first_tensor(output)


class Structured(nn.Module):
    """A classifier that returns what `form` makes of its features and logits."""

    def __init__(self, form):
        super().__init__()
        self.a, self.b, self.form = nn.Linear(6, 16), nn.Linear(16, 3), form

    def forward(self, x):
        hidden = torch.relu(self.a(x))
        return self.form(hidden, self.b(hidden))


FORMS = {
    "tensor": lambda h, z: z,
    "loss_first": lambda h, z: (z.sum(), z),
    "none_first": lambda h, z: (None, z),
    "list": lambda h, z: [z],
    "dict": lambda h, z: {"loss": None, "hidden_states": h, "logits": z},
    "maps_behind": lambda h, z: (z, h[:, :, None]),
}


def structured(name, data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(Structured({**FORMS, "features_first": lambda h, z: (h, z)}[name]).eval(), data.inputs[:2])


def test_readings_take_ordinary_forms_and_ask_where_several_could_be_meant():
    data = Dataset(name="d", inputs=torch.rand(30, 6), labels=torch.arange(30) % 3)
    values = {n: Accuracy().measure(structured(n, data), data).figures[0].value for n in FORMS}
    assert len(set(values.values())) == 1 and 0 < values["tensor"] < 1, values
    with pytest.raises(ModelError, match="Wrap the model so that it returns that tensor, or call it logits"):
        structured("features_first", data)


def test_training_scores_ordinary_forms_alike():
    data = Dataset(name="d", inputs=torch.rand(30, 6), labels=torch.arange(30) % 3)
    scores = {name: score_model(structured(name, data).model, data) for name in FORMS}
    assert len({(s.accuracy, s.loss) for s in scores.values()}) == 1, scores


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        q = self.a(x)
        return torch.relu(self.b(nn.functional.scaled_dot_product_attention(q, q, q))).mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x):
        return torch.relu(self.b(self.a(x)[0][:, -1]))


@pytest.mark.parametrize("kind", [Attention, Recurrent])
def test_forward_mode_goes_through_attention_and_recurrence(kind):
    """Oracle: central differences in float64."""
    model = kind().double().eval()
    x, u = torch.rand(3, 5, 6, dtype=torch.float64), torch.rand(3, 5, 6, dtype=torch.float64)
    network = Network(model, x[:2])
    sites = [s for s in network.sites if s.kind == "relu"]
    (value, slope) = tangents(network, x, u, sites)
    up, down = (tangents(network, x + e * u, u, sites)[0] for e in (1e-6, -1e-6))
    name = sites[0].name
    assert torch.allclose(slope[name], (up[name] - down[name]) / 2e-6, atol=1e-7)
    shared = shared_tangents(network, x, u[:1], sites)[1][name]
    assert shared.shape == (1, *value[name].shape)


def test_sixteen_bits_are_read_whole_and_hidden_entries_are_no_class(tmp_path):
    from PIL import Image

    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a", "b", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    Image.fromarray(ramp).save(tmp_path / "a" / "i.png")
    Image.fromarray(ramp).save(tmp_path / "a" / "j.tif")
    Image.fromarray((ramp >> 8).astype(np.uint8)).save(tmp_path / "b" / "k.png")
    (tmp_path / "b" / "._x.png").write_bytes(b"no image")
    found = load_image_folder(tmp_path)
    assert found.class_names == ("a", "b") and len(found) == 3
    for image in found.inputs:
        np.testing.assert_allclose(image[0].numpy(), ramp / 65535, atol=1 / 255)
    assert len(found.inputs[0].unique()) == len(found.inputs[1].unique()) == 64


def test_numbers_without_a_known_white_are_refused(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)).save(tmp_path / "a" / "i.tif")
    with pytest.raises(InputError, match="mode 'F', whose white is not known"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_images_are_turned_as_a_viewer_turns_them(tmp_path, mode):
    from PIL import Image

    stored = np.zeros((4, 6), dtype=np.uint16 if mode == "I;16" else np.uint8)
    stored[0] = 65535 if mode == "I;16" else 255  # the upper edge; turned by a quarter it is the right one
    image = Image.fromarray(stored) if mode == "I;16" else Image.fromarray(stored).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to the right
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "i.png", exif=exif)
    (found,) = load_image_folder(tmp_path).inputs
    assert found.shape[1:] == (6, 4) and (found[:, :, 3] == 1).all() and (found[:, :, :3] == 0).all()
