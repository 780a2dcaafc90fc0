"""A Hugging Face folder or id as a model with its tokenizer (extra `hf`). Code that comes with a model is never run.

Attention is loaded in its eager form, so that softmax and matrix products are visible as operators. The model takes
token ids (batch, length) int64 and returns a Hugging Face output object.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import CutawayWarning, FileError, MissingExtra, ModelError
from cutaway.files import read_json
from cutaway.network.packed import unpack

EXAMPLE_TEXT = "Once upon a time there was a little girl who liked to read."


def load_huggingface(
    text: str, device_map: str | None = None, dtype: torch.dtype | None = None
) -> tuple[nn.Module, Any, Tensor]:
    """(model, tokenizer or None, example token ids of shape (1, length)). Raises FileError, ModelError,
    MissingExtra."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra.of("transformers", "hf") from error
    where = {"local_files_only": not (Path(text).is_dir() or hub_in_reach()), "trust_remote_code": False}
    _no_adapter(text)
    config = _attempt(text, "configuration", lambda: transformers.AutoConfig.from_pretrained(text, **where))
    _check_kernels(text, config)
    _check_depth(text, config)
    kind = _auto_class(transformers, config)
    options: dict[str, Any] = {
        "attn_implementation": "eager",
        "output_loading_info": True,
        "weights_only": True,
        **where,
    }
    if device_map is not None:
        options["device_map"] = device_map
    if dtype is not None:
        options["dtype"] = dtype
    with _quiet(transformers):
        model, info = _attempt(text, "weights", lambda: kind.from_pretrained(text, **options))
    for key, what in (("missing_keys", "no weight"), ("mismatched_keys", "a wrong shape for")):
        if info.get(key):
            first = sorted(str(k) for k in info[key])[:4]
            raise ModelError(
                f"model {text}",
                found=f"{what} {', '.join(first)}" + (f" and {len(info[key]) - 4} more" if len(info[key]) > 4 else ""),
                expected=f"all weights of a {type(model).__name__}",
                remedy="weights that are not there would be random: use the complete checkpoint",
            )
    if number := unpack(model):
        warnings.warn(
            CutawayWarning(f"{number} packed weights of {text} were unpacked into ordinary ones"), stacklevel=2
        )
    tokenizer = load_tokenizer(text, local_files_only=where["local_files_only"])
    return model, tokenizer, _example(tokenizer, model.config)


def _no_adapter(text: str) -> None:
    """A folder of an adapter names another model, which the library would open, or fetch, by itself."""
    file = Path(text) / "adapter_config.json"
    if file.is_file():
        base = str(read_json(file, "adapter").get("base_model_name_or_path", "?"))[:100]
        raise FileError(
            f"Hugging Face folder {text}",
            found=f"an adapter of {base!r}",
            expected="a whole model: what a file names is not opened",
            remedy="merge it where it was made (PEFT: merge_and_unload, then save_pretrained)",
        )


def _check_kernels(text: str, config: Any) -> None:
    """An implementation that is no word of the library's own names a repository of compiled code, which it would
    fetch and run."""
    for name, value in vars(config).items():
        if "implementation" in name and isinstance(value, str) and not value.replace("_", "").isalnum():
            raise FileError(
                f"Hugging Face model {text}",
                found=f"{name.strip('_').removesuffix('_internal')} {value[:80]!r} in its configuration",
                expected="no code from elsewhere: what a file names is not run",
                remedy="take that entry out of its config.json",
            )
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            _check_kernels(text, value)


