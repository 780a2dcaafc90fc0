"""Where a model comes from: one text, as on the command line, to one `nn.Module` in evaluation mode with finite
weights.

`pkg.module:factory`, `path/file.py:factory` or `file.py:factory('a', 2)` (the factory, a class or a module object;
`weights` loads a .safetensors over it), a `.pt2` exported program, an `.onnx` (or `.onnx.gz`) file, a `.safetensors`
checkpoint that `cutaway fit` wrote or its run folder (the last checkpoint), a Hugging Face folder or id. Pickled
modules run code when they are read, so they are refused unless `trust_pickle` is given; a `.pt2` is checked member by
member, checkpoints are read with weights_only=True. What a record names (a guard folder, a run, a certificate) is data:
`check_recorded` decides that no factory and no pickle is opened from there. Where a package of the extra `encoder` is
named, the folder in it is opened (`packaged`).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cutaway._late import attached
from cutaway.errors import FileError, InputError, ModelError
from cutaway.files import read_bytes, room
from cutaway.network.archive import checked_archive
from cutaway.network.exported import run_within, sendable
from cutaway.network.factory import call_factory
from cutaway.network.packaged import SentenceForm, packaged_model, sentence_form
from cutaway.network.weights import check_finite, load_weights

FORMS = (
    "pkg.module:factory, file.py:factory, a .pt2 or .onnx file, a run or checkpoint of cutaway fit, or a Hugging Face "
    "folder or id"
)
SUFFIXES = {".onnx": "onnx", ".onnx.gz": "onnx", ".pt2": "pt2", ".safetensors": "checkpoint"}
SUFFIXES |= dict.fromkeys((".pt", ".pth", ".pkl", ".bin", ".ckpt"), "pickle")
CODE = ("factory", "pickle")  # forms whose opening runs what they hold
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model and what came with it.

    model: in evaluation mode, on the asked device and dtype. example: an input batch the model accepts, shape (1,
    ...), where the source tells one, else None. name: short name for reports (of a factory with weights: both). kind:
    "factory", "pt2", "onnx", "checkpoint", "huggingface" or "pickle". tokenizer: of a model that reads text, else None.
    info: what a factory returned beside the model, else None. sentence: how a sentence encoder pools its tokens, None
    for other models.
    """

    model: nn.Module
    example: Tensor | None = None
    name: str
    kind: str
    tokenizer: Any = None
    info: Any = None
    sentence: SentenceForm | None = None


def load_model(
    spec: str | Path,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    *,
    record: str = "",
    trust_code: bool = False,
) -> LoadedModel:
    """Load the model that `spec` names.

    record: where `spec` was read, if not given by the user: it is then opened as data only (`check_recorded`), unless
    trust_code. trust_code: also build a run's network by the factory that the run names.

    weights: a .safetensors (or weights-only .pt/.pth) file whose keys and shapes must match those of the model exactly;
    a prefix "module." on every key is taken off (a checkpoint that opens by itself takes another step's weights too).
    device: any torch device, or "auto" for a Hugging Face model spread by accelerate. dtype: "float32", "float64",
    "bfloat16", "float16"; None leaves it. Raises InputError for a spec that names nothing, FileError for an unreadable
    or refused file, ModelError for weights that do not fit or are not finite, MissingExtra.
    """
    text = str(spec)
    target, number_type = checked_device(device), checked_dtype(dtype)
    if weights is not None and ":" not in text and not text.endswith((".pt", ".pth", ".pkl", ".safetensors")):
        raise InputError(
            f"weights {str(weights)!r}",
            found=f"a model {text!r} that brings its own",
            expected="a factory, pkg.module:factory",
            remedy="leave --weights out, or name the factory",
        )
    if record and not trust_code:
        check_recorded(text, record)
    loaded = _load(text, trust_pickle, trust_code, target, number_type)
    if weights is not None:
        load_weights(loaded.model, weights)
        loaded = replace(loaded, name=f"{loaded.name}-{Path(weights).stem}")
    check_finite(loaded.model, loaded.name)
    if loaded.kind != "pt2":  # an exported program is in the mode it was exported in, and refuses eval()
        loaded.model.eval()
    if target != "auto":
        loaded.model.to(device=target)
    if number_type is not None:
        loaded.model.to(dtype=number_type)
    return loaded


