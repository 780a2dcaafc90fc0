"""Slices of networks with pooling, residuals, clamps, maxout; budgets, bad input, sign partitions, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.cli import run
from cutaway.errors import BudgetError, InputError, ModelError, NotPiecewiseAffine
from cutaway.geometry.gate_signs import sign_partition
from cutaway.geometry.plane import plane_of, plane_through, rectangle, square_around
from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.status import Status
from cutaway.training.checkpoint import Blueprint


class Mixed(nn.Module):
    """Every operator that the issue names, in one small network."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1, stride=1), nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.norm, self.slope, self.last = nn.BatchNorm2d(4), nn.PReLU(4), nn.Linear(12, 3)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.a(x)))
        x = self.slope(x + self.b(x))
        x = nn.functional.relu6(4 * nn.functional.max_pool2d(x, 3, stride=2, padding=1))
        x = torch.cat([nn.functional.avg_pool2d(x, 2), x[:, :, 1:, 1:] * 0 + 0.1], dim=1).flatten(1)
        x = torch.cat([x[:, :4].abs(), nn.functional.leaky_relu(x[:, :8] - 1, 0.2)], dim=1)
        return self.last(x)


def build(kind, seed=0):
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = kind().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    torch.set_rng_state(state)
    return model


@pytest.fixture(scope="module")
def mixed():
    points = np.random.default_rng(1).standard_normal((3, 2, 4, 4))
    plane = plane_through(points)
    return build(Mixed), plane, square_around(plane, 2.0)


@pytest.mark.parametrize("compiled", [None, False])
def test_faces_are_the_affine_pieces_of_a_mixed_network(mixed, compiled):
    """Exactly affine inside every face, and a different map across every edge that is not a dead one."""
    model, plane, domain = mixed
    result = slice_network(model, plane, domain, SliceSettings(compiled=compiled))
    assert result.num_faces > 100 and result.euler == 1
    assert result.check.median_residual < 1e-12 and result.check.affine_error < 1e-10
    with torch.no_grad():
        for face in range(0, result.num_faces, 7):
            corners = result.vertices[result.corners(face)]
            weights = np.random.default_rng(face).dirichlet(np.ones(len(corners)), size=3)
            inside = model(torch.from_numpy(plane.lift(weights @ corners))).numpy()
            ends = model(torch.from_numpy(plane.lift(corners))).numpy()
            np.testing.assert_allclose(inside, weights @ ends, atol=1e-11)


def test_pooling_edges_are_only_where_the_winner_changes(mixed):
    """Oracle: winners of every pooling window, read from the module's own indices on both sides of each pooling
    edge."""
    model, plane, domain = mixed
    result = slice_network(model, plane, domain)
    pool = [i for i, s in enumerate(result.sites) if s.kind == "max_pool"]
    half = result.edge_half_edges[np.isin(result.edge_sites, pool)]
    assert len(half) > 10

    def winners(faces):
        x = torch.from_numpy(plane.lift(result.measures.interior[faces]))
        with torch.no_grad():
            y = nn.functional.relu(model.norm(model.a(x)))
            y = model.slope(y + model.b(y))
            return nn.functional.max_pool2d(y, 3, stride=2, padding=1, return_indices=True)[1].flatten(1).numpy()

    left, right = result.cells.face[half], result.cells.face[result.cells.twin[half]]
    changed = winners(left) != winners(right)
    outputs = result.cells.makers[half] - result.sites[pool[0]].first
    outputs = outputs % result.sites[pool[0]].width
    assert changed[np.arange(len(half)), outputs].all()


def test_maxout_and_plane_through_one_input(square):
    class Maxout(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 12), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(self.a(x).reshape(-1, 4, 3).amax(dim=2))

    result = slice_network(build(Maxout, seed=2), domain=2 * square)
    kinds = {s.kind for s in result.sites}
    assert kinds == {"max_reduce"} and result.num_faces > 4 and result.check.affine_error < 1e-12
    plane = plane_through(np.zeros((1, 2)), seed=3)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-14)