def _check_depth(text: str, config: Any) -> None:
    """A layer has tensors of its own: more layers than the folder has tensors would be built for nothing."""
    from safetensors import SafetensorError, safe_open

    asked = [value for name, value in vars(config).items() if isinstance(value, int) and "layers" in name]
    asked += [sum(v) for v in (getattr(config, "depths", None),) if v and all(isinstance(n, int) for n in v)]
    layers, tensors = max(asked, default=0), 0
    for file in sorted(Path(text).glob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt") as opened:
                tensors += len(opened.keys())
        except (SafetensorError, OSError) as error:
            raise _file_error(text, "weights", str(error)) from error
    if tensors and layers > tensors:
        raise FileError(
            f"Hugging Face folder {text}",
            found=f"{layers:,} layers in config.json",
            expected=f"at most {tensors:,}, the tensors of its weights",
            remedy="take the config.json that belongs to these weights",
        )


def hub_in_reach() -> bool:
    """Whether the hub's name is known here; without a connection the library would ask for half a minute. Behind a
    proxy names need not be known."""
    from huggingface_hub.constants import ENDPOINT

    address = urllib.parse.urlsplit(ENDPOINT)
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        return False
    return True


def load_tokenizer(text: str, *, local_files_only: bool = False) -> Any:
    """The model's tokenizer, from tokenizer.json when the automatic way fails, or None when there is none."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            text, local_files_only=local_files_only, trust_remote_code=False
        )
    except Exception:  # transformers raises many kinds for a tokenizer that it does not know
        file = Path(text) / "tokenizer.json"
        if not file.is_file():
            return None
    options = {}
    if (Path(text) / "tokenizer_config.json").is_file():
        content = read_json(Path(text) / "tokenizer_config.json")
        options = {k: v for k, v in content.items() if k.endswith("_token") and isinstance(v, str)}
    try:
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), **options)
    except Exception as error:  # the Rust tokenizer raises bare Exception
        raise FileError(f"file {file}", found=f"no usable tokenizer ({error})", remedy="copy it again") from error


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and reports of transformers meanwhile; ours say what goes on and what is wrong."""
    logging = transformers.utils.logging
    enabled, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if enabled:
            logging.enable_progress_bar()


def _auto_class(transformers: Any, config: Any):
    architecture = (getattr(config, "architectures", None) or [""])[0]
    for ending, name in (
        ("ForCausalLM", "AutoModelForCausalLM"),
        ("LMHeadModel", "AutoModelForCausalLM"),
        ("ForSequenceClassification", "AutoModelForSequenceClassification"),
        ("ForMaskedLM", "AutoModelForMaskedLM"),
        ("ForImageClassification", "AutoModelForImageClassification"),
    ):
        if architecture.endswith(ending):
            return getattr(transformers, name)
    return transformers.AutoModel


def _example(tokenizer: Any, config: Any) -> Tensor:
    """A few tokens of plain English, or the first token ids when there is no tokenizer; pixels for an image model."""
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is None and getattr(config, "image_size", None):
        size = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        return torch.zeros(1, getattr(config, "num_channels", 3), size, size)
    if tokenizer is not None:
        ids = tokenizer(EXAMPLE_TEXT)["input_ids"]
        begin = getattr(tokenizer, "bos_token_id", None)
        if begin is not None and ids[:1] != [begin]:
            ids = [begin, *ids]
        if ids and max(ids) < (vocabulary or max(ids) + 1):
            return torch.tensor([ids], dtype=torch.int64)
    return torch.arange(min(16, vocabulary or 16)).unsqueeze(0)


def _attempt(text: str, what: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ImportError as error:
        raise _missing(text, what, error) from error
    except Exception as error:  # transformers raises many kinds for damaged files
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if "ignore_mismatched_sizes" in reason:  # advice that we do not follow
            reason = "other shapes than its config.json asks for"
        raise _file_error(text, what, reason) from error


def _missing(text: str, what: str, error: ImportError) -> MissingExtra:
    """The package that transformers asks for: of our extra, or one that this model alone needs."""
    if error.name in ("accelerate", "tokenizers", "safetensors", "huggingface_hub"):
        return MissingExtra.of(error.name, "hf")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if error.name is None and "accelerate" in reason.lower():
        return MissingExtra.of("accelerate", "hf")
    name = error.name.partition(".")[0] if error.name else ""
    return MissingExtra(
        f"{what} of model {text}",
        found=f"a package that is not installed ({reason})",
        expected="what this model is stored with",
        remedy=f"install it with: pip install {name}" if name else "install that package",
    )


def _file_error(text: str, what: str, reason: str) -> FileError:
    if Path(text).is_dir():
        return FileError(
            f"Hugging Face folder {text}", found=f"{what} that cannot be read ({reason})", remedy="copy it again"
        )
    return FileError(
        f"model {text!r}",
        found=f"no such file or folder, and not to be had as a Hugging Face id ({reason})",
        expected="pkg.module:factory, file.py:factory, a .pt2 or .onnx file, a run, or a Hugging Face folder or id",
        remedy="check the name; without a connection, give a folder",
    )