def checked_device(device: str | torch.device) -> torch.device | str:
    """The torch device, or "auto". Raises InputError when it is unknown or not there."""
    return "auto" if device == "auto" else usable_device(device)


def usable_device(device: str | torch.device, *, in_float64: bool = False) -> torch.device:
    """The torch device, on which a tensor can be made, of float64 if asked. Raises InputError when it is unknown, not
    there or without that type."""
    try:
        checked = torch.device(device)
        torch.empty(1, device=checked, dtype=torch.float64 if in_float64 else None).tolist()  # "meta" has no values
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        kinds = "cpu, cuda or cuda:N, with float64," if in_float64 else "cpu, cuda, cuda:N or mps,"
        raise InputError(
            f"device {str(device)!r}",
            found=str(error).splitlines()[0][:160],
            expected=f"{kinds} present on this machine",
            remedy="use --device cpu",
        ) from error
    return checked


def checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The torch dtype of a name such as "float64". Raises InputError when it is no floating-point type."""
    if dtype is None:
        return None
    checked: Any = dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype), None)
    if not isinstance(checked, torch.dtype) or not checked.is_floating_point:
        raise InputError(
            f"dtype {str(dtype)!r}", expected="float32, float64, bfloat16 or float16", remedy="give one of these"
        )
    return checked


def check_recorded(spec: str, record: str) -> None:
    """Raises `InputError` unless `spec`, read in `record`, names data: a Hugging Face folder or id, a run or checkpoint
    of ours, a `.pt2` or `.onnx` file. The one place that decides it for every loader."""
    if (form := form_of(spec)) not in CODE and form:
        return
    what = "a pickle" if form == "pickle" else "a factory" if form else "nothing that can be opened"
    raise InputError(
        f"model {spec[:120]!r} in {record}",
        found=f"{what}, which would run code of whoever wrote that file" if form else what,
        expected="a Hugging Face folder or id, a run of cutaway fit, a .pt2 or .onnx file",
        remedy="name the model yourself on the command line (or in Python) if you trust it",
    )


def form_of(text: str) -> str:
    """What `text` names by its form: "onnx", "pt2", "checkpoint", "pickle", "run", "huggingface", "factory", or ""."""
    path = Path(text)
    try:
        if text and path.is_dir():
            kept = any((path / "checkpoints").glob("step-*.safetensors"))
            return "run" if kept or not (path / "config.json").is_file() else "huggingface"
    except (OSError, ValueError):  # too long a name, a null byte
        return ""
    lower = path.name.lower()
    kind = next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), "")
    return kind or ("factory" if ":" in text else "huggingface" if HUB_ID.fullmatch(text) else "")


def _load(
    text: str, trust_pickle: bool, trust_code: bool, device: str | torch.device | None, dtype: torch.dtype | None
) -> LoadedModel:
    path, form = Path(text), form_of(text)
    if form in ("pt2", "pickle", "checkpoint") and not path.is_file():
        raise FileError(f"model file {path}", found="no such file", remedy="check the path")
    if path.suffix.lower() == ".gguf":
        raise _gguf(path)
    match form:
        case "run":
            return _run(path, trust_code)
        case "huggingface" if path.suffix != ".py":
            return _huggingface(text, device, dtype)
        case "onnx":
            return _onnx(path)
        case "pt2":
            return _exported(path, trust_pickle)
        case "checkpoint":
            return _checkpoint(path, trust_code)
        case "pickle":
            return _pickled(path, trust_pickle)
        case "factory":
            model, info = call_factory(text)
            given = info.get("example") if isinstance(info, dict) else None
            example = given if isinstance(given, Tensor) else None
            return LoadedModel(model=model, example=example, name=_factory_name(text), kind="factory", info=info)
    if path.suffix == ".py":
        raise InputError(
            f"model {text!r}",
            found="a Python file without a factory",
            expected=f"{text}:factory",
            remedy="name the function after the colon",
        )
    raise InputError(
        f"model {text[:200]!r}",
        found="nothing of that name",
        expected=FORMS,
        remedy="check the name, or give one of these forms",
    )


def _run(path: Path, trust_code: bool) -> LoadedModel:
    kept = sorted((path / "checkpoints").glob("step-*.safetensors"))
    if kept:
        return _checkpoint(kept[-1], trust_code)
    if packed := sorted(path.glob("*.gguf")):
        raise _gguf(packed[0])
    found = "no checkpoints" if (path / "model.json").is_file() else "no config.json"
    raise FileError(
        f"folder {path}",
        found=found,
        expected="a Hugging Face model folder, or a run folder with checkpoints",
        remedy="check the path",
    )


def _gguf(path: Path) -> FileError:
    if not path.is_file():
        return FileError(f"model file {path}", found="no such file", remedy="check the path")
    return FileError(
        f"model file {path}",
        found="GGUF, whose weights are packed for llama.cpp",
        expected="a Hugging Face folder with .safetensors",
        remedy="unpack it once: transformers' from_pretrained(folder, gguf_file=name), then save_pretrained(new)",
    )


def _factory_name(text: str) -> str:
    """`load('mnist_cnn_a_adv')` is called mnist_cnn_a_adv; a factory without text arguments by its own name."""
    call = text.rsplit(":", 1)[1]
    quoted = re.search(r"['\"]([^'\"]+)['\"]", call)
    return quoted.group(1) if quoted else call.split("(")[0]


def _onnx(path: Path) -> LoadedModel:
    from cutaway.network.onnx import load_onnx

    model = load_onnx(path)
    name = path.name.removesuffix(".gz").removesuffix(".onnx")
    return LoadedModel(model=model, example=model.example(), name=name, kind="onnx")


def _exported(path: Path, trust_pickle: bool) -> LoadedModel:
    content = read_bytes(path, largest=room()) if trust_pickle else checked_archive(path, largest=room())
    try:
        module, program = sendable(content)
    except Exception as error:  # torch raises many kinds for damaged files
        raise FileError(
            f"file {path}",
            found=f"not a complete exported program ({_first_line(error)})",
            expected="a file written by torch.export.save with a compatible torch",
            remedy="export it again",
        ) from error
    names = program.graph_signature.user_inputs
    tensors = [value for value in (program.example_inputs or ((), {}))[0] if isinstance(value, Tensor)]
    if len(names) != 1:
        raise ModelError(
            f"exported program {path}",
            found=f"{len(names)} inputs",
            expected="one",
            remedy="wrap the model so that it takes one",
        )
    example = tensors[0][:1] if tensors else None
    if example is not None:
        run_within(path, module, tensors[0])
    return LoadedModel(model=module, example=example, name=path.stem, kind="pt2")


def _checkpoint(path: Path, trust_code: bool) -> LoadedModel:
    """A checkpoint whose run folder (or own metadata) says how its network is built."""
    opened = attached("network.open_checkpoint")(path, trust_code=trust_code)
    if opened is None:
        raise InputError(
            f"model {str(path)!r}",
            found="weights without an architecture",
            expected="a factory that builds the model",
            remedy=f"give pkg.module:factory and --weights {path.name}",
        )
    return LoadedModel(
        model=opened.model, example=opened.example, name=opened.title, kind="checkpoint", tokenizer=opened.alphabet
    )


def _pickled(path: Path, trust_pickle: bool) -> LoadedModel:
    if not trust_pickle:
        raise FileError(
            f"file {path}",
            found="a pickle, which can run any code when it is read",
            expected="an exported program (.pt2), .onnx, or a factory with .safetensors weights",
            remedy="convert it with torch.export.save at its origin, or pass --trust-pickle if you trust its origin",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise FileError(
            f"file {path}", found=f"not a complete torch file ({_first_line(error)})", remedy="copy it again"
        ) from error
    except (AttributeError, ImportError) as error:
        raise FileError(
            f"file {path}",
            found=f"a pickled module whose class is not importable ({_first_line(error)})",
            remedy="put its package on PYTHONPATH, or use a factory with weights",
        ) from error
    if not isinstance(content, nn.Module):
        raise ModelError(
            f"file {path}",
            found=f"a {type(content).__name__}",
            expected="a pickled nn.Module",
            remedy=f"if these are weights, give pkg.module:factory and --weights {path.name}",
        )
    return LoadedModel(model=content, name=path.stem, kind="pickle")


def _huggingface(text: str, device: str | torch.device | None, dtype: torch.dtype | None) -> LoadedModel:
    from cutaway.network.huggingface import load_huggingface

    place = packaged_model(text)
    model, tokenizer, example = load_huggingface(place, device_map="auto" if device == "auto" else None, dtype=dtype)
    name, form = Path(text).name or text, sentence_form(place)
    return LoadedModel(model=model, example=example, name=name, kind="huggingface", tokenizer=tokenizer, sentence=form)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