def test_slice_without_crossings_is_a_valid_answer(mlp):
    result = slice_network(mlp(2, 5, 2), domain=rectangle(100, 100.0001, 100, 100.0001))
    assert result.num_faces == 1 and result.num_edges == 4 and len(result.decision.segments) == 0


def test_bad_input_has_words(mlp, square):
    model = mlp(2, 5, 2)
    for polygon, words in (
        (square[::-1], "clockwise"),
        (np.array([[0, 0], [2, 0], [0.5, 0.5], [0, 2.0]]), "reflex"),
        (square[:2], "m >= 3"),
        (square * np.nan, "NaN"),
        (square[[0, 2, 1, 3]], "convex|reflex|winds"),
    ):
        with pytest.raises(InputError, match=words):
            slice_network(model, domain=polygon)
    star = np.array([[np.cos(a), np.sin(a)] for a in 4 * np.pi * np.arange(5) / 5])
    with pytest.raises(InputError, match="winds around"):
        slice_network(model, domain=star)
    line = np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]])
    with pytest.raises(InputError, match="points on one line"):
        plane_through(line)
    with pytest.raises(InputError, match="coincide"):
        plane_through(line[[0, 0]])
    with pytest.raises(InputError, match="anchor 1"):
        plane_through(np.array([[0.0, 0, 0], [1, np.nan, 1], [2, 2, 1]]))
    with pytest.raises(InputError, match="dimension 1"):
        plane_through(np.zeros((1, 1)))
    with pytest.raises(InputError, match="network's input"):
        slice_network(model, plane_through(np.eye(3)), square)
    with pytest.raises(InputError, match="directions"):
        plane_of(np.zeros(3), np.eye(2))


def test_operator_that_is_not_piecewise_affine_is_named(square):
    model = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2))
    with pytest.raises(NotPiecewiseAffine, match=r"site '1'.*gelu.*sign partition"):
        slice_network(model, domain=square)


def test_budget_says_how_far_it_came(mlp, square):
    with pytest.raises(
        BudgetError, match=r"at site '2'|at site '1'.*faces so far.*regions lie in this domain.*max_faces"
    ) as caught:
        slice_network(mlp(2, 40, 40, 2), domain=square, settings=SliceSettings(max_faces=50))
    assert "faces so far" in str(caught.value)


def test_sign_partition_of_a_relu_layer_is_exact_and_of_a_gelu_network_sound(square):
    """On one layer the gates are affine, so the mesh must not show: same faces as the exact slice."""
    state = torch.get_rng_state()
    torch.manual_seed(4)
    relu = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    gelu = nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 2)).double()
    torch.set_rng_state(state)
    rough, exact = sign_partition(relu, domain=square, resolution=8), slice_network(relu, domain=square)
    assert rough.num_faces == exact.num_faces
    np.testing.assert_allclose(np.sort(rough.measures.area), np.sort(exact.measures.area), atol=1e-12)
    found = sign_partition(gelu, domain=2 * square, resolution=48)
    assert found.status is Status.ESTIMATE and "sign regions" in found.kind
    assert found.measures.area.sum() == pytest.approx(16)
    assert found.cells.check_pointers() == []
    finer = sign_partition(gelu, domain=2 * square, resolution=64)
    assert abs(finer.num_faces - found.num_faces) <= 0.15 * found.num_faces
    with pytest.raises(ModelError, match="no gated nonlinearity"):
        sign_partition(nn.Linear(2, 2).double(), domain=square)


FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 3))

def image():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))

def gelu():
    return nn.Sequential(nn.Linear(2, 12), nn.GELU(), nn.Linear(12, 3))

def tanh():
    return nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 3))

def softmax():
    return nn.Sequential(net(), nn.Softmax(dim=1))

def pooled():
    return nn.Sequential(nn.Linear(2, 12), nn.MaxPool1d(2), nn.Linear(6, 3))

