"""What a model file asks for is held against the budget before it is taken: records of runs, exported programs,
configurations of Hugging Face folders; and what is wrong with them is one line."""

import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.errors import BudgetError, FileError, ModelError
from cutaway.files import within
from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.training.checkpoint import Blueprint

MB = 1_000_000


def run_folder(folder, **options):
    """A run whose weights are those of a small network, and whose record asks for `options`."""
    small = Blueprint(title="small", input_shape=(4,), outputs=3, name="mlp", options={"width": 8, "depth": 2})
    (folder / "checkpoints").mkdir(parents=True)
    save_file(small.build().state_dict(), folder / "checkpoints" / "step-00000001.safetensors")
    record = json.loads(small.to_json())
    (folder / "model.json").write_text(json.dumps(record | {"options": record["options"] | options}))
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 6000, "depth": 4}, "a network of 72,060,003 numbers; expected the 67 of its weights"),
        ({"width": 10**9}, "expected the 67"),
        ({"depth": 10**9}, "depth 1,000,000,000; expected at most 4"),
        ({"width": 10**30}, "expected a network that cutaway fit builds"),
    ],
)
def test_a_record_of_another_network_is_refused_before_it_is_built(tmp_path, monkeypatch, options, words):
    built = []
    real = nn.Linear.__init__

    def counted(self, *sizes, **more):
        real(self, *sizes, **more)
        built.append(self.weight.device.type)

    folder = run_folder(tmp_path, **options)
    monkeypatch.setattr(nn.Linear, "__init__", counted)
    with pytest.raises(FileError, match=words):
        load_model(folder)
    assert set(built) <= {"meta"}


def test_a_record_that_belongs_to_its_weights_opens_within_the_budget(tmp_path):
    folder = run_folder(tmp_path)
    assert load_model(folder).model(torch.zeros(2, 4)).shape == (2, 3)
    with within(100), pytest.raises(FileError, match="the memory for it"):
        load_model(folder)


def program(path, function):
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x):
            return self.a(x) + function(x)

    rows = ({0: torch.export.Dim("rows")},)
    torch.export.save(torch.export.export(Given().eval(), (torch.rand(2, 4),), dynamic_shapes=rows), path)
    return path


def test_what_an_exported_program_makes_on_its_way_is_held_against_the_budget(tmp_path):
    path = program(tmp_path / "repeat.pt2", lambda x: x.repeat(1, 2_000_000).mean(dim=1, keepdim=True))
    assert load_model(path).kind == "pt2"
    with (
        within(50 * MB),
        pytest.raises(BudgetError, match=r"operation repeat.default of exported program .* at most 50"),
    ):
        load_model(path)


def test_rows_are_read_by_what_the_widest_operation_takes(tmp_path):
    """A million numbers a row on the way, four in and three out: 4 MB a row, of which a budget of 200 MB holds few."""
    path = program(tmp_path / "wide.pt2", lambda x: (x[:, :1].expand(-1, 1_000_000) * 2).mean(dim=1, keepdim=True))
    loaded = load_model(path)
    network = Network(loaded.model, torch.rand(2, 4))
    assert network.row_bytes(torch.rand(9, 4), network.sites) >= 4 * MB
    assert network.chunk_size(torch.rand(900, 4), network.sites, 200 * MB, fast=False) <= 25


def test_an_exported_program_of_a_fixed_number_of_rows_says_so(tmp_path):
    path = tmp_path / "fixed.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 3), (torch.rand(2, 4),)), path)
    with pytest.raises(
        ModelError, match=r"one row alone refused .* export it with a free batch".replace("export", "Export")
    ):
        Network(load_model(path).model, torch.rand(2, 4))


