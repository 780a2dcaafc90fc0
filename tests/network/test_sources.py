"""load_model: every form of source gives the same module, and every bad source says what is wrong and what to do."""

import os
import pickle
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cutaway.errors import FileError, InputError, MissingExtra, ModelError
from cutaway.network.sources import load_model

NETWORK_FILE = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, width=5, bias=True):
        super().__init__()
        self.first, self.second = nn.Linear(3, width, bias=bias), nn.Linear(width, 2)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)))

def small():
    torch.manual_seed(0)
    return Small()

def with_info():
    return Small(), {"example": torch.zeros(1, 3), "trained": True}

def nothing():
    return 3

def broken():
    raise RuntimeError("no such luck")

ready = Small(7)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NETWORK_FILE)
    return path


@pytest.fixture
def weights(tmp_path, file):
    torch.manual_seed(3)
    model = load_model(f"{file}:small").model
    path = tmp_path / "w.safetensors"
    save_file({key: torch.randn_like(value) for key, value in model.state_dict().items()}, path)
    return path


def expect(error, spec, *words, **options):
    with pytest.raises(error) as caught:
        load_model(spec, **options)
    for word in words:
        assert word in str(caught.value), f"{word!r} not in {caught.value}"


class TestFactory:
    def test_file_function_class_and_object(self, file):
        for name, width in (
            ("small", 5),
            ("Small", 5),
            ("Small(width=9, bias=False)", 9),
            ("Small(4)", 4),
            ("ready", 7),
        ):
            loaded = load_model(f"{file}:{name}")
            assert loaded.model.first.out_features == width
            assert loaded.kind == "factory"
            assert not loaded.model.training

    def test_tuple_gives_module_and_info(self, file):
        loaded = load_model(f"{file}:with_info")
        assert loaded.info["trained"] is True
        assert loaded.example.shape == (1, 3)

    def test_module_on_the_path(self):
        loaded = load_model("torch.nn:Linear(3, 2)", dtype="float64")
        assert loaded.model.weight.dtype == torch.float64

    def test_weights_are_loaded(self, file, weights):
        loaded = load_model(f"{file}:small", weights=weights)
        for key, value in load_file(weights).items():
            assert torch.equal(loaded.model.state_dict()[key], value)
        assert loaded.name == f"small-{weights.stem}"  # another step's weights are another network

    def test_data_parallel_prefix_is_taken_off(self, file, weights, tmp_path):
        state = load_file(weights)
        save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / "p.safetensors")
        loaded = load_model(f"{file}:small", weights=tmp_path / "p.safetensors")
        assert torch.equal(loaded.model.first.weight, state["first.weight"])

    def test_weights_only_checkpoint(self, file, weights, tmp_path):
        state = load_file(weights)
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pth")
        loaded = load_model(f"{file}:small", weights=tmp_path / "c.pth")
        assert torch.equal(loaded.model.second.bias, state["second.bias"])

    def test_classes_travel_to_a_process_that_cannot_import_the_file(self, file):
        import subprocess

        import cloudpickle

        packed = cloudpickle.dumps(load_model(f"{file}:small").model)
        code = "import sys, pickle; m = pickle.load(sys.stdin.buffer); print(type(m).__name__)"
        done = subprocess.run([sys.executable, "-c", code], input=packed, capture_output=True, timeout=60)
        assert done.stdout.strip() == b"Small", done.stderr.decode()


class TestBadFactory:
    def test_wording(self, file):
        expect(InputError, f"{file}:smal", "no 'smal' there", "Did you mean 'small'?", "small")
        expect(InputError, f"{file}:small(", "after the colon")
        expect(InputError, f"{file}:Small(__import__('os'))", "after the colon", "literal arguments")
        expect(InputError, str(file), "without a factory")
        expect(InputError, "no_such_package:net", "no such module", "PYTHONPATH")
        expect(InputError, "a b c!", "nothing of that name", "Hugging Face")
        expect(FileError, f"{file.parent}/net.py:small", "no such file", "Did you mean 'nets.py'?")
        expect(ModelError, f"{file}:nothing", "found a int", "nn.Module")
        expect(ModelError, f"{file}:broken", "RuntimeError: no such luck")

    def test_missing_import_names_the_package(self, tmp_path):
        (tmp_path / "n.py").write_text("import surely_not_installed")
        expect(ModelError, f"{tmp_path}/n.py:f", "surely_not_installed")

    def test_device_and_dtype(self, file):
        expect(InputError, f"{file}:small", "device 'gpu'", "cpu", device="gpu")
        expect(InputError, f"{file}:small", "dtype 'int32'", "float64", dtype="int32")


