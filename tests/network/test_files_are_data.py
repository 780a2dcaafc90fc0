"""What a record names and what a model file holds is data: nothing of it runs."""

import builtins
import io
import json
import os
import re
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.errors import CutawayError, FileError, InputError
from cutaway.network.sources import check_recorded, form_of, load_model
from cutaway.network.weights import read_weights
from cutaway.training.fit import fit


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.open, (self.path, os.O_CREAT)


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "good.pt2"
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(approximate="tanh"), nn.Flatten())
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model.eval(), (torch.zeros(2, 1, 5, 5),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def edited(source, target, edit):
    """A copy of an archive with every member passed through `edit(name, content)`; None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = edit(name.split("/", 1)[1], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def program_edit(change):
    def edit(name, content):
        if name != "models/model.json":
            return content
        record = json.loads(content)
        change(record, record["graph_module"]["graph"])
        return json.dumps(record).encode()

    return edit


def refused(path, words):
    with pytest.raises(FileError, match=words):
        load_model(path)


class TestExportedPrograms:
    def test_a_checked_program_computes_what_the_model_computes(self, good):
        loaded, trusted = load_model(good), load_model(good, trust_pickle=True)
        inputs = torch.randn(7, 1, 5, 5)
        assert torch.equal(loaded.model(inputs), trusted.model(inputs))
        with pytest.raises(AssertionError, match="Guard failed"):
            loaded.model(torch.zeros(1, 2, 5, 5))

    @pytest.mark.parametrize("part", ["sample_inputs/model.pt", "weights/weight_0", "constants/custom_obj_0"])
    def test_a_pickle_in_the_archive_is_refused(self, part, good, tmp_path):
        mark, evil = tmp_path / "ran", tmp_path / "evil.pt2"
        edited(good, evil, lambda name, c: pickled(Touch(mark)) if name == f"data/{part}" else c)
        if part.startswith("constants"):
            with zipfile.ZipFile(evil, "a") as archive:
                archive.writestr(f"good/data/{part}", pickled(Touch(mark)))
        if part.startswith("weights"):

            def unpickle(name, content):
                if not name.endswith("model_weights_config.json"):
                    return content
                return content.replace(b'"use_pickle": false', b'"use_pickle": true')

            evil = edited(evil, tmp_path / "evil2.pt2", unpickle)
        refused(evil, "(a pickle with more than tensors|a pickled object|would unpickle or run).*--trust-pickle")
        assert not mark.exists()

    @pytest.mark.parametrize(
        "target",
        ["torch.os.system", "torch.ops.load_library", "torch.ops.aten.from_file.default", "torch.load", "_operator.call",
         "torch.ops.aten.save.default", "math.__loader__.load_module", "torch.sym_int.__globals__"],
    )  # fmt: skip
    def test_an_operator_beyond_aten_is_refused(self, target, good, tmp_path):
        def change(_record, graph):
            graph["nodes"][0]["target"] = target

        refused(edited(good, tmp_path / "e.pt2", program_edit(change)), f"operator '{target}'")

    @pytest.mark.parametrize(
        "text",
        ["__import__('os').system('touch ran')", "s0.__class__", "eval(s0)", "(s0).a", "2**2**99", "exec(1)", "s0(1)",
         "Max(1).bit_length()", "'a'", "open(s0)", "s0[0]", "9" * 20_000,
         "9**2999999999", "2**2**2**2", "PowByNatural(9, 2999999999)", "FloatPow(9, s0)", "((((9**2)**2)**2)**2)**2", "2**21"],
    )  # fmt: skip
    def test_a_size_that_is_no_arithmetic_is_refused(self, text, good, tmp_path):
        def change(_record, graph):
            value = next(v for v in graph["tensor_values"].values() if "as_expr" in str(v["sizes"]))
            next(s for s in value["sizes"] if "as_expr" in s)["as_expr"]["expr_str"] = text

        refused(edited(good, tmp_path / "e.pt2", program_edit(change)), "found size ")

    def test_guards_of_the_file_are_not_compiled(self, good, tmp_path):
        def change(record, _graph):
            record["guards_code"] = ["__import__('builtins').__setattr__('ran', True)"]

        load_model(edited(good, tmp_path / "e.pt2", program_edit(change)))
        assert not hasattr(builtins, "ran")

    def test_a_name_that_would_become_code_is_refused(self, good, tmp_path):
        evil = edited(
            good, tmp_path / "e.pt2",
            lambda name, c: c.replace(b'"name": "p_0_weight"', b'"name": "p=print(1)"') if name == "models/model.json" else c,
        )  # fmt: skip
        refused(evil, "found under 'name' 'p=print")

    def test_compiled_code_is_refused(self, good, tmp_path):
        evil = shutil.copy(good, tmp_path / "e.pt2")
        with zipfile.ZipFile(evil, "a") as archive:
            archive.writestr("good/data/aotinductor/model/lib.so", b"\x7fELF")
        refused(evil, "member data/aotinductor/model/lib.so; found a part that torch would unpickle or run")

    def test_containers_that_import_are_refused(self, good, tmp_path):
        evil = edited(
            good, tmp_path / "e.pt2",
            lambda name, c: c.replace(b"builtins.tuple", b"collections.defaultdict") if name == "models/model.json" else c,
        )  # fmt: skip
        refused(evil, "found inputs or outputs in")


CODE = [
    "os:getcwd",
    "evil.py:make",
    "/tmp/evil.py:make",
    "subprocess:getoutput('touch ran')",
    "m.pt",
    "a/m.pkl",
    "m.ckpt",
]
DATA = ["folder/model.onnx", "m.onnx.gz", "m.pt2", "step-1.safetensors", "org/model", "gpt2"]


class TestRecords:
    def test_one_function_decides(self):
        for spec in CODE:
            with pytest.raises(InputError, match="would run code of whoever wrote that file.*Name the model yourself"):
                check_recorded(spec, "guard.json")
        for spec in DATA:
            check_recorded(spec, "guard.json")
        for spec in ("", "a b", "x" * 5000, "a\0b", "../../x"):
            with pytest.raises(InputError, match="nothing that can be opened"):
                check_recorded(spec, "guard.json")

    def test_what_load_model_runs_is_what_the_decision_calls_code(self, tmp_path, monkeypatch):
        """Every form that reaches a factory or an unpickler is refused from a record, with all the others open."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef make(): pass\n")
        for name in ("m.pt", "m.pkl", "m.ckpt"):
            (tmp_path / name).write_bytes(pickled(Touch(tmp_path / "ran")))
        for spec in ("evil.py:make", "evil:make", "m.pt", "m.pkl", "m.ckpt"):
            with pytest.raises(CutawayError):
                load_model(spec, trust_pickle=True, record="a record")
            assert not (tmp_path / "ran").exists()
            with pytest.raises(CutawayError):  # so the test can fail: the user's own word runs it
                load_model(spec, trust_pickle=True)
            assert (tmp_path / "ran").exists()
            (tmp_path / "ran").unlink()

    def test_a_folder_named_like_a_factory_is_a_folder(self, tmp_path):
        (tmp_path / "a:b").mkdir()
        assert form_of(str(tmp_path / "a:b")) == "run"