def edited(path, change=None, more=None):
    """The archive again with its program changed, or with one more member."""
    with zipfile.ZipFile(path) as old:
        parts = {member.filename: old.read(member) for member in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            if change is not None and name.endswith("models/model.json"):
                content = json.dumps(change(json.loads(content))).encode()
            new.writestr(name, content)
        if more is not None:
            new.writestr(f"{next(iter(parts)).split('/')[0]}/extra/a", more)
    return path


def newer(record):
    return record | {"schema_version": {"major": 99, "minor": 0}}


def unknown(record):
    return json.loads(json.dumps(record).replace("aten.linear.default", "aten.linearly.default"))


def huge(record):
    for value in record["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_int" in size:
                size["as_int"] = 10**11
    return record


@pytest.mark.parametrize(
    ("change", "words"), [(newer, "major=99"), (unknown, "linearly"), (huge, "multiplication overflow")]
)
def test_a_damaged_program_is_told_in_one_line_of_ours(tmp_path, capfd, caplog, change, words):
    path = edited(program(tmp_path / "p.pt2", lambda x: x.sum()), change)
    with pytest.raises(FileError, match=words):
        load_model(path)
    assert capfd.readouterr().err == ""
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_an_archive_is_unpacked_within_the_budget(tmp_path):
    path = edited(program(tmp_path / "p.pt2", lambda x: x.sum()), more=b"\0" * 30 * MB)
    assert path.stat().st_size < MB
    assert load_model(path).kind == "pt2"
    with within(20 * MB), pytest.raises(FileError, match="30 MB unpacked"):
        load_model(path)


def test_a_configuration_of_more_layers_than_weights_is_refused_before_they_are_built(tmp_path):
    transformers = pytest.importorskip("transformers")
    small = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=16
    )
    transformers.LlamaForCausalLM(small).save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"num_hidden_layers": 10**6}))
    with pytest.raises(FileError, match=r"1,000,000 layers in config.json; expected at most \d+"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(record | {"hidden_size": 16}))
    with pytest.raises(FileError, match="other shapes than its config.json asks for"):
        load_model(tmp_path)


def test_a_weight_that_repeats_its_bytes_is_counted_as_it_comes_to_be(tmp_path):
    path = program(tmp_path / "p.pt2", lambda x: x.sum())

    def changed(name, content):
        record = json.loads(content)
        for entry in record.get("config", {}).values():
            entry["tensor_meta"]["sizes"] = [{"as_int": 3 * 10**9}]
            entry["tensor_meta"]["strides"] = [{"as_int": 0}]
        return json.dumps(record).encode()

    with zipfile.ZipFile(path) as old:
        parts = {m.filename: old.read(m) for m in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, changed(name, content) if name.endswith("weights_config.json") else content)
    with pytest.raises(FileError, match="12,000 MB"):
        load_model(path)


def test_a_sample_input_that_is_an_archive_is_unpacked_within_the_budget(tmp_path):
    path = program(tmp_path / "p.pt2", lambda x: x.sum())
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * 40 * MB)
    with zipfile.ZipFile(path) as old:
        parts = {m.filename: old.read(m) for m in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, inner.read_bytes() if "sample_inputs" in name else content)
    with within(20 * MB), pytest.raises(FileError, match="40 MB unpacked"):
        load_model(path)


def test_a_record_is_held_against_the_budget_as_it_parses(tmp_path):
    from cutaway.files import parse_json

    text = "[" + ",".join(["[]"] * 4 * MB) + "]"
    with within(150 * MB), pytest.raises(FileError, match="parsed"):
        parse_json(text, "a record")
    assert parse_json("[" + ",".join(["[]"] * 1000) + "]", "a record")[0] == []


@pytest.mark.parametrize("asked", [{"decoder_layers": 10**6}, {"depths": [1, 10**6]}])
def test_layers_under_any_name_are_counted(tmp_path, asked):
    from types import SimpleNamespace

    from cutaway.network.huggingface import _check_depth

    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    _check_depth(str(tmp_path), SimpleNamespace(num_hidden_layers=1, depths=[1]))
    with pytest.raises(FileError, match="at most 1, the tensors"):
        _check_depth(str(tmp_path), SimpleNamespace(**asked))