class TestBadWeights:
    def test_missing_and_unexpected_keys(self, file, weights, tmp_path):
        state = load_file(weights)
        state["frist.weight"] = state.pop("first.weight")
        save_file(state, tmp_path / "b.safetensors")
        words = ("no 'first.weight'", "unexpected 'frist.weight'", "'frist.weight' meant as 'first.weight'")
        expect(ModelError, f"{file}:small", *words, weights=tmp_path / "b.safetensors")

    def test_shape(self, file, weights):
        expect(ModelError, f"{file}:Small(6)", "'first.weight'", "(5, 3)", "(6, 3)", weights=weights)

    def test_truncated_safetensors(self, file, weights, tmp_path):
        for keep in (5, 60, -7):
            (tmp_path / "t.safetensors").write_bytes(weights.read_bytes()[:keep])
            expect(FileError, f"{file}:small", "not a complete file", "truncated", weights=tmp_path / "t.safetensors")

    def test_missing_file(self, file, tmp_path):
        expect(FileError, f"{file}:small", "no such file", weights=tmp_path / "none.safetensors")

    @pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite values")])
    def test_not_finite(self, file, weights, tmp_path, value, word):
        state = load_file(weights)
        state["second.weight"][1, 2] = value
        save_file(state, tmp_path / "n.safetensors")
        words = ("parameter 'second.weight'", f"{word} in 1 of 10 numbers")
        expect(ModelError, f"{file}:small", *words, weights=tmp_path / "n.safetensors")

    def test_not_finite_buffer_but_attention_masks_pass(self):
        from cutaway.network.weights import check_finite

        model = nn.BatchNorm1d(2)
        check_finite(model)
        model.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
        check_finite(model)
        model.running_var[0] = torch.nan
        with pytest.raises(ModelError, match="buffer 'running_var'"):
            check_finite(model)

    def test_pickle_inside_a_checkpoint_is_not_run(self, file, tmp_path):
        torch.save({"w": Evil(tmp_path / "touched")}, tmp_path / "evil.pth")
        expect(FileError, f"{file}:small", "more than tensors", "weights_only=True", weights=tmp_path / "evil.pth")
        assert not (tmp_path / "touched").exists()

    def test_weights_beside_a_model_that_has_its_own(self, tmp_path, weights):
        expect(InputError, str(tmp_path / "m.onnx"), "brings its own", weights=weights)


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class TestFiles:
    def test_exported_program(self, tmp_path, file):
        model = load_model(f"{file}:small").model
        batch = torch.export.Dim("batch")
        program = torch.export.export(model, (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "m.pt2")
        loaded = load_model(tmp_path / "m.pt2")
        inputs = torch.randn(7, 3)
        assert torch.allclose(loaded.model(inputs), model(inputs))
        assert loaded.kind == "pt2"
        loaded.model.to(torch.float64)
        there = pickle.loads(pickle.dumps(loaded.model))  # as to a worker process
        again = torch.ones(3, *loaded.example.shape[1:], dtype=torch.float64)
        assert torch.equal(there(again), loaded.model(again)) and there(again).dtype == torch.float64
        assert loaded.example.shape == (1, 3)
        raw = (tmp_path / "m.pt2").read_bytes()
        (tmp_path / "t.pt2").write_bytes(raw[: len(raw) // 2])
        expect(FileError, tmp_path / "t.pt2", "not a complete exported program")

    def test_exported_program_with_two_inputs(self, tmp_path):
        torch.export.save(torch.export.export(nn.Bilinear(2, 2, 1), (torch.ones(1, 2),) * 2), tmp_path / "two.pt2")
        expect(ModelError, tmp_path / "two.pt2", "2 inputs", "expected one")

    def test_pickled_module_needs_the_flag(self, tmp_path):
        torch.save(nn.Linear(3, 2), tmp_path / "m.pt")
        expect(FileError, tmp_path / "m.pt", "a pickle", "--trust-pickle")
        assert load_model(tmp_path / "m.pt", trust_pickle=True).model.weight.shape == (2, 3)

    def test_untrusted_pickle_is_not_run(self, tmp_path):
        torch.save(Evil(tmp_path / "touched"), tmp_path / "evil.pt")
        expect(FileError, tmp_path / "evil.pt", "can run any code")
        assert not (tmp_path / "touched").exists()

    def test_trusted_file_that_is_no_module(self, tmp_path):
        torch.save({"w": torch.zeros(2)}, tmp_path / "s.pt")
        expect(ModelError, tmp_path / "s.pt", "a dict", "--weights s.pt", trust_pickle=True)
        (tmp_path / "cut.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:100])
        expect(FileError, tmp_path / "cut.pt", "not a complete torch file", trust_pickle=True)

    def test_weights_alone_and_missing_files(self, tmp_path, weights):
        expect(InputError, weights, "weights without an architecture", "--weights w.safetensors")
        expect(FileError, tmp_path / "none.pt2", "no such file")
        expect(FileError, tmp_path, "no config.json")


class TestHuggingFace:
    @pytest.fixture
    def folder(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
        )
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
        return tmp_path / "lm"

    def test_folder(self, folder):
        loaded = load_model(folder)
        assert loaded.kind == "huggingface"
        assert type(loaded.model).__name__ == "LlamaForCausalLM"
        assert loaded.model.config._attn_implementation == "eager"
        assert loaded.model(loaded.example).logits.shape == (1, 16, 50)
        assert load_model(folder, dtype="float64").model.lm_head.weight.dtype == torch.float64

    def test_missing_weight_is_not_filled_at_random(self, folder):
        state = load_file(folder / "model.safetensors")
        del state["model.norm.weight"]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        expect(ModelError, folder, "no weight model.norm.weight", "complete checkpoint")

    def test_truncated_weights_and_config(self, folder):
        raw = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(raw[:-100])
        expect(FileError, folder, "weights that cannot be read")
        (folder / "config.json").write_text("{")
        expect(FileError, folder, "configuration that cannot be read")

    @pytest.mark.parametrize("automatic", [True, False])
    def test_tokenizer(self, folder, monkeypatch, automatic):
        import tokenizers
        import transformers

        words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "once": 5, "time": 7}, unk_token="[UNK]"))
        words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        words.save(str(folder / "tokenizer.json"))
        if not automatic:

            def fail(*_args, **_options):
                raise ValueError("no such class")

            monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
        loaded = load_model(folder)
        assert loaded.tokenizer("once upon time")["input_ids"] == [5, 0, 7]
        assert loaded.example.shape[0] == 1

    def test_an_id_without_a_connection_is_refused_at_once(self, monkeypatch):
        pytest.importorskip("transformers")

        def unknown(*_args, **_options):
            raise OSError("name not known")

        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("socket.getaddrinfo", unknown)
        begin = time.monotonic()
        expect(FileError, "nobody/nothing", "no such file or folder", "Hugging Face id")
        assert time.monotonic() - begin < 10

    def test_without_the_extra(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        expect(MissingExtra, folder, "'transformers' is not installed", "pip install 'cutaway[hf]'")

    def test_real_language_model(self):
        root = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
        if not os.environ.get("CUTAWAY_DATA") or not root.is_dir():
            pytest.skip("CUTAWAY_DATA does not name a folder with stories260k")
        loaded = load_model(root)
        assert sum(p.numel() for p in loaded.model.parameters()) == 260032
        assert int(loaded.example[0, 0]) == 1
        with torch.no_grad():
            logits = loaded.model(loaded.example).logits
        assert logits.shape == (*loaded.example.shape, 512)
        loss = nn.functional.cross_entropy(logits[0, :-1], loaded.example[0, 1:])
        assert float(loss) < 3.0  # a random network gives log 512 = 6.2


# Accuracies measured by those who collected the networks: on the first 1000 MNIST test images, on 622 of CIFAR-10.
MEASURED = {
    "mnist_cnn_a_adv": 0.9560,
    "mnist_conv_small_nat": 0.9800,
    "mnist_6_100_nat": 0.9600,
    "cifar_cnn_a_adv": 0.7203,
    "cifar_cnn_a_mix": 0.8505,
    "cifar_marabou_small": 0.6768,
    "cifar_resnet2b": 0.7363,
    "cifar_resnet20": 0.9341,
    "cifar_lenet_captum": 0.5965,
}


def test_every_real_classifier_has_its_known_accuracy():
    data = os.environ.get("CUTAWAY_DATA")
    if not data:
        pytest.skip("CUTAWAY_DATA is not set: no trained classifiers here")
    from cutaway.data import load_data

    sets = {"mnist": load_data("mnist").first(1000), "cifar": load_data("cifar10")}
    for name, accuracy in MEASURED.items():
        loaded = load_model(f"{data}/classifiers/load.py:load('{name}')")
        assert loaded.name == name
        data_set = sets[name.split("_")[0]]
        with torch.no_grad():
            right = (loaded.model(data_set.inputs).argmax(1) == data_set.labels).double().mean().item()
        assert right == pytest.approx(accuracy, abs=1.1 / len(data_set)), name


@pytest.mark.parametrize("kept", ["up.weight", "down.weight"])
def test_tied_weights_stored_once_load_under_either_name(tmp_path, kept):
    from safetensors.torch import save_file

    from cutaway.network.weights import load_weights

    def tied():
        model = nn.ModuleDict({"up": nn.Linear(4, 4, bias=False), "down": nn.Linear(4, 4, bias=False)})
        model["down"].weight = model["up"].weight
        return model

    first, second = tied(), tied()
    save_file({kept: first["up"].weight.detach()}, tmp_path / "w.safetensors")
    load_weights(second, tmp_path / "w.safetensors")
    assert torch.equal(second["down"].weight, first["up"].weight)
    assert second["down"].weight is second["up"].weight


@pytest.mark.parametrize("where", ["x.gguf", "folder"])
def test_gguf_is_refused_with_the_way_to_unpack_it(where, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("x.gguf", "folder/m.gguf"):
        (tmp_path / name).write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(FileError, match=r"gguf; found GGUF, whose weights are packed.*safetensors.*gguf_file=name"):
        load_model(str(tmp_path / where))
    with pytest.raises(FileError, match="found no such file"):
        load_model(str(tmp_path / "none.gguf"))