class Forked(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x):
        if x.sum() > 0:
            return self.body(x)
        return -self.body(x)
"""


def bad_files():
    good = np.random.default_rng(0).standard_normal((3, 1, 4, 4))
    nan = good.copy()
    nan[1, 0, 2, 2] = np.nan
    ends = good[:2].astype(np.float32)  # their middle lies on the line but for the rounding of single precision
    return {
        "single_line.npy": np.stack([ends[0], ends.mean(axis=0), ends[1]]),
        "good.npy": good, "nan.npy": nan, "line.npy": good[[0, 0, 0]] + np.arange(3)[:, None, None, None],
        "same.npy": good[[0, 0, 1]], "wide.npy": np.zeros((1, 1, 5, 5)), "four.npy": good[[0, 1, 2, 0]],
        "text.npy": np.array(["a", "b"]), "clockwise.npy": np.array([[0, 0], [0, 1], [1, 1], [1, 0.0]]),
        "reflex.npy": np.array([[0, 0], [2, 0], [0.5, 0.5], [0, 2.0]]),
    }  # fmt: skip


def test_command_writes_files_and_the_promised_keys(tmp_path, capsys):
    (tmp_path / "nets.py").write_text(FACTORY)
    np.save(tmp_path / "three.npy", np.random.default_rng(0).standard_normal((3, 1, 4, 4)))
    image = f"{tmp_path}/nets.py:image"
    out = tmp_path / "deep" / "picture"
    assert run(["slice", image, "--through", str(tmp_path / "three.npy"), "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    promised = (
        "num_faces num_edges num_vertices area domain_area euler median_residual max_residual num_boundary_segments"
    )
    assert set(promised.split()) | {"cpu_seconds", "wall_seconds", "files"} <= set(answer)
    assert answer["euler"] == 1 and answer["area"] == pytest.approx(answer["domain_area"])
    assert sorted(p.suffix for p in out.parent.iterdir()) == [".html", ".png", ".svg"]
    page = out.with_suffix(".html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert run(["slice", f"{tmp_path}/nets.py:net", "--domain=-1,1,-1,1", "--out", str(out), "--no-picture"]) == 0
    assert "affine regions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--domain=1,-1,-1,1"], "xmin < xmax"),
        (["--domain=1,2"], "xmin,xmax,ymin,ymax"),
        ([], "neither --through nor --domain"),
        (["--through", "nowhere.npy"], "no such file"),
        (["--through", "3,5,8"], "without --data"),
        (["--domain=-1,1,-1,1", "--colour", "pink"], "--colour"),
        (["--domain=-1,1,-1,1", "--max-faces", "0"], "--max-faces"),
        (["--domain=-1,1,-1,1", "--max-faces", "3"], "faces so far"),
        (["--domain", "-1,1,-1,1", "--max-faces", "3"], "faces so far"),
        (["image", "--domain=-1,1,-1,1"], "as --through does"),
        (["image", "--through", "TMP/single_line.npy"], "points on one line"),
        (["--through", "3,x", "--data", "digits"], "row numbers"),
        (["--through", "1,2,3", "--data", "digits"], "network's input"),
        (["image", "--through", "TMP/nan.npy"], "anchor 1"),
        (["image", "--through", "TMP/line.npy"], "points on one line"),
        (["image", "--through", "TMP/same.npy"], "two that coincide"),
        (["image", "--through", "TMP/wide.npy"], "which the network refuses"),
        (["image", "--through", "TMP/four.npy"], "k = 1, 2, 3"),
        (["image", "--through", "TMP/text.npy"], "real numbers"),
        (["image", "--through", "TMP/junk.npy"], "a readable npy file"),
        (["image", "--through", "TMP/good.npy", "--pad", "0"], "positive number"),
        (["--domain", "TMP/clockwise.npy"], "clockwise"),
        (["--domain", "TMP/reflex.npy"], "reflex"),
        (["--domain", "TMP/nan.npy"], "domain polygon"),
        (["gelu", "--domain=-1,1,-1,1"], "--gates"),
        (["tanh", "--domain=-1,1,-1,1"], "no gates whose signs could be drawn"),
        (["tanh", "--domain=-1,1,-1,1", "--gates"], "is curved and has no gates"),
        (["pooled", "--domain=-1,1,-1,1", "--gates"], "without --gates"),
        (["softmax", "--domain=-1,1,-1,1"], "Leave the softmax off"),
        (["Forked", "--domain=-1,1,-1,1"], "without data-dependent control flow"),
    ],
)
def test_command_refuses_with_words_and_code_two(tmp_path, capsys, arguments, words):
    (tmp_path / "nets.py").write_text(FACTORY)
    out = tmp_path / "nothing"
    for name, values in bad_files().items():
        np.save(tmp_path / name, values)
    (tmp_path / "junk.npy").write_bytes(b"\x93NUMPY garbage")
    arguments = [a.replace("TMP", str(tmp_path)) for a in arguments]
    model = arguments.pop(0) if arguments and arguments[0][:1].isalpha() else "net"
    code = run(["slice", f"{tmp_path}/nets.py:{model}", *arguments, "--out", str(out)])
    errors = capsys.readouterr().err
    assert code == 2 and words in errors and "Traceback" not in errors and "def forward" not in errors
    assert not list(tmp_path.glob("nothing*"))


def test_sign_partition_on_the_command_line_has_no_nan_in_its_words(tmp_path, capsys):
    (tmp_path / "nets.py").write_text(FACTORY)
    command = ["slice", f"{tmp_path}/nets.py:gelu", "--domain", "-1,1,-1,1", "--gates", "--no-picture", "--no-explorer"]
    assert run(command) == 0
    words = capsys.readouterr().out
    assert "status estimate" in words and "taken as linear on a mesh" in words
    assert "self-check" not in words and "nan" not in words


def test_several_weights_after_one_option_make_one_explorer(tmp_path, capsys):
    (tmp_path / "nets.py").write_text(FACTORY)
    files = []
    for step in range(3):
        model = nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 3))
        nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(step))
        files.append(str(tmp_path / f"ck{step}.safetensors"))
        save_file(model.state_dict(), files[-1])
    out = ["--domain=-1,1,-1,1", "--out", str(tmp_path / "page"), "--no-picture", "--json"]
    assert run(["slice", f"{tmp_path}/nets.py:net", "--weights", *files, *out]) == 0
    together = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in together["checkpoints"]] == ["ck0", "ck1", "ck2"]
    assert run(["slice", f"{tmp_path}/nets.py:net", *(w for f in files for w in ("--weights", f)), *out]) == 0
    assert json.loads(capsys.readouterr().out)["num_faces"] == together["num_faces"]


def test_a_run_folder_gives_the_slider_over_its_checkpoints(tmp_path, capsys):
    plan = Blueprint(title="small", input_shape=(2,), outputs=3, name="mlp", options={"width": 12, "depth": 2})
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "model.json").write_text(plan.to_json())
    model, files = plan.build(), []
    for step in range(3):
        nn.init.normal_(next(model.parameters()), generator=torch.Generator().manual_seed(step))
        files.append(str(tmp_path / "run" / "checkpoints" / f"step-{step:08d}.safetensors"))
        save_file(model.state_dict(), files[-1])
    out = ["--domain=-1,1,-1,1", "--out", str(tmp_path / "page"), "--no-picture", "--json"]
    assert run(["slice", str(tmp_path / "run"), *out]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in answer["checkpoints"]] == [f"step-{k:08d}" for k in range(3)]
    assert len({c["num_faces"] for c in answer["checkpoints"]}) > 1
    assert run(["slice", str(tmp_path / "run"), "--weights", files[0], files[2], *out]) == 0
    chosen = json.loads(capsys.readouterr().out)["checkpoints"]
    assert chosen[0]["num_faces"] == answer["checkpoints"][0]["num_faces"] and len(chosen) == 2