class TestRuns:
    def test_the_factory_of_a_run_is_called_only_with_trust(self, tmp_path):
        (tmp_path / "net.py").write_text("import torch\ndef make(): return torch.nn.Linear(2, 2)\n")
        record = {"title": "net", "input_shape": [2], "outputs": 2, "factory": f"{tmp_path}/net.py:make"}
        (tmp_path / "model.json").write_text(json.dumps({**record, "normalise": None, "example": []}))
        (tmp_path / "checkpoints").mkdir()
        save_file(nn.Linear(2, 2).state_dict(), tmp_path / "checkpoints/step-00000001.safetensors")
        with pytest.raises(InputError, match="weights of the factory .*net.py:make.*--trust-code"):
            load_model(tmp_path)
        assert load_model(tmp_path, trust_code=True).kind == "checkpoint"

    def test_every_command_that_names_trust_code_takes_it(self):
        from cutaway.cli import certify, fit, measure, scan, slice
        from cutaway.cli.theory import goldilocks

        for each in (certify, fit, goldilocks, measure, scan, slice):
            arguments = [argument.name for argument in each.app.assemble_argument_collection() if argument.parse]
            assert "--trust-code" in arguments, each.__name__

    def test_the_copy_of_a_recipe_in_a_run_names_no_factory(self, tmp_path):
        (tmp_path / "net.py").write_text("raise SystemExit('code of the run ran')\n")
        text = f"[data]\nname = 'digits'\n[training]\nsteps = 1\n[model]\nfactory = '{tmp_path}/net.py:make'\n"
        (tmp_path / "recipe.toml").write_text(text)
        (tmp_path / "model.json").write_text("{}")
        with pytest.raises(InputError, match="recipe .*recipe.toml of a run; found the factory .*--trust-code"):
            fit(tmp_path / "recipe.toml", tmp_path / "out")
        with pytest.raises(SystemExit, match="code of the run ran"):
            fit(tmp_path / "recipe.toml", tmp_path / "out", trust_code=True)

    @pytest.mark.parametrize(
        "text", ["a = " + "[" * 5000, "seed = " + "9" * 5000, "#" * 1_000_001], ids=["deep", "long", "big"]
    )
    def test_a_recipe_has_bounds(self, tmp_path, text):
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(FileError, match="recipe .*r.toml"):
            fit(tmp_path / "r.toml", tmp_path / "out")


class TestHuggingFace:
    def test_code_of_the_folder_is_never_run_and_nobody_is_asked(self, tmp_path, monkeypatch):
        pytest.importorskip("transformers")
        monkeypatch.setattr(builtins, "input", lambda *_: "y")
        auto = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": auto}))
        (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
        refused(tmp_path, "Hugging Face folder")
        assert not (tmp_path / "ran").exists()

    def test_pickled_weights_are_read_as_tensors_only(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.LlamaConfig(
            vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
        model = transformers.LlamaForCausalLM(config)
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(tmp_path)
        (tmp_path / "pytorch_model.bin").write_bytes(pickled(model.state_dict()))
        assert load_model(tmp_path).kind == "huggingface"
        (tmp_path / "pytorch_model.bin").write_bytes(pickled({"lm_head.weight": Touch(tmp_path / "ran")}))
        refused(tmp_path, "weights that cannot be read")
        assert not (tmp_path / "ran").exists()


class TestHuggingFaceFolders:
    """What a folder names is neither run nor fetched."""

    @pytest.fixture
    def folder(self, tmp_path):
        transformers = pytest.importorskip("transformers", reason="needs the extra hf")
        config = transformers.LlamaConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
        )
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    @pytest.mark.parametrize("whole", [True, False])
    def test_an_adapter_is_refused_by_the_model_that_it_names(self, folder, whole, monkeypatch):
        """Beside whole weights too: the library would take the adapter's base first."""
        monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("the network was asked"))
        (folder / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"})
        )
        if not whole:
            (folder / "model.safetensors").unlink()
        refused(folder, "adapter of 'evil/base'; expected a whole model.*[Mm]erge")

    @pytest.mark.parametrize("value", ["evil/kernel", "evil/kernel:flash", "paged|evil/kernel", "evil/kernel@main"])
    @pytest.mark.parametrize("key", ["attn_implementation", "experts_implementation"])
    def test_a_kernel_of_another_repository_is_refused(self, folder, key, value, monkeypatch):
        """With the package `kernels` installed, the library would fetch its compiled code and load it."""
        hub = "transformers.integrations.hub_kernels"
        for name in ("get_kernel", "load_and_register_attn_kernel"):
            monkeypatch.setattr(f"{hub}.{name}", lambda *_, **__: pytest.fail("a kernel was asked for"))
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | {key: value}))
        refused(folder, f"{key} .{re.escape(value)}. in its configuration; expected no code from elsewhere")

    def test_a_kernel_in_a_part_of_a_configuration_is_refused(self, folder):
        from cutaway.network.huggingface import _check_kernels

        transformers = pytest.importorskip("transformers")
        whole = transformers.LlavaConfig()
        _check_kernels("m", whole)
        whole.text_config._attn_implementation = "evil/kernel"
        with pytest.raises(FileError, match="'evil/kernel' in its configuration"):
            _check_kernels("m", whole)

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "embeddings.pkl", "index/passages.pkl"])
    def test_pickles_in_a_folder_do_not_run(self, folder, name, tmp_path):
        mark = tmp_path / "ran"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickled(Touch(mark)))
        if name == "pytorch_model.bin":
            (folder / "model.safetensors").unlink()
            refused(folder, "weights that cannot be read")
        else:
            load_model(folder)
        assert not mark.exists()

    def test_retrieval_models_do_not_unpickle_their_index(self, folder, tmp_path):
        mark, record = tmp_path / "ran", json.loads((folder / "config.json").read_text())
        record |= {
            "model_type": "rag",
            "architectures": ["RagTokenForGeneration"],
            "index_name": "legacy",
            "index_path": str(folder),
        }
        (folder / "config.json").write_text(json.dumps(record))
        for name in (
            "psgs_w100.tsv.pkl",
            "index.index.dpr",
            "hf_bert_base.hnswSQ8_correct_phi_128.c_index.index_meta.dpr",
        ):
            (folder / name).write_bytes(pickled(Touch(mark)))
        with pytest.raises(CutawayError):
            load_model(folder)
        assert not mark.exists()

    def test_weights_that_unpack_to_more_than_they_are_are_refused(self, tmp_path):
        torch.save({"w": torch.zeros(10**6)}, tmp_path / "w.pt")
        with (
            zipfile.ZipFile(tmp_path / "w.pt") as old,
            zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for name in old.namelist():
                new.writestr(name, old.read(name))
        with pytest.raises(FileError, match="weights file .*bomb.pt.*unpacked"):
            read_weights(tmp_path / "bomb.pt")
        assert read_weights(tmp_path / "w.pt")["w"].shape == (10**6,)
